"""Every random stream of a run by name: whoever draws asks here for a seed, and no two consumers share one.

A seed is a hash of the run's seed, the stream's name and its parts, so the streams of neighbouring seeds, members and
epochs have nothing to do with each other. It feeds generators, which are made here alone, and the counter-based numbers
of rows (`draws.py`, `datasets/splits.py`), which know nothing of names. What is drawn is not here.

torch is imported by the functions that need it: splits are found without it.
"""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, SupportsIndex

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import Tensor

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
    "student weights",
    "head noise",
    "heads of a step",
    "student order",
    "student dropout",
    "epoch of a reader",
    "step of a fit",
    "bootstrap",
    "search",
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
    "student weights": ("kind",),
    "head noise": ("kind",),
    "heads of a step": ("kind", "step"),
    "student order": ("kind",),
    "student dropout": ("kind", "phase"),
    "epoch of a reader": ("epoch",),
    "step of a fit": ("step", "rank"),
    "bootstrap": ("set of rows",),
    "search": ("kind", "trial"),
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
