"""Checks of a network's inputs: shape, type and finite values as in training, or one line with the way out.

A network would predict for other rows too, confidently and wrongly: floats from 0 to 1 are nearly black images to one
that was trained on pixels from 0 to 255. Checking shape and type costs nothing; values are checked on CPUs only, as
reading them would wait for a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hydra_ray.errors import UserError


def check_inputs(inputs: Tensor, input_shape: tuple[int, ...], subject: str) -> None:
    """Refuse rows that are not as stored.

    Args:
        inputs: uint8 [B, H, W, channels], or float [B, D]. Images may be float where a gradient with respect to them is
            wanted (`ods.py`), in units of the stored pixels.
        input_shape: of one row the network was trained on, (H, W, channels) or (D,).
        subject: which network it is, for messages.

    Raises:
        UserError: another shape, channels in front among them, or another type.
    """
    found = tuple(inputs.shape[1:])
    if found != tuple(input_shape):
        raise _refused(f"rows have shape {list(found)}", subject, input_shape, _reshaped(found, input_shape))
    if len(input_shape) == 3 and inputs.dtype != torch.uint8 and not inputs.requires_grad:
        raise _refused(f"images are {_name(inputs.dtype)}", subject, input_shape, _pixels(inputs))
    if len(input_shape) == 1 and not inputs.is_floating_point():
        way = "convert them with inputs.float()"
        raise _refused(f"features are {_name(inputs.dtype)}", subject, input_shape, way)


def check_values(inputs: Tensor) -> None:
    """Refuse feature rows with a value that is not finite, on CPUs and outside compiled code.

    Raises:
        UserError: the line names the row.
    """
    if inputs.is_cuda or not inputs.is_floating_point() or torch.compiler.is_compiling():
        return
    is_finite_B = torch.isfinite(inputs).flatten(1).all(dim=1)
    if not is_finite_B.all():
        row = int((~is_finite_B).nonzero()[0])
        raise UserError(f"inputs: row {row} has a value that is not finite; mend or remove it")


def _refused(found: str, subject: str, input_shape: tuple[int, ...], way: str) -> UserError:
    return UserError(f"inputs: {found}, but the {subject} takes {_taken(input_shape)}; {way}")


def _taken(input_shape: tuple[int, ...]) -> str:
    if len(input_shape) == 3:
        return f"uint8 pixels (0 to 255) of shape {list(input_shape)}, height, width, channels"
    return f"float32 rows of shape {list(input_shape)}"


def _reshaped(found: tuple[int, ...], expected: tuple[int, ...]) -> str:
    if len(expected) == 3 and found == (expected[2], *expected[:2]):
        return "channels come last: inputs.permute(0, 2, 3, 1)"
    if len(expected) == 3 and found == tuple(expected[:2]) and expected[2] == 1:
        return "add the channel: inputs[..., None]"
    return "bring rows to that shape"


def _pixels(inputs: Tensor) -> str:
    if inputs.is_floating_point() and inputs.numel() and float(inputs.min()) >= 0 and float(inputs.max()) <= 1:
        return "these lie between 0 and 1: (inputs * 255).round().to(torch.uint8)"
    return "give the pixels as they are stored, before any normalisation: inputs.to(torch.uint8)"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
