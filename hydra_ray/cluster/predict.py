"""predict: the members' predictions on every split, streamed by Ray Data into Parquet shards.

One item of the plan is one shard: read its rows, make the view, predict them with all members, write the file. On CPUs
one task does all of it for several shards: rows in one process need no copying, and its members are used again by the
next task. With GPUs, and where somebody's models are asked, an actor holds what answers, and tasks read and write. Only
the shards in flight are in memory. A file is named by its view and rows; finished files are left out of the plan, so a
killed run resumes where it was. Where shards of fewer members exist, only the new members predict.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from hydra_ray.cluster.place_of_work import stream
from hydra_ray.cluster.plan_item import PlanItem
from hydra_ray.cluster.predict_steps import AskMembers, AskTeachers, MakeShards, ReadRows, Work, WriteShard
from hydra_ray.cluster.shard_facts import ShardFacts
from hydra_ray.cluster.teachers import residual_variances
from hydra_ray.data import InputFormat, Ints
from hydra_ray.errors import UserError
from hydra_ray.evaluation import merged
from hydra_ray.evaluation.view_diversity import view_diversity
from hydra_ray.randomness import seed_of
from hydra_ray.runs import Pace, Run, Stage
from hydra_ray.shards import Shards, check_content, count_rows, is_labelled, read_finished, row_digest, shard_names
from hydra_ray.shards.schema import member_fingerprints
from hydra_ray.storage import Folder


def predict(run: Run, stage: Stage) -> None:
    """Write and publish the shards of every split that is not done."""
    splits = {name: run.shards(name) for name in run.split_names}
    splits = {name: shards for name, shards in splits.items() if not shards.is_done}
    # ranges of rows in order, not views: a task then finds the rows of the range before still decoded
    plan = sorted(
        (item for name in splits for item in plan_split(run, name)), key=lambda item: (item.split, item.start)
    )
    finished = {name: _finished(shards.attempt, stage) for name, shards in splits.items()}
    todo = [item for item in plan if item.name(_rows(run)) not in finished[item.split]]
    facts: dict[str, dict[str, ShardFacts]] = {name: {} for name in splits}
    if todo:
        _stream(run, stage, todo, splits, len(plan), facts)
    for name, shards in splits.items():
        _publish(run, stage, name, shards, facts[name])


def _finished(attempt: Folder, stage: Stage) -> set[str]:
    """Names of the shards that an earlier command finished; one cut short, e.g. by a power loss, is deleted."""
    finished = set()
    for name in shard_names(attempt):
        try:
            count_rows(attempt, name)
            finished.add(name)
        except UserError:
            attempt.delete(name)
            stage.say(f"{attempt}/{name}: cut short; it is made again")
    return finished


def plan_split(run: Run, split: str) -> list[PlanItem]:
    """The shards of one split: slices of source rows, without those that have no row under the view."""
    return [item for item, _ in items_of(run, split)]


def items_of(run: Run, split: str) -> Iterator[tuple[PlanItem, Ints]]:
    """The same, each with its rows: the positions in the source, int64 [n]. Never are all rows in memory together."""
    for number, view in run.views(split).items():
        source = run.data.splits[view.rows_of]
        share = seed_of(run.config.seed, "share of a view", split, number)
        for start, stop in source.chunks(_rows(run)):
            rows = source.row_ids(start, stop)
            rows = rows[view.kept(rows, share)]
            if len(rows):
                yield PlanItem(split, number, start, stop), rows


def _facts_of_finished(run: Run, split: str, shards: Shards, name: str) -> ShardFacts:
    """Of a shard that an earlier command finished; it is read, once, and checked again."""
    shard, footer, file = read_finished(shards.attempt, name)
    check_content(f"{shards.attempt}/{name}", shards.attempt, shard, footer, run.data.task, run.data.num_outputs)
    if member_fingerprints(footer) != list(shards.members) or footer.get("split") != split:
        raise _not_ours(shards.attempt, name, "is of another split or ensemble")
    return ShardFacts.of(run.task, shard, file)


def check_rows(run: Run, split: str, attempt: Folder, facts: dict[str, ShardFacts]) -> None:
    """Check that the shards are those of the plan, each with its rows in their order.

    Raises:
        UserError: one is missing, one too many, or has other rows.
    """
    plan = {item.name(_rows(run)): row_digest(item.view, rows) for item, rows in items_of(run, split)}
    for name in sorted(plan.keys() ^ facts.keys()):
        raise _not_ours(attempt, name, "is missing" if name in plan else "is none of this split's shards")
    for name, digest in plan.items():
        if facts[name].digest != digest:
            raise _not_ours(attempt, name, "has other rows than the run's, or in another order (row_id and view)")


def _not_ours(attempt: Folder, name: str, what: str) -> UserError:
    return UserError(f"{attempt}/{name}: {what}; delete {attempt} to have it made again")


def _rows(run: Run) -> int:
    return run.config.predict.rows_per_shard


def _stream(
    run: Run,
    stage: Stage,
    plan: list[PlanItem],
    splits: dict[str, Shards],
    num_shards: int,
    facts: dict[str, dict[str, ShardFacts]],
) -> None:
    """Write the shards of `plan`, and put what is known of each into `facts`."""
    work = work_of(run, splits)
    items = [{"item": item.to_text()} for item in plan]
    cluster = run.config.cluster
    if not cluster.is_local and (cluster.has_gpu or run.config.ensemble.teachers.are_asked):
        from hydra_ray.cluster.item_streams import by_actors

        asking = AskMembers if run.teachers is None else AskTeachers
        written = by_actors(items, cluster, ReadRows(work), asking, work, WriteShard(work))
    else:
        written = stream(items, cluster, MakeShards(work))
    pace = Pace(1, "rows")
    total = sum(map(run.num_rows, splits))
    num_rows = total * (num_shards - len(plan)) // num_shards  # about as many as an earlier command has finished
    for done, row in enumerate(written, start=1):
        num_rows += row["rows"]
        item = PlanItem.of_text(row["item"])
        found = ShardFacts.from_json(row["facts"])
        facts[item.split][work.name(item)] = found
        size = 0 if found.file is None else found.file.bytes
        stage.figures("shard", split=item.split, view=item.view, rows=row["rows"], bytes=size, shards_done=done)
        pace.update("rows", num_rows, total)
        stage.show(f"[{done}/{len(plan)}] shards, {pace}")


def work_of(run: Run, splits: dict[str, Shards]) -> Work:
    """What tasks and actors need to write the shards of some splits."""
    return Work(
        config=run.config,
        data=run.data,
        members=run.members(),
        splits=splits,
        views={name: run.views(name) for name in splits},
        reuse={name: _reusable(run, shards) for name, shards in splits.items()},
        metadata={name: _metadata(run, name) for name in splits},
        features=run.features,
        dtype=run.shard_dtype,
        teachers=run.teachers,
        variances=residual_variances(run),
    )


def _reusable(run: Run, shards: Shards) -> tuple[int | None, ...]:
    """For each member, the place of its predictions in the published shards; of teachers none are taken again."""
    found = shards.reusable()
    return found if run.teachers is None and None in found else (None,) * len(found)


def _metadata(run: Run, split: str) -> dict[str, Any]:
    return {
        "split": split,
        "members": run.member_ids,
        "class_names": list(run.data.class_names or []),
        "views": {str(number): view.describe() for number, view in run.views(split).items()},
        "seed": run.config.seed,
        **_inputs_of(run),
    }


def _inputs_of(run: Run) -> dict[str, Any]:
    """Of a table with categories or missing values, what the inputs' columns and codes mean; else nothing."""
    form = InputFormat.of(run.data)
    return {} if form.is_plain else {"inputs": form.to_json()}


def _known_labels(run: Run) -> np.ndarray:
    """Labels of the training rows that have one; of shards without any, those of the validation rows."""
    for split in ("train", "validation"):
        labels = run.data.splits[split].read_labels()
        if labels is not None and is_labelled(labels).any():
            return labels[is_labelled(labels)]
    raise UserError(f"data.source={run.config.data.source}: no row has a label; label the validation rows")


def _publish(run: Run, stage: Stage, split: str, shards: Shards, facts: dict[str, ShardFacts]) -> None:
    finished = sorted(set(shard_names(shards.attempt)).difference(facts))
    for number, name in enumerate(finished, start=1):
        stage.show(f"{split}: [{number}/{len(finished)}] shards of an earlier command looked through")
        facts[name] = _facts_of_finished(run, split, shards, name)
    check_rows(run, split, shards.attempt, facts)
    shard_rows = {name: int(facts[name].sums["rows"]) for name in sorted(facts)}
    diversity = view_diversity((facts[name].view, facts[name].sums) for name in sorted(facts))
    written = {name: found.file for name, found in facts.items() if found.file is not None}
    content = {
        "rows": sum(shard_rows.values()),
        "members": run.member_ids,
        "views": diversity,
        "shard_rows": shard_rows,
    }
    shards.publish(content, written=written)
    for number, figures in diversity.items():
        where: dict[str, Any] = {"split": split, "view": int(number), "name": run.views(split)[int(number)].label}
        stage.figures("view", **where, **dict[str, Any](figures))
    train_labels = _known_labels(run)
    for label, figures in merged(run.views(split), diversity).items():
        found = run.task.words.disagreement(figures, train_labels)
        stage.say(f"{split:<24} {label:<16} {figures['rows']:>9,} rows   {found}")
