"""Arrays and files to tensors and back: numpy to a device, tensors by name to the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor


def to_safetensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Tensors by name as the bytes of a safetensors file, from whatever device."""
    return save_tensors({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """A numpy array as a tensor on `device`; memory that may not be written (Arrow's, Ray's) is copied first."""
    tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
