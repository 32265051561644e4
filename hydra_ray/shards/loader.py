"""Batches from shards for one rank of distributed training, on the student's device.

The order of rows is seeded and the same for any number of ranks. If the rows fit into the GPU's memory they stay there,
and batches are gathered there; otherwise each batch is gathered in main memory and copied.

N rows, B batch, M members, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hydra_ray.errors import UserError
from hydra_ray.models import to_device
from hydra_ray.randomness import numpy_generator, seed_of
from hydra_ray.shards.files import Sizes
from hydra_ray.shards.schema import ShardReader, ShardRows
from hydra_ray.shards.sharing import Sharing
from hydra_ray.shards.uneven_draws import EpochDraws, UnevenDraws, draw_rates
from hydra_ray.storage import Folder

_ALL = "all rows"
_SHARE_OF_DEVICE = 0.5  # of its free memory, for rows; the rest is the fit's


class BatchReader:
    """Seeded batches for one rank of distributed training, the same rows for any number of ranks.

    An epoch's order is one permutation from (seed, epoch) if all shards fit into `max_bytes`; otherwise shards are read
    in a seeded order, as many at a time as fit, and their rows are permuted. Every batch is split over the ranks, so
    that all take the same number of steps whatever the shards' sizes; if a batch cannot be split evenly, the first
    ranks have one row more than the others. The last, incomplete batch of an epoch is left out.

    One rank of each node reads the shards, once where all fit and else once an epoch; the others of its node share
    what it has read.

    With `draws` an epoch has as many rows, but some of them several times and some not at all. How often each is
    drawn is found when the first epoch begins, at the cost of reading all shards once more where they do not fit.
    """

    def __init__(
        self,
        source: Folder | ShardRows,
        *,
        batch_size: int,
        seed: int,
        num_members: int,
        members: Sequence[int] | None = None,
        rank: int = 0,
        num_ranks: int = 1,
        max_bytes: int = 0,
        draws: UnevenDraws | None = None,
        sharing: Sharing = Sharing(),  # noqa: B008
    ) -> None:
        """Have the footers read.

        Args:
            source: a published folder of shards, or rows that are in memory already.
            batch_size: rows of one step over all ranks.
            seed: of the order.
            num_members: how many members, from the first on.
            members: of a folder those that are read, in this order, by their places in it; None for all. Rows in
                memory hold no others.
            rank: of this process.
            num_ranks: number of processes.
            max_bytes: memory for rows of a folder; while they are read, they take it twice.
            draws: how often rows are drawn; None for once an epoch.
            sharing: of this process, with ranks that read the same folder at the same pace.

        Raises:
            UserError: there are no shards, or they hold too few members, or fewer rows than there are ranks.
        """
        self.num_members = num_members
        self._seed = seed
        self._draws = draws
        self._sharing = sharing
        if isinstance(source, ShardRows):
            self._open_rows(source)
        else:
            self._open_folder(source, members, max_bytes)
        if self.num_rows < num_ranks:
            place = "the transfer set" if isinstance(source, ShardRows) else str(source)
            raise UserError(f"{place}: {self.num_rows} rows for {num_ranks} workers; lower cluster.num_workers")
        self._batch = min(batch_size, self.num_rows)
        self._rank = rank
        self._num_ranks = num_ranks

    def _open_rows(self, rows: ShardRows) -> None:
        _require_members("memory", rows.logits_NMC.shape[1], self.num_members)
        self.num_rows = len(rows)
        self._num_windows = 1
        self._kept: ShardRows | None = rows

    def _open_folder(self, folder: Folder, members: Sequence[int] | None, max_bytes: int) -> None:
        self._shards = ShardReader(folder, members)
        sizes: Sizes = self._sharing.first_says(self._shards.sizes)
        _require_members(str(folder), sizes.num_members, self.num_members if members is None else max(members) + 1)
        self._names = list(sizes.rows)
        self.num_rows = sizes.num_rows
        self._num_windows = windows_of(sizes.bytes(self.num_members), max_bytes)
        self._kept = None

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one epoch."""
        return self.num_rows // self._batch

    @property
    def is_even(self) -> bool:
        """Whether every batch can be split evenly over the ranks."""
        return self._batch % self._num_ranks == 0

    def batches(self, epoch: int, start: int = 0) -> Iterator[ShardRows]:
        """This rank's rows of each step of an epoch, from step `start` on."""
        return (window.take(places, self.num_members) for window, places in self.places(epoch, start))

    def places(self, epoch: int, start: int = 0) -> Iterator[tuple[ShardRows, np.ndarray]]:
        """For each step of an epoch, the rows in memory and the positions of this rank's rows among them: int64 [n]."""
        rng = numpy_generator(seed_of(self._seed, "epoch of a reader", epoch))
        draw = self._drawer(rng)
        step = 0
        left = None
        for names in self._windows(rng):
            window = self._window(names, left)
            num_left = 0 if left is None else len(left)
            order = rng.permutation(
                np.concatenate([np.arange(num_left), num_left + draw(names, len(window) - num_left)])
            )
            whole = len(order) // self._batch * self._batch
            for begin in range(0, whole, self._batch):
                if step >= start:
                    yield window, order[begin + self._rank : begin + self._batch : self._num_ranks]
                step += 1
            left = window.take(order[whole:]) if self._num_windows > 1 else None

    def _windows(self, rng: np.random.Generator) -> Iterator[list[str]]:
        """Names of the shards whose rows are in memory together; of all rows `_ALL`, as `_rates` has them too."""
        if self._num_windows == 1:
            yield [_ALL]
            return
        names = np.array([self._names[i] for i in rng.permutation(len(self._names))])
        yield from (chunk.tolist() for chunk in np.array_split(names, min(self._num_windows, len(names))))

    def _window(self, names: list[str], left: ShardRows | None) -> ShardRows:
        """The rows that the window before has left, and those of these shards."""
        if self._num_windows == 1:
            return self._all_rows()

        def parts() -> Iterator[ShardRows]:
            if left is not None:
                yield left
            for name in names:
                yield self._shards.read(name, num_members=self.num_members)

        return self._sharing.rows(parts)

    def _all_rows(self) -> ShardRows:
        """Of the only window."""
        if self._kept is None:
            self._kept = self._sharing.rows(
                lambda: (self._shards.read(name, num_members=self.num_members) for name in self._names)
            )
        return self._kept

    def _drawer(self, rng: np.random.Generator) -> Callable[[list[str], int], np.ndarray]:
        """Gives the positions of those rows of a window that an epoch has, from the window's shards and size."""
        if self._draws is None:
            return lambda names, num_rows: np.arange(num_rows)
        epoch = EpochDraws(self.num_rows, rng)
        rates = self._rates
        return lambda names, num_rows: epoch.of_window(np.concatenate([rates[name] for name in names]))

    @cached_property
    def _rates(self) -> dict[str, np.ndarray]:
        """How often each row is drawn, by shard, or of all rows where they are in memory together."""
        if self._num_windows == 1:
            return self._rates_of([(_ALL, self._all_rows())])
        return self._sharing.first_says(
            lambda: self._rates_of(
                (name, self._shards.read(name, num_members=self.num_members)) for name in self._names
            )
        )

    def _rates_of(self, rows: Iterable[tuple[str, ShardRows]]) -> dict[str, np.ndarray]:
        assert self._draws is not None
        found = {name: self._draws.disagreement(part) for name, part in rows}
        rates = draw_rates(np.concatenate(list(found.values())), self._draws.cap)
        ends = np.cumsum([len(part) for part in found.values()])
        return dict(zip(found, np.split(rates, ends[:-1]), strict=True))


def windows_of(num_bytes: int, max_bytes: int) -> int:
    """Number of windows in which so many bytes of rows are read: while they are read, they take twice their memory."""
    return max(1, -(-2 * num_bytes // max_bytes))


class Batch(NamedTuple):
    """One rank's rows of a step, on the student's device."""

    inputs: Tensor
    """As stored, [B, ...]."""
    labels_B: Tensor
    logits_BMC: Tensor
    mask_BM: Tensor | None
    """Members each row is learnt from; None for all."""

    @classmethod
    def of(cls, rows: ShardRows, device: torch.device) -> Batch:
        """Copy rows to a device, without waiting for it."""
        mask_BM = None if rows.mask_NM is None else to_device(rows.mask_NM, device)
        inputs, labels_B, logits_BMC = (to_device(part, device) for part in (rows.inputs, rows.labels, rows.logits_NMC))
        return cls(inputs, labels_B, logits_BMC, mask_BM)

    def at(self, places: Tensor) -> Batch:
        """The rows at some positions (int64 [n]), gathered on their device."""
        mask_BM = None if self.mask_BM is None else self.mask_BM.index_select(0, places)
        inputs, labels_B, logits_BMC = (part.index_select(0, places) for part in self[:3])
        return Batch(inputs, labels_B, logits_BMC, mask_BM)


class Feed:
    """A reader's batches on a device."""

    def __init__(self, reader: BatchReader, device: torch.device, *, resident: bool | None = None) -> None:
        """Reads no rows yet.

        Args:
            reader: of this rank.
            device: the student's.
            resident: whether rows stay on the device; None to keep them on a GPU that has room for them.
        """
        self._reader = reader
        self._device = device
        self._wanted = resident
        self._window: ShardRows | None = None
        self._rows: Batch | None = None

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """This rank's rows of each step of an epoch, from step `start` on."""
        if self._wanted is False or (self._device.type == "cpu" and not self._wanted):
            yield from (Batch.of(rows, self._device) for rows in self._reader.batches(epoch, start))
            return
        for window, places in self._reader.places(epoch, start):
            if window is not self._window:
                self._window = window
                self._rows = None  # frees its memory before the next window is copied
                self._rows = self._moved(window)
            if self._rows is None:
                yield Batch.of(window.take(places, self._reader.num_members), self._device)
            else:
                yield self._rows.at(to_device(places, self._device))

    def _moved(self, window: ShardRows) -> Batch | None:
        """Copy a window's rows to the device; None if they would take more than their share of its memory."""
        rows = window.take(np.arange(len(window)), self._reader.num_members)
        parts = (rows.inputs, rows.labels, rows.logits_NMC, rows.mask_NM)
        size = sum(part.nbytes for part in parts if part is not None)
        fits = self._wanted or size < _SHARE_OF_DEVICE * torch.cuda.mem_get_info(self._device)[0]
        return Batch.of(rows, self._device) if fits else None


def _require_members(place: str, held: int, wanted: int) -> None:
    if wanted > held:
        raise UserError(
            f"a student of {wanted} members, but the shards in {place} hold {held} members: "
            f"predict again with ensemble.num_members={wanted} or more, or lower its num_heads to {held}"
        )
