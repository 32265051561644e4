"""Checks that training a network would fit into this machine's memory, without allocating it.

It is: a count of the numbers of a network built from tensors without storage.
It is not: the cost of a built network (`cost.py`), nor the memory of activations.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from hydra_ray.errors import UserError

_BYTES = 16
"""Of a parameter in training: itself, its gradient and AdamW's two moments, float32 each."""
_MOST_TENSORS = 100_000
_MAKERS = (torch.empty, torch.zeros, torch.ones)
"""What layers make their parameters with."""

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of control groups, version 2 and 1."""


def check_size(build: Callable[[], Any], what: str) -> None:
    """Refuse a network that this machine has not got the memory to train.

    A network of the user's own that cannot be built of tensors without values is not looked at.

    Args:
        build: makes it.
        what: keys and values that messages name.

    Raises:
        UserError: it has too many parameters, or too many layers.
    """
    memory = memory_bytes()
    try:
        with _Counted(memory // _BYTES):
            build()
    except _NumbersError as error:
        size = in_gigabytes(_BYTES * error.number)
        raise UserError(
            f"{what}: {error.number:,} parameters or more, which take {size} in training, but this machine has "
            f"{in_gigabytes(memory)}; make it smaller"
        ) from None
    except _TensorsError:
        raise UserError(f"{what}: has more than {_MOST_TENSORS // 2:,} layers; use fewer") from None
    except Exception:  # of a network of the user's own; building it in earnest will tell
        return


def count_weights(build: Callable[[], Any]) -> int:
    """Numbers in all weights and statistics of a network, without allocating it; 0 where it cannot be built so."""
    try:
        with _Counted(sys.maxsize) as counted:
            build()
    except Exception:  # of a network of the user's own, which wants values
        return 0
    return counted.number


class _NumbersError(Exception):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _TensorsError(Exception):
    pass


class _Counted(TorchFunctionMode):
    """Parameters are created without storage, and counted; functions that would fill them do nothing.

    The functions that fill them would work on such tensors, too, but import torch's compiler for it, which takes
    seconds.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.number = 0
        self._num_tensors = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        if func in _MAKERS:
            self._count(args, kwargs)
            return func(*args, **{**kwargs, "device": "meta"})
        first = next((each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)), None)
        name = getattr(func, "__name__", "")
        if first is not None and first.is_meta and name.endswith("_") and not name.endswith("__"):
            return first
        return func(*args, **kwargs)

    def _count(self, args: Any, kwargs: Mapping[str, Any]) -> None:
        shape = kwargs.get("size", args[0] if args and isinstance(args[0], Sequence) else args)
        self.number += math.prod(shape)
        self._num_tensors += 1
        if self.number > self._most:
            raise _NumbersError(self.number)
        if self._num_tensors > _MOST_TENSORS:
            raise _TensorsError


def memory_bytes() -> int:
    """Of the machine or the container, whichever is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(Path(place).read_text()))
    return min(found)


def in_gigabytes(number: float) -> str:
    """12.3 GB, 1,200 GB and the like."""
    size = number / 1e9
    return f"{size:,.0f} GB" if size >= 100 else f"{size:.3g} GB"
