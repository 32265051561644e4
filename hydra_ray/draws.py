"""Counter-based random numbers: every draw is a pure function of (seed, key, index), on any device.

Nested splitmix64 (Steele, Lea and Flood, 2014) on wrapping 64-bit integers: child i of a state is the i-th
output of splitmix64 started there. A row's numbers therefore do not depend on its batch, its worker or the
order of the work. This module knows nothing of images or views, and has no generator with a state of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1


def child(state: int, index: int) -> int:
    """The `index`-th (from 0) output of splitmix64 started at `state`, as an unsigned 64-bit integer."""
    x = (state + _GAMMA * (index + 1)) & _MASK
    x = ((x ^ (x >> 30)) * _MIX_1) & _MASK
    x = ((x ^ (x >> 27)) * _MIX_2) & _MASK
    return x ^ (x >> 31)


@dataclass(frozen=True)
class Draws:
    """One independent stream of random numbers for each of B rows.

    Draws are addressed, not consumed: asking for the same `first` and `count` gives the same numbers again.
    """

    state: Tensor
    """int64 [B]"""

    @classmethod
    def of(cls, seed: int, keys: Tensor) -> Draws:
        """The streams of rows `keys` (int64 [B], any device) under a seed."""
        return cls(_children(torch.full_like(keys, _signed(child(seed, 0))), keys))

    def bits(self, first: int, count: int) -> Tensor:
        """64 random bits each: int64 [B, count], draws `first` to `first + count - 1`."""
        index = torch.arange(first, first + count, device=self.state.device)
        return _children(self.state[:, None], index)

    def uniform(self, first: int, count: int) -> Tensor:
        """Float32 [B, count] in [0, 1), multiples of 2^-24."""
        return _shift(self.bits(first, count), 40).float() * 2.0**-24

    def signed(self, first: int, count: int) -> Tensor:
        """Float32 [B, count], uniform in [-1, 1)."""
        return self.uniform(first, count) * 2 - 1

    def normal(self, first: int, count: int) -> Tensor:
        """Float32 [B, count], standard normal (Box-Muller on the two halves of each draw).

        Computed in float64, so that the last bit of a processor's `log` and `cos` is lost in the rounding.
        """
        bits = self.bits(first, count)
        radius = (-2 * ((_shift(bits, 32).double() + 0.5) * 2.0**-32).log()).sqrt()
        angle = (bits & 0xFFFFFFFF).double() * (2 * math.pi * 2.0**-32)
        return (radius * angle.cos()).float()


def _children(state: Tensor, index: Tensor) -> Tensor:
    """`child`, elementwise on int64 tensors, whose products wrap."""
    x = state + (index + 1) * _signed(_GAMMA)
    x = (x ^ _shift(x, 30)) * _signed(_MIX_1)
    x = (x ^ _shift(x, 27)) * _signed(_MIX_2)
    return x ^ _shift(x, 31)


def _shift(x: Tensor, places: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (x >> places) & ((1 << (64 - places)) - 1)


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x
