"""The steps that make one shard: read its rows and make the view, predict them with all members, write the file.

Each step passes a table to the next, for tasks and actors of Ray Data; `MakeShards` does all three. The plan is made
in `predict.py`.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache, partial
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch

from hydra_ray.cluster.plan_item import PlanItem
from hydra_ray.cluster.shard_facts import ShardFacts
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config
from hydra_ray.data import DataSet, Features, Rows, Split
from hydra_ray.models import Ensemble, Member, to_device
from hydra_ray.randomness import seed_of
from hydra_ray.runs import TRANSFER, load_published
from hydra_ray.shards import (
    ShardReader,
    Shards,
    check_content,
    inputs_of,
    joined_logits,
    no_labels,
    rows_of,
    rows_table,
    with_inputs,
    with_logits,
    with_mask,
    write_shard,
)
from hydra_ray.storage import Artifact, Folder
from hydra_ray.tasks import task_named
from hydra_ray.teachers import AskedTeachers, Found, Teachers
from hydra_ray.views import NumberedView, apply_view, apply_with_members, asked_members, view_named

_EARLIER = "earlier logits"
"""Column of what members said that an earlier command asked, until the file is written."""


@dataclass(frozen=True)
class Work:
    """What tasks and actors need, of whatever item; two are equal where their keys are.

    It has no list of the items: every task unpickles it, and there are as many tasks as items.

    Attributes:
        config: the run's.
        data: where rows are read from.
        members: all members, in order.
        splits: predicted split -> its shards.
        views: predicted split -> view number -> view.
        reuse: predicted split -> for each member, the place of its predictions in the published shards, which are used
            again; None where it is asked.
        metadata: predicted split -> metadata of its shards' footers.
        features: statistics of the training rows' features; None for images.
        dtype: of the stored outputs.
        teachers: who answers in the members' place; None for the members.
        variances: of teachers that give a mean alone, [M].
        key: distinguishes this work from other stages' in the same process.
    """

    config: Config = field(compare=False)
    data: DataSet = field(compare=False)
    members: list[Artifact] = field(compare=False)
    splits: dict[str, Shards] = field(compare=False)
    views: dict[str, dict[int, NumberedView]] = field(compare=False)
    reuse: dict[str, tuple[int | None, ...]] = field(compare=False)
    metadata: dict[str, dict[str, Any]] = field(compare=False)
    features: Features | None = field(compare=False)
    dtype: str = field(compare=False)
    teachers: Teachers | None = field(default=None, compare=False)
    variances: np.ndarray | None = field(default=None, compare=False)
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def item(self, rows: pa.Table) -> PlanItem:
        """The plan item of a table of rows."""
        return PlanItem.of_text(rows.column("item")[0].as_py())

    def view(self, item: PlanItem) -> NumberedView:
        """The view of a plan item."""
        return self.views[item.split][item.view]

    def seed(self, stream: Literal["view", "share of a view"], item: PlanItem) -> int:
        """The seed of one of a plan item's random streams."""
        return seed_of(self.config.seed, stream, item.split, item.view)

    def asked(self, item: PlanItem, row_id: np.ndarray) -> np.ndarray | None:
        """Members that are asked about a plan item's rows, bool [N, M]; None for all."""
        return asked_members(self.config, item.split, item.view, self.view(item), row_id)

    def to_ask(self, split: str) -> tuple[int, ...]:
        """Places of the members whose predictions on a split are not published yet."""
        return tuple(place for place, published in enumerate(self.reuse[split]) if published is None)

    def joined_places(self, split: str) -> list[int]:
        """For each member, its place where those that are published stand before those that are asked."""
        asked = itertools.count(len(self.reuse[split]) - len(self.to_ask(split)))
        published = itertools.count()
        return [next(asked if place is None else published) for place in self.reuse[split]]

    def extends(self, split: str) -> bool:
        """Whether a split's published shards hold some of the members."""
        return len(self.to_ask(split)) < len(self.reuse[split])

    def is_masked(self, split: str) -> bool:
        """Whether some rows of a split are not asked of all members: then all its shards say of whom."""
        per_row = split == TRANSFER and self.config.predict.members_per_row is not None
        return per_row or any(view.held_out for view in self.views[split].values())

    def name(self, item: PlanItem) -> str:
        """The file name of a plan item."""
        return item.name(self.config.predict.rows_per_shard)

    def read(self, split: str, item: PlanItem) -> Rows:
        """The source rows of a plan item; often the next item is the same range under another view."""
        return _read(_Range(self.key, split, item.start, item.stop, self.data.splits[split]))


@dataclass(frozen=True)
class _Range:
    """Rows of a split, identified by the work that needs them and their place."""

    key: str
    split: str
    start: int
    stop: int
    source: Split = field(compare=False)


@lru_cache(maxsize=1)
def _read(rows: _Range) -> Rows:
    """Read a range's rows, cached for the next task of this process: decoding images takes as long as making a view."""
    return rows.source.read(rows.start, rows.stop)


class MakeShards:
    """Makes the files of plan items, one after the other."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, items: pa.Table) -> Iterator[pa.Table]:
        """Items -> for each, what was written: item, rows, facts."""
        set_up_worker(self.work.config.cluster)
        ask = _asking(self.work)
        read = ReadRows(ask.work)  # the work of this process's first task, whose files are open
        write = WriteShard(ask.work)
        for place in range(items.num_rows):
            yield write(ask(read(items.slice(place, 1))))


class ReadRows:
    """Reads a plan item's rows and makes their view; where shards of fewer members exist, reads what is in them."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The item, as a table of one row -> all columns of a shard but `logits`, and the item."""
        item = self.work.item(batch)
        table = self._published(item) if self.work.extends(item.split) else self._made(item)
        return table.append_column("item", pa.repeat(batch.column("item")[0], table.num_rows))

    def _published(self, item: PlanItem) -> pa.Table:
        published = [place for place in self.work.reuse[item.split] if place is not None]
        old = _reader_of(self.work, item.split).read(self.work.name(item)).of_members(published)
        return with_logits(rows_table(old.row_id, item.view, old.inputs, old.labels), old.logits_NMC, _EARLIER)

    def _made(self, item: PlanItem) -> pa.Table:
        numbered = self.work.view(item)
        view = numbered.view
        rows = self.work.read(numbered.rows_of, item)
        seed = self.work.seed("view", item)
        inputs = apply_view(view.view, view.options, rows.inputs, rows.row_id, seed=seed, features=self.work.features)
        # after the view: mixing needs whole blocks
        kept = numbered.kept(rows.row_id, self.work.seed("share of a view", item))
        has_label = numbered.has_labels and view_named(view.view).keeps_label
        labels = no_labels(int(kept.sum()), self.work.data.task)
        if rows.labels is not None and has_label:
            labels = rows.labels[kept]
        return rows_table(rows.row_id[kept], item.view, inputs[kept], labels)


class AskMembers:
    """Holds all members and predicts a shard's rows."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.batch_size = work.config.predict.batch_size
        self.ensembles: dict[tuple[int, ...], Ensemble] = {}

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The same rows with `logits`; a view that needs the members' gradients moves the rows first."""
        item = self.work.item(rows)
        if view_named(self.work.view(item).view.view).needs_members:  # such shards are never extended
            rows = self._moved(rows, item)
        mask_NM = self.work.asked(item, rows.column("row_id").to_numpy())
        if mask_NM is not None and self.work.config.predict.members_per_row is not None:  # nor are these
            return with_logits(rows, self._ask_some(inputs_of(rows), mask_NM))
        return with_logits(rows, self._ask(inputs_of(rows), self.work.to_ask(item.split)))

    @torch.inference_mode()
    def _ask_some(self, inputs: np.ndarray, mask_NM: np.ndarray) -> np.ndarray:
        """Logits of the members that are asked about each row; of others 0."""
        found = np.zeros((*mask_NM.shape, self.work.data.num_outputs), self.work.dtype)
        for number, member in enumerate(self.members):
            chosen = np.flatnonzero(mask_NM[:, number])
            for (rows,) in self._batches(chosen):
                answers = member(to_device(inputs[rows], self.device)).float().cpu().numpy()
                found[rows, number] = answers.astype(self.work.dtype)
        return found

    def _moved(self, rows: pa.Table, item: PlanItem) -> pa.Table:
        """The rows moved by a view that needs the members' gradients."""
        inputs = inputs_of(rows)
        row_id = rows.column("row_id").to_numpy()
        view = self.work.view(item).view
        move = partial(apply_with_members, view.view, view.options, self.members, seed=self.work.seed("view", item))
        parts = [move(*(to_device(each, self.device) for each in part)) for part in self._batches(inputs, row_id)]
        return with_inputs(rows, torch.cat(parts).cpu().numpy())

    def _batches(self, *arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
        for start in range(0, len(arrays[0]), self.batch_size):
            yield tuple(array[start : start + self.batch_size] for array in arrays)

    def _ask(self, inputs: np.ndarray, places: tuple[int, ...]) -> np.ndarray:
        """Logits of the members at these places."""
        if places not in self.ensembles:
            self.ensembles[places] = Ensemble([self.members[place] for place in places])
        ensemble = self.ensembles[places]
        answers = [ensemble(to_device(part, self.device)) for (part,) in self._batches(inputs)]
        return torch.cat(answers).float().cpu().numpy().astype(self.work.dtype)

    @cached_property
    def device(self) -> torch.device:
        """The device of this process, which is set up at the first rows."""
        return set_up_worker(self.work.config.cluster)

    @cached_property
    def members(self) -> list[Member]:
        """The members, loaded at the first rows: an error in the constructor would look to Ray like a dead actor."""
        loaded = [load_published(member, self.device) for member in self.work.members]
        return [member for member in loaded if isinstance(member, Member)]


class AskTeachers:
    """Holds the teachers and has a shard's rows answered by them."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, rows: pa.Table) -> pa.Table:
        """The same rows with `logits`, and with `mask` where a teacher has no answer or some count more than others."""
        set_up_worker(self.work.config.cluster)
        teachers = self.work.teachers
        assert teachers is not None
        item = self.work.item(rows)
        view = self.work.view(item)
        asked = Rows(rows.column("row_id").to_numpy(), inputs_of(rows), None)
        asked_NM = self.work.asked(item, asked.row_id)
        if asked_NM is not None and isinstance(teachers, AskedTeachers):
            found = teachers.answer_some(asked, asked_NM)
        else:
            found = teachers.answer(item.split, view.rows_of, asked, item.view)
        outputs_NMC = found.outputs_NMC
        if self.work.variances is not None:
            outputs_NMC[..., 1] = np.log(self.work.variances)
        rows = with_logits(rows, outputs_NMC.astype(self.work.dtype))
        mask_NM = weighted_mask(found, self.work.config.ensemble.teachers.weights)
        return rows if mask_NM is None else with_mask(rows, mask_NM)


def weighted_mask(found: Found, weights: Sequence[float] | None) -> np.ndarray | None:
    """Who has an answer, times the members' weights: bool or float32 [N, M]; None where all count alike."""
    if weights is None:
        return found.mask_NM
    return (
        np.ones(found.outputs_NMC.shape[:2], np.float32)
        * np.array(weights, np.float32)
        * (1 if found.mask_NM is None else found.mask_NM)
    )


@lru_cache(maxsize=1)
def _asking(work: Work) -> AskMembers | AskTeachers:
    """The members of this work, or the teachers, loaded by this process's first task."""
    return AskMembers(work) if work.teachers is None else AskTeachers(work)


class WriteShard:
    """Checks predicted rows and writes a file of them, beside predictions of members that an earlier command asked."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, table: pa.Table) -> pa.Table:
        """What was written: item, rows, facts (`ShardFacts`)."""
        item = self.work.item(table)
        shards = self.work.splits[item.split]
        table = table.drop_columns(["item"])
        if self.work.extends(item.split):
            table = joined_logits(table, [_EARLIER, "logits"], self.work.joined_places(item.split))
        if self.work.teachers is None and self.work.is_masked(item.split):
            asked_NM = self.work.asked(item, table.column("row_id").to_numpy())
            all_NM = np.ones((table.num_rows, len(self.work.members)), np.bool_)
            table = with_mask(table, all_NM if asked_NM is None else asked_NM)
        facts = self._write(shards.attempt, self.work.name(item), table, self.work.metadata[item.split])
        return pa.table({"item": [item.to_text()], "rows": [table.num_rows], "facts": [facts.to_json()]})

    def _write(self, folder: Folder, name: str, table: pa.Table, footer: dict[str, Any]) -> ShardFacts:
        data = self.work.data
        task = task_named(data.task)
        rows = rows_of(f"{folder}/{name}", table)
        check_content(f"{folder}/{name}", folder, rows, footer, data.task, data.num_outputs)
        return replace(ShardFacts.of(task, rows), file=write_shard(folder, name, table, footer))


@lru_cache(maxsize=4)
def _reader_of(work: Work, split: str) -> ShardReader:
    """Reads a split's published shards; its manifest, which lists all of them, is read once a process."""
    return ShardReader(work.splits[split].folder)
