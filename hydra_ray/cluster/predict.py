"""predict: the members' answers on every split, streamed by Ray Data into Parquet shards.

One plan item is one shard, from reading to file: a task reads its rows and makes the view, an actor that holds all
members answers them in one pass, a task writes the file. Nothing but the shards in flight is in memory. Names follow
from (view, rows), finished files are left out of the plan, so a killed run goes on where it was. Where shards of fewer
members are there, only the new members are asked.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
import torch
from ray.data import ActorPoolStrategy

from hydra_ray.config import Config
from hydra_ray.datasets import DataSet, Rows, Split
from hydra_ray.features import Features
from hydra_ray.folds import left_out
from hydra_ray.model_store import load_published
from hydra_ray.models.members import Ensemble, Member
from hydra_ray.ods import apply_ods
from hydra_ray.predictions import (
    inputs_of,
    no_labels,
    read_shard,
    rows_table,
    verify,
    with_inputs,
    with_logits,
    with_mask,
    write_shard,
)
from hydra_ray.runs import Artifact
from hydra_ray.stages import Run, Shards
from hydra_ray.storage import Folder
from hydra_ray.tracking import Stage
from hydra_ray.training import to_device
from hydra_ray.transfer import VIEWS, apply_view
from hydra_ray.transfer_set import NumberedView
from hydra_ray.view_diversity import merged, view_diversity

_TASK_CPUS, _ACTOR_CPUS = 0.25, 0.5  # the pool must never take all CPUs: reading and writing need some


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
class _Work:
    """What tasks and actors get.

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

    plan: list[PlanItem]
    config: Config
    data: DataSet
    members: list[Artifact]
    splits: dict[str, Shards]
    views: dict[str, dict[int, NumberedView]]
    reuse: dict[str, int]
    metadata: dict[str, dict[str, Any]]
    features: Features | None
    dtype: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)

    def item(self, rows: pa.Table) -> PlanItem:
        """The plan item that rows on their way belong to."""
        return self.plan[rows.column("item")[0].as_py()]

    def view(self, item: PlanItem) -> NumberedView:
        """Its view."""
        return self.views[item.split][item.view]

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


def predict(run: Run, stage: Stage) -> None:
    """Write, verify and publish the shards of every split that is not done."""
    splits = {name: run.shards(name) for name in run.split_names}
    splits = {name: shards for name, shards in splits.items() if not shards.is_done}
    # ranges of rows in order, not views: a task then finds the rows of the range before still decoded
    plan = sorted(
        (item for name in splits for item in plan_split(run, name)), key=lambda item: (item.split, item.start)
    )
    todo = [item for item in plan if item.name(_rows(run)) not in splits[item.split].attempt.files()]
    if todo:
        _stream(run, stage, todo, splits)
    for name, shards in splits.items():
        _publish(run, stage, name, shards)


def plan_split(run: Run, split: str) -> list[PlanItem]:
    """The shards of one split: slices of source rows, as long as a row of theirs appears under the view."""
    plan = []
    for number, view in run.views(split).items():
        rows = run.rows_of_view(split, number)
        for start, stop in run.data.splits[view.rows_of].chunks(_rows(run)):
            if ((rows >= start) & (rows < stop)).any():
                plan.append(PlanItem(split, number, start, stop))
    return plan


def _rows(run: Run) -> int:
    return run.config.predict.rows_per_shard


def _stream(run: Run, stage: Stage, plan: list[PlanItem], splits: dict[str, Shards]) -> None:
    work, cluster = _work(run, plan, splits), run.config.cluster
    items = [{"item": index} for index in range(len(plan))]
    whole_block: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}
    answers = (
        ray.data.from_items(items, override_num_blocks=len(items))
        .map_batches(_ReadRows(work), num_cpus=_TASK_CPUS, **whole_block)
        .map_batches(
            _AskMembers,
            fn_constructor_args=(work,),
            compute=ActorPoolStrategy(size=cluster.num_actors),
            num_cpus=_ACTOR_CPUS,
            num_gpus=1 if cluster.use_gpu else 0,
            **whole_block,
        )
        .map_batches(_WriteShard(work), num_cpus=_TASK_CPUS, **whole_block)
    )
    answers.context.target_max_block_size = None  # a block is a shard: never split one
    num_rows = 0
    for done, row in enumerate(answers.iter_rows(), start=1):
        num_rows += row["rows"]
        item = plan[row["item"]]
        stage.figures("shard", split=item.split, view=item.view, rows=row["rows"], shards_done=done)
        stage.say_sometimes(f"[{done}/{len(plan)}] shards, {num_rows:,} rows")


def _work(run: Run, plan: list[PlanItem], splits: dict[str, Shards]) -> _Work:
    return _Work(
        plan=plan,
        config=run.config,
        data=run.data,
        members=run.members(),
        splits=splits,
        views={name: run.views(name) for name in splits},
        reuse={name: _reusable(shards) for name, shards in splits.items()},
        metadata={name: _metadata(run, name) for name in splits},
        features=run.features,
        dtype=run.shard_dtype,
    )


def _reusable(shards: Shards) -> int:
    return shards.num_reusable() if shards.num_reusable() < len(shards.members) else 0


def _metadata(run: Run, split: str) -> dict[str, Any]:
    return {
        "split": split,
        "members": [{"id": m.folder.name, "fingerprint": m.digest()} for m in run.members()],
        "class_names": list(run.data.class_names or []),
        "views": {str(number): view.describe() for number, view in run.views(split).items()},
        "seed": run.config.seed,
    }


class _ReadRows:
    """Task: a plan item to its rows, transformed; where shards of fewer members are there, to the rows in them."""

    def __init__(self, work: _Work) -> None:
        self.work = work

    def __call__(self, batch: pa.Table) -> pa.Table:
        item = self.work.item(batch)
        table = self._published(item) if self.work.reuse[item.split] else self._made(item)
        return table.append_column("item", pa.array(np.full(table.num_rows, batch.column("item")[0].as_py())))

    def _published(self, item: PlanItem) -> pa.Table:
        old = read_shard(self.work.splits[item.split].folder, self.work.name(item))
        return rows_table(old.row_id, item.view, old.inputs, old.labels)

    def _made(self, item: PlanItem) -> pa.Table:
        numbered, seed = self.work.view(item), self.work.config.seed
        view, rows = numbered.view, self.work.read(numbered.rows_of, item)
        features = self.work.features
        inputs = apply_view(
            view.view, view.options, rows.inputs, rows.row_id, view=item.view, seed=seed, features=features
        )
        kept = numbered.kept(rows.row_id, item.view, seed)  # after the view: mixing needs whole blocks
        has_label = numbered.has_labels and VIEWS[view.view].keeps_label
        labels = no_labels(int(kept.sum()), self.work.data.task)
        if rows.labels is not None and has_label:
            labels = rows.labels[kept]
        return rows_table(rows.row_id[kept], item.view, inputs[kept], labels)


class _AskMembers:
    """Actor: holds all members, answers a shard's rows."""

    def __init__(self, work: _Work) -> None:
        self.work = work
        self.device = torch.device("cuda" if work.config.cluster.use_gpu else "cpu")
        self.batch_size = work.config.predict.batch_size
        self.ensembles: dict[int, Ensemble] = {}

    def __call__(self, rows: pa.Table) -> pa.Table:
        item = self.work.item(rows)
        first = self.work.reuse[item.split]
        if VIEWS[self.work.view(item).view.view].needs_members and not first:
            rows = self._moved(rows, item)
        return with_logits(rows, self._ask(inputs_of(rows), first))

    def _moved(self, rows: pa.Table, item: PlanItem) -> pa.Table:
        """Rows of a view that is made with the members' gradients."""
        inputs, row_id, view = inputs_of(rows), rows.column("row_id").to_numpy(), self.work.view(item).view
        move = partial(apply_ods, view.view, view.options, self.members, view=item.view, seed=self.work.config.seed)
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
    def members(self) -> list[Member]:
        """Read at the first rows: what goes wrong before, Ray takes for the death of the actor."""
        loaded = [load_published(member, self.device) for member in self.work.members]
        return [member for member in loaded if isinstance(member, Member)]


class _WriteShard:
    """Task: answered rows to a file, after the answers of members asked before."""

    def __init__(self, work: _Work) -> None:
        self.work = work

    def __call__(self, table: pa.Table) -> pa.Table:
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


def _publish(run: Run, stage: Stage, split: str, shards: Shards) -> None:
    num_rows = sum(len(run.rows_of_view(split, number)) for number in run.views(split))
    verify(shards.attempt, members=shards.members, num_rows=num_rows, expected={"split": split})
    diversity = view_diversity(run.task, shards.attempt)
    members = [{"id": m.folder.name, "fingerprint": m.digest()} for m in run.members()]
    shards.publish({"rows": num_rows, "members": members, "views": diversity})
    for number, facts in diversity.items():
        where: dict[str, Any] = {"split": split, "view": int(number), "name": run.views(split)[int(number)].label}
        stage.figures("view", **where, **dict[str, Any](facts))
    train_labels = run.data.splits["train"].read_labels()
    assert train_labels is not None
    for label, facts in merged(run.views(split), diversity).items():
        found = run.task.describe_disagreement(facts, train_labels)
        stage.say(f"{split:<24} {label:<16} {facts['rows']:>9,} rows   {found}")
