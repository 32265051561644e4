"""Rows of shards that the processes of one machine share: one of them reads, the others map what it has read.

The arrays lie in temporary files without names, which the others open through the reader's entries in /proc. They take
room in the folder for temporary files ($TMPDIR) and, while there is memory, in the operating system's cache of it, once
for all processes. The room is free again when the last process lets go of it or dies, so that nothing is left behind.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch.distributed as dist

from hydra_ray.errors import UserError
from hydra_ray.shards.schema import ShardRows, concatenate, joined_masks

_FIELDS = ("row_id", "view", "inputs", "labels", "logits_NMC")
_MASK = "mask_NM"

Read = Callable[[], Iterable[ShardRows]]


class _Mapped(NamedTuple):
    """An array in a file."""

    path: str
    dtype: str
    shape: tuple[int, ...]

    def open(self) -> np.ndarray:
        """Its numbers, which nobody else sees change."""
        with open(self.path, "rb") as file:
            return np.asarray(np.memmap(file, self.dtype, mode="c", shape=self.shape))


class _Offer(NamedTuple):
    """What a node's reader tells the others of its node."""

    node: int
    arrays: Mapping[str, _Mapped]


@dataclass(frozen=True)
class Sharing:
    """This process among those that train one network together, and those of them that are on its node.

    Its methods are called by all ranks of all nodes, in the same order.

    Attributes:
        node: number of the node.
        rank: among the node's processes; the first one reads.
        num_on_node: how many there are.
        num_ranks: how many there are on all nodes.
    """

    node: int = 0
    rank: int = 0
    num_on_node: int = 1
    num_ranks: int = 1

    def rows(self, read: Read) -> ShardRows:
        """Rows that one process of each node reads; a process that is alone there has them in its memory.

        On a node without room for the files every process reads for itself.

        Args:
            read: gives the rows in parts, in order, each a whole shard or so; for whoever reads.

        Raises:
            UserError: what `read` raises on any rank; on all of them.
        """
        if self.num_ranks == 1:
            return concatenate(list(read()))
        with ExitStack() as files:
            mine, offer = self._read(read, files)
            found: list[_Offer | UserError | None] = [None] * self.num_ranks
            dist.all_gather_object(found, offer)
            for each in found:
                if isinstance(each, UserError):
                    raise each
                if mine is None and each is not None and each.node == self.node:
                    mine = _opened(each)
            dist.barrier()  # before the files are closed, everybody has mapped them
        return concatenate(list(read())) if mine is None else mine

    def first_says(self, find: Callable[[], Any]) -> Any:
        """What the first of all ranks finds out.

        Raises:
            UserError: what `find` raises there; on all of them.
        """
        if self.num_ranks == 1:
            return find()
        found = [_result_of(find) if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(found)
        if isinstance(found[0], UserError):
            raise found[0]
        return found[0]

    def _read(self, read: Read, files: ExitStack) -> tuple[ShardRows | None, _Offer | UserError | None]:
        """The rows where this process is alone on its node; as its reader, what it offers to the others."""
        if self.num_on_node > 1 and self.rank > 0:
            return None, None
        if self.num_on_node > 1:
            return None, _result_of(lambda: self._offer(read, files))
        found = _result_of(lambda: concatenate(list(read())))
        return (None, found) if isinstance(found, UserError) else (found, None)

    def _offer(self, read: Read, files: ExitStack) -> _Offer | None:
        """Write rows into files, a part in memory at a time; None if there is no room for them."""
        writers = {field: _Writer() for field in (*_FIELDS, _MASK)}
        for writer in writers.values():
            files.callback(writer.close)
        masks: list[tuple[np.ndarray | None, tuple[int, int]]] = []
        for part in read():
            masks.append((part.mask_NM, part.logits_NMC.shape[:2]))
            if not all(writers[field].add(getattr(part, field)) for field in _FIELDS):
                return None
        mask_NM = joined_masks(masks)
        if mask_NM is not None and not writers[_MASK].add(mask_NM):
            return None
        return _Offer(self.node, {field: writer.written for field, writer in writers.items() if writer.num_rows})


class _Writer:
    """Appends arrays of one kind to a file."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open until others have mapped it
        self._first = np.empty(0)
        self.num_rows = 0

    def add(self, array: np.ndarray) -> bool:
        """Whether there was room for it.

        Raises:
            ValueError: it is of another kind than those before.
        """
        if not self.num_rows:
            self._first = array[:0]
        if (array.dtype, array.shape[1:]) != (self._first.dtype, self._first.shape[1:]):
            raise ValueError(
                f"rows of {array.dtype} {array.shape[1:]} behind {self._first.dtype} {self._first.shape[1:]}"
            )
        self.num_rows += len(array)
        try:
            self._file.write(np.ascontiguousarray(array).data)
            self._file.flush()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def written(self) -> _Mapped:
        """What can be mapped."""
        path = f"/proc/{os.getpid()}/fd/{self._file.fileno()}"
        return _Mapped(path, self._first.dtype.str, (self.num_rows, *self._first.shape[1:]))


def _opened(offer: _Offer) -> ShardRows | None:
    """The rows of an offer; None if its files cannot be opened from this process."""
    try:
        return ShardRows(**{field: array.open() for field, array in offer.arrays.items()})
    except OSError:
        return None


def _result_of(find: Callable[[], Any]) -> Any:
    try:
        return find()
    except UserError as error:
        return error
