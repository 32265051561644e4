"""What networks are given: floats from stored pixels or from a table's columns, on the device of the process.

B rows, H x W pixels, D features.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor

from hydra_ray.errors import UserError
from hydra_ray.teachers.class_order import ClassOrder
from hydra_ray.teachers.tables import floats_of

Images = npt.NDArray[np.uint8]


class NetworkInput(ClassOrder):
    """How stored rows become what a network was trained on: (value / divide - mean) / std."""

    divide: Annotated[float, Field(gt=0)] | None = None
    """Inputs are divided by it; none for pixels from 0 to 1 (255) and features as they are (1)."""
    mean: list[float] = []
    """Subtracted then, a number a channel or feature; none for nothing."""
    std: list[Annotated[float, Field(gt=0)]] = []
    """Divided by at last, a number a channel or feature; none for nothing."""
    channels_first: bool | None = None
    """Whether the network takes images as [B, channels, H, W]; where it is left out it does, unless an ONNX graph's
    own shape says otherwise."""


def device_here() -> torch.device:
    """The process's GPU, if it has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def network_floats(batch: Any, options: NetworkInput) -> npt.NDArray[np.float32]:
    """A batch as the options say: float32 [B, channels, H, W], [B, H, W, channels] or [B, D].

    Raises:
        UserError: a column of text, or means of another number of channels.
    """
    is_image = getattr(batch, "ndim", 2) == 4
    values = floats_of(batch) / np.float32(options.divide or (255 if is_image else 1))
    if options.mean:
        values = values - _of_channels(options.mean, values, "mean")
    if options.std:
        values = values / _of_channels(options.std, values, "std")
    keeps_layout = not is_image or options.channels_first is False
    return values if keeps_layout else np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def with_channels(images: Images, wanted: int) -> Images:
    """Images with so many channels; grey becomes three equal ones.

    Raises:
        UserError: they have others.
    """
    found = images.shape[-1]
    if found == wanted:
        return images
    if (found, wanted) == (1, 3):
        return images.repeat(3, axis=-1)
    raise UserError(f"the network takes images of {wanted} channels, those of the data set have {found}")


def require_images(batch: Any) -> Images:
    """The batch, which must be images.

    Raises:
        UserError: it is of a table.
    """
    if getattr(batch, "ndim", 2) != 4:
        raise UserError("the network takes images, but the data set is a table")
    return batch


def images_tensor(images: Images, device: torch.device) -> Tensor:
    """uint8 [B, channels, H, W] on a device."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(device)


def _of_channels(numbers: list[float], values: npt.NDArray[Any], name: str) -> npt.NDArray[np.float32]:
    if len(numbers) not in (1, values.shape[-1]):
        raise UserError(
            f"options.{name} has {len(numbers)} numbers, but the data set has {values.shape[-1]} channels or features"
        )
    return np.array(numbers, np.float32)
