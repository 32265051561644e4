"""Heads and outputs at full precision where the rest of a network runs under autocast.

bfloat16 keeps two to three digits. That is enough for a body's features, and for a sum of many products; but what
members and heads are told apart by are differences of outputs, which it rounds away: their mutual information is often
a thousandth of a nat. It is not: the choice of a precision (`training/loop.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def at_full_precision(module: Callable[..., Tensor], values: Tensor) -> Tensor:
    """`module(values)`; under autocast in float32, so that the result does not depend on autocast.

    Args:
        module: heads or an output.
        values: its input, of whatever floating type the layers before it gave.
    """
    device = values.device.type
    if not torch.is_autocast_enabled(device):
        return module(values)
    with torch.autocast(device, enabled=False):
        return module(values.float())
