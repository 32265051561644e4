"""Every random number of a run: named streams, the generators fed by them, and counter-based numbers of rows.

Whoever draws asks here for a seed, and no two consumers share one. A seed is a hash of the run's seed, the stream's
name and its parts, so the streams of neighbouring seeds, members and epochs have nothing to do with each other. What is
drawn is not here.

Counter-based numbers are pure functions of (seed, key, index), on any device: nested splitmix64 (Steele, Lea and Flood,
2014) on wrapping 64-bit integers, where child i of a state is the i-th output of splitmix64 started there. A row's
numbers do not depend on its batch, its worker or the order of the work.

torch is imported by the functions that need it: splits are found without it.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, SupportsIndex

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB
_MASK = (1 << 64) - 1

STREAMS_VERSION = 2
"""How seeds are derived; in every key, so that what older streams have made counts as stale. 1 had no names."""

StreamName = Literal[
    "split",
    "fold",
    "toy data",
    "member weights",
    "member order",
    "member augmentation",
    "member dropout",
    "view",
    "share of a view",
    "members of a row",
    "student weights",
    "head noise",
    "student order",
    "student dropout",
    "epoch of a reader",
    "step of a fit",
    "bootstrap",
    "search",
    "threshold rows",
    "rows of a check",
    "teams",
    "attacked rows",
    "attack starts",
    "thrown away",
]

STREAMS: Mapping[StreamName, tuple[str, ...]] = {
    "split": ("part",),
    "fold": (),
    "toy data": ("set", "number"),
    "member weights": ("member",),
    "member order": ("member", "epoch"),
    "member augmentation": ("member", "epoch"),
    "member dropout": ("member",),
    "view": ("predicted split", "view"),
    "share of a view": ("predicted split", "view"),
    "members of a row": ("view", "member"),
    "student weights": ("kind",),
    "head noise": ("kind",),
    "student order": ("kind",),
    "student dropout": ("kind", "phase"),
    "epoch of a reader": ("epoch",),
    "step of a fit": ("step", "rank"),
    "bootstrap": ("set of rows",),
    "search": ("kind", "trial"),
    "threshold rows": (),
    "rows of a check": (),
    "teams": ("size",),
    "attacked rows": (),
    "attack starts": (),
    "thrown away": ("number",),
}
"""Name of each stream -> what tells its seeds apart.

`epoch of a reader` and `step of a fit` lie below another: a reader and a fit do not know for whom they draw, they are
given a seed and take it for the run's. `thrown away` is for weights whose values do not matter. `search` is what a
trial tries; when it is fitted it draws what the student of that kind draws: the best trial is that student.
"""


def seed_of(run_seed: SupportsIndex, stream: StreamName, *parts: SupportsIndex | str) -> int:
    """The seed of a stream, 63 bits: equal arguments give equal seeds, all others unrelated ones.

    Args:
        run_seed: the run's, or for a stream below another that one's seed.
        stream: a key of `STREAMS`.
        parts: whole numbers or names, as many as the stream has.

    Raises:
        ValueError: no such stream, or it has another number of parts.
    """
    if stream not in STREAMS:
        raise ValueError(f"no random stream is called {stream!r}; name it in randomness.STREAMS")
    if len(parts) != len(STREAMS[stream]):
        raise ValueError(f"stream {stream!r} has the parts {STREAMS[stream]}, not {parts}")
    words = [part if isinstance(part, str) else operator.index(part) for part in parts]
    text = json.dumps([operator.index(run_seed), stream, *words])  # injective: 1 is not "1", and lists know their ends
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


THROWN_AWAY = seed_of(0, "thrown away", 0)
"""For weights whose values do not matter."""


def in_32_bits(seed: int) -> int:
    """A seed for libraries that take no more (NumPy's RandomState, Optuna)."""
    return seed >> 31


def permutation(num_rows: int, seed: int) -> Tensor:
    """A random order: int64 [N], on the CPU."""
    import torch

    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed))


def numpy_generator(seed: int) -> np.random.Generator:
    """A generator of NumPy."""
    return np.random.default_rng(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's CPU random numbers follow from `seed` alone; outside, the generator is as before.

    Only the CPU generator is touched, where weights are always drawn: `torch.manual_seed` would seed every accelerator
    too and leave it so.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the CPU's generator and that of `device`, which draw what `torch.manual_seed` would have them draw.

    That function also leaves a call, with the text of the whole stack, for every kind of accelerator not yet in use: a
    tenth of an MLP's step on a CPU, and memory that grows with the steps.
    """
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index or 0].manual_seed(seed)


# counter-based numbers


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
        import torch

        return cls(_children(torch.full_like(keys, _signed(child(seed, 0))), keys))

    def bits(self, first: int, count: int) -> Tensor:
        """64 random bits each: int64 [B, count], draws `first` to `first + count - 1`."""
        import torch

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


def splitmix64(seed: int, index: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """The outputs number `index` (from 0) of splitmix64 started at `seed`: uint64, as many as `index` has.

    `child` for NumPy: no random stream of its own is promised to stay the same between versions.
    """
    step = index.astype(np.uint64) + np.uint64(1)
    x = np.uint64(seed) + step * np.uint64(_GAMMA)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(_MIX_1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(_MIX_2)
    return x ^ (x >> np.uint64(31))
