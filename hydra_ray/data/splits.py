"""Which rows of a source belong to train, validation and test, and reading them.

Membership is a pure function of (seed, number of rows, shares): it is recomputed where it is needed and never
sent. Rows are ranked by a hash of (seed, part, position), one ranking for each part, so that a larger
share keeps the rows of a smaller one, and another validation share does not move the test rows. Standard test
rows that a source's own column names are taken as they are. Labels are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

from hydra_ray.data.rows import Bools, Floats, Ints, Rows, Source
from hydra_ray.randomness import seed_of, splitmix64

Part = Literal["train", "validation", "test"]
Role = Literal["train", "validation", "validation_views", "test", "transfer", "unknown"]
_CODES: dict[Part, int] = {"train": 1, "validation": 2, "test": 3}
_BLOCK = 1 << 18  # rows
_BIN_BITS = 16
_SHIFT = np.uint64(64 - _BIN_BITS)  # of a rank, to its bin


@dataclass(frozen=True)
class SplitId:
    """Which split: what it is there for, and of several unknown sets which one. Nothing reads either out of a name."""

    role: Role
    set_name: str | None = None
    """Of an unknown set, as the user gave it."""

    @property
    def name(self) -> str:
        """In folders, keys and random streams."""
        return self.role if self.set_name is None else f"{self.role}-{self.set_name}"

    @property
    def label(self) -> str:
        """In metrics.json and in the report."""
        return self.set_name or self.role


VALIDATION = SplitId("validation")
VALIDATION_VIEWS = SplitId("validation_views")
TEST = SplitId("test")


def unknown_split(set_name: str) -> SplitId:
    """The split of an unknown set."""
    return SplitId("unknown", set_name)


@dataclass(frozen=True)
class Shares:
    """How a source of `num_rows` rows is cut; shares are fractions of `num_rows`."""

    num_rows: int
    seed: int
    validation: float
    test: float
    """0 where test rows come from elsewhere."""
    max_train_rows: int | None
    test_rows: bytes | None = None
    """The test rows of a standard split, one packed bit a row (`packed`); then no share is taken."""
    broken: tuple[int, ...] = ()
    """Positions of rows that belong to no part."""
    held_out: bytes | None = None
    """Rows that are in no part, packed as well."""


def packed(rows: Bools) -> bytes:
    """Flags of rows as `Shares.test_rows` holds them."""
    return np.packbits(rows).tobytes()


@dataclass(frozen=True)
class Split:
    """Rows of a source, all or those of one part; small to pickle."""

    name: str
    source: Source
    shares: Shares | None = None
    """None: all rows."""
    part: Part = "train"

    @property
    def num_rows(self) -> int:
        """Rows that belong to the split."""
        return self.source.num_rows if self.shares is None else int(self._members().sum())

    @property
    def source_rows(self) -> int:
        """Rows of the source: the end of the positions that `read` takes."""
        return self.source.num_rows

    def read(self, start: int, stop: int) -> Rows:
        """The split's rows among the source's positions `start` to `stop - 1`; `row_id` is the position."""
        return self.source.read(start, stop, None if self.shares is None else self._members(start, stop))

    def read_all(self) -> Rows:
        """All rows of the split, in memory."""
        return self.read(0, self.source_rows)

    def row_ids(self, start: int = 0, stop: int | None = None) -> Ints:
        """Positions in the source, int64 [num_rows], or those in `start` to `stop - 1` alone; nothing is read."""
        return start + np.flatnonzero(self._members(start, stop))

    def read_labels(self) -> Ints | Floats | None:
        """[num_rows] as in `Rows`, without reading any input; None where the source has none."""
        labels = self.source.read_labels()
        return labels if labels is None or self.shares is None else labels[self._members()]

    def chunks(self, rows_per_chunk: int) -> list[tuple[int, int]]:
        """Slices [start, stop) of the source that hold all rows of the split, each in exactly one.

        Every start is a multiple of `rows_per_chunk`, whatever the split, and slices without a row of it are
        left out; a split with few of the source's rows therefore has chunks with fewer rows.

        Raises:
            ValueError: `rows_per_chunk` below 1.
        """
        if rows_per_chunk < 1:
            raise ValueError(f"rows_per_chunk={rows_per_chunk}")
        starts = range(0, self.source_rows, rows_per_chunk)
        slices = [(start, min(start + rows_per_chunk, self.source_rows)) for start in starts]
        if self.shares is None:
            return slices
        return [(start, stop) for start, stop in slices if self._members(start, stop).any()]

    def _members(self, start: int = 0, stop: int | None = None) -> Bools:
        """Which of the source's positions `start` to `stop - 1` are the split's: bool [stop - start]."""
        stop = self.source_rows if stop is None else stop
        if self.shares is None:
            return np.ones(stop - start, np.bool_)
        return known_parts(self.shares)[start:stop] == _CODES[self.part]


@lru_cache(maxsize=4)
def known_parts(shares: Shares) -> npt.NDArray[np.uint8]:
    """The code of each row's part, 0 for rows left out: uint8 [num_rows], not to be written to."""
    parts = np.full(shares.num_rows, _CODES["train"], np.uint8)
    if shares.test_rows is not None:
        parts[_unpacked(shares.test_rows, shares.num_rows)] = _CODES["test"]
    if shares.held_out is not None:
        parts[_unpacked(shares.held_out, shares.num_rows)] = 0
    wanted: tuple[tuple[Part, float], ...] = (("test", shares.test), ("validation", shares.validation))
    for part, share in wanted:
        for rows, is_first in _first_of_train(parts, shares.seed, part, round(share * shares.num_rows)):
            parts[rows[is_first]] = _CODES[part]
    parts[list(shares.broken)] = 0
    if shares.max_train_rows is not None:
        for rows, is_first in _first_of_train(parts, shares.seed, "train", shares.max_train_rows):
            parts[rows[~is_first]] = 0
    parts.setflags(write=False)
    return parts


def _unpacked(flags: bytes, num_rows: int) -> Bools:
    return np.unpackbits(np.frombuffer(flags, np.uint8), count=num_rows).astype(np.bool_)


def _first_of_train(
    parts: npt.NDArray[np.uint8], seed: int, part: Part, number: int
) -> Iterator[tuple[Ints, npt.NDArray[np.bool_]]]:
    """The training rows, a block of them at a time, and which are the first `number` in the order of (seed, part).

    No array of all rows is made, which for 10^9 of them would be 8 GB each. No two rows have the same rank.
    """
    bins = np.zeros(1 << _BIN_BITS, np.int64)
    for _, rank in _ranked(parts, seed, part):
        bins += np.bincount((rank >> _SHIFT).astype(np.int64), minlength=len(bins))
    ends = np.cumsum(bins)
    if number >= ends[-1]:
        yield from ((rows, np.ones(len(rows), np.bool_)) for rows, _ in _ranked(parts, seed, part))
        return
    last = int(np.searchsorted(ends, number, side="right"))  # the bin with the first rank that is too large
    within = np.concatenate([rank[rank >> _SHIFT == last] for _, rank in _ranked(parts, seed, part)])
    limit = np.sort(within)[number - (ends[last] - bins[last])]
    yield from ((rows, rank < limit) for rows, rank in _ranked(parts, seed, part))


def _ranked(parts: npt.NDArray[np.uint8], seed: int, part: Part) -> Iterator[tuple[Ints, npt.NDArray[np.uint64]]]:
    """The training rows and their ranks in the random order of (seed, part), a block at a time."""
    for start in range(0, len(parts), _BLOCK):
        rows = start + np.flatnonzero(parts[start : start + _BLOCK] == _CODES["train"])
        yield rows, splitmix64(seed_of(seed, "split", part), rows)
