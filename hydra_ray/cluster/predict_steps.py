"""How one shard is made: its rows are read and the view made, all members answer them, the file is written.

Three steps that pass a table on, for tasks and actors of Ray Data, and all three as one. What is to be made is in
`predict.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config
from hydra_ray.data import DataSet, Features, Rows, Split, left_out
from hydra_ray.models import Ensemble, Member, to_device
from hydra_ray.randomness import seed_of
from hydra_ray.runs import load_published
from hydra_ray.shards import (
    Shards,
    inputs_of,
    no_labels,
    read_shard,
    rows_table,
    with_inputs,
    with_logits,
    with_mask,
    write_shard,
)
from hydra_ray.storage import Artifact, Folder
from hydra_ray.views import NumberedView, apply_view, apply_with_members, view_named


@dataclass(frozen=True)
class PlanItem:
    """One shard to be written.

    Attributes:
        split: predicted split, e.g. `transfer`.
        view: number of the view.
        start, stop: range of source rows.
    """

    split: str
    view: int
    start: int
    stop: int

    def name(self, rows_per_shard: int) -> str:
        """File name."""
        return f"part-{self.view:03d}-{self.start // rows_per_shard:05d}.parquet"


@dataclass(frozen=True)
class Work:
    """What tasks and actors get; equal where its key is.

    Attributes:
        plan: the shards to be written; rows travel with their item's place in it.
        config: the run's.
        data: where rows are read from.
        members: all members, in order.
        splits: predicted split -> its shards.
        views: predicted split -> view number -> view.
        reuse: predicted split -> members whose published answers are taken over.
        metadata: predicted split -> what its shards' footers say.
        features: scale of the training rows' features; none for images.
        dtype: of stored outputs.
        key: tells this work from that of other stages in the same processes.
    """

    plan: list[PlanItem] = field(compare=False)
    config: Config = field(compare=False)
    data: DataSet = field(compare=False)
    members: list[Artifact] = field(compare=False)
    splits: dict[str, Shards] = field(compare=False)
    views: dict[str, dict[int, NumberedView]] = field(compare=False)
    reuse: dict[str, int] = field(compare=False)
    metadata: dict[str, dict[str, Any]] = field(compare=False)
    features: Features | None = field(compare=False)
    dtype: str = field(compare=False)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def item(self, rows: pa.Table) -> PlanItem:
        """The plan item that rows on their way belong to."""
        return self.plan[rows.column("item")[0].as_py()]

    def view(self, item: PlanItem) -> NumberedView:
        """Its view."""
        return self.views[item.split][item.view]

    def seed(self, stream: Literal["view", "share of a view"], item: PlanItem) -> int:
        """Of one of its view's streams."""
        return seed_of(self.config.seed, stream, item.split, item.view)

    def name(self, item: PlanItem) -> str:
        """Its file name."""
        return item.name(self.config.predict.rows_per_shard)

    def read(self, split: str, item: PlanItem) -> Rows:
        """The rows behind a plan item; the same range under another view is often asked for next."""
        return _read(_Range(self.key, split, item.start, item.stop, self.data.splits[split]))


@dataclass(frozen=True)
class _Range:
    """Rows of a split, known by the work they are read for and their place."""

    key: str
    split: str
    start: int
    stop: int
    source: Split = field(compare=False)


@lru_cache(maxsize=1)
def _read(rows: _Range) -> Rows:
    """Rows of a range, kept for the next task of this process: decoding images takes as long as making a view."""
    return rows.source.read(rows.start, rows.stop)


class MakeShards:
    """Plan items to files, one after the other."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Items -> of each what was written: item, rows."""
        set_up_worker(self.work.config.cluster)
        ask = _asking(self.work)
        read, write = ReadRows(ask.work), WriteShard(ask.work)  # of this process's first task, whose files are open
        for place in range(items.num_rows):
            yield write(ask(read(items.slice(place, 1))))


class ReadRows:
    """A plan item to its rows, transformed; where shards of fewer members are there, to the rows in them."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The item as a table of one row -> the columns of a shard but `logits`, and the item."""
        item = self.work.item(batch)
        table = self._published(item) if self.work.reuse[item.split] else self._made(item)
        return table.append_column("item", pa.array(np.full(table.num_rows, batch.column("item")[0].as_py())))

    def _published(self, item: PlanItem) -> pa.Table:
        old = read_shard(self.work.splits[item.split].folder, self.work.name(item))
        return rows_table(old.row_id, item.view, old.inputs, old.labels)

    def _made(self, item: PlanItem) -> pa.Table:
        numbered = self.work.view(item)
        view, rows = numbered.view, self.work.read(numbered.rows_of, item)
        seed, features = self.work.seed("view", item), self.work.features
        inputs = apply_view(view.view, view.options, rows.inputs, rows.row_id, seed=seed, features=features)
        # after the view: mixing needs whole blocks
        kept = numbered.kept(rows.row_id, self.work.seed("share of a view", item))
        has_label = numbered.has_labels and view_named(view.view).keeps_label
        labels = no_labels(int(kept.sum()), self.work.data.task)
        if rows.labels is not None and has_label:
            labels = rows.labels[kept]
        return rows_table(rows.row_id[kept], item.view, inputs[kept], labels)


class AskMembers:
    """Holds all members, answers a shard's rows."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.batch_size = work.config.predict.batch_size
        self.ensembles: dict[int, Ensemble] = {}

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The same rows with `logits`; moved first where their view takes the members' gradients."""
        item = self.work.item(rows)
        first = self.work.reuse[item.split]
        if view_named(self.work.view(item).view.view).needs_members:  # `first` is 0: such shards are never extended
            rows = self._moved(rows, item)
        return with_logits(rows, self._ask(inputs_of(rows), first))

    def _moved(self, rows: pa.Table, item: PlanItem) -> pa.Table:
        """Rows of a view that is made with the members' gradients."""
        inputs, row_id, view = inputs_of(rows), rows.column("row_id").to_numpy(), self.work.view(item).view
        move = partial(apply_with_members, view.view, view.options, self.members, seed=self.work.seed("view", item))
        parts = [move(*(to_device(each, self.device) for each in part)) for part in self._batches(inputs, row_id)]
        return with_inputs(rows, torch.cat(parts).cpu().numpy())

    def _batches(self, *arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(arrays[0]), self.batch_size):
            yield tuple(array[start : start + self.batch_size] for array in arrays)

    def _ask(self, inputs: np.ndarray, first: int) -> np.ndarray:
        """Logits of the members from `first` on."""
        if first not in self.ensembles:
            self.ensembles[first] = Ensemble(self.members[first:])
        ensemble = self.ensembles[first]
        answers = [ensemble(to_device(part, self.device)) for (part,) in self._batches(inputs)]
        return torch.cat(answers).float().cpu().numpy().astype(self.work.dtype)

    @cached_property
    def device(self) -> torch.device:
        """Of this process, which is set up at the first rows, as members are."""
        return set_up_worker(self.work.config.cluster)

    @cached_property
    def members(self) -> list[Member]:
        """Read at the first rows: what goes wrong before, Ray takes for the death of the actor."""
        loaded = [load_published(member, self.device) for member in self.work.members]
        return [member for member in loaded if isinstance(member, Member)]


@lru_cache(maxsize=1)
def _asking(work: Work) -> AskMembers:
    """The members of this work, in this process from its first task on."""
    return AskMembers(work)


class WriteShard:
    """Answered rows to a file, after the answers of members asked before."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, table: pa.Table) -> pa.Table:
        """What was written: item, rows."""
        item, index = self.work.item(table), table.column("item")[0].as_py()
        shards, reuse = self.work.splits[item.split], self.work.reuse[item.split]
        table = table.drop_columns(["item"])
        if reuse:
            table = _behind(shards.folder, self.work.name(item), table, reuse)
        if any(view.held_out for view in self.work.views[item.split].values()):
            table = with_mask(table, self._teachers(item, table.column("row_id").to_numpy()))
        write_shard(shards.attempt, self.work.name(item), table, self.work.metadata[item.split])
        return pa.table({"item": [index], "rows": [table.num_rows]})

    def _teachers(self, item: PlanItem, row_id: np.ndarray) -> np.ndarray:
        """Members that rows are learnt from: all, or those that were not trained on them; bool [N, M]."""
        members, config = np.arange(len(self.work.members)), self.work.config
        if not self.work.view(item).held_out or config.ensemble.folds is None:
            return np.ones((len(row_id), len(members)), np.bool_)
        return left_out(row_id, members, config.ensemble.folds, config.seed)


def _behind(folder: Folder, name: str, new: pa.Table, num_old: int) -> pa.Table:
    """`new` with its members behind the first `num_old` of the published shard of the same rows."""
    old = read_shard(folder, name, num_members=num_old)
    if not np.array_equal(old.row_id, new.column("row_id").to_numpy()):
        raise ValueError(f"{folder}/{name}: rows differ from those of the plan")
    logits = new.column("logits").combine_chunks().to_numpy_ndarray()
    return with_logits(new.drop_columns(["logits"]), np.concatenate([old.logits_NMC, logits], axis=1))
