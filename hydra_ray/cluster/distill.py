"""distill: one Ray Train job (DDP) that trains all missing students on the shards, one after the other.

Starting workers costs more than training a small student, so they are started once. Each student is published when it
is done; one that was interrupted resumes from its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from hydra_ray.cluster.place_of_work import fit, progress
from hydra_ray.cluster.progress import Event, Sender, Ticker, log_worker_event
from hydra_ray.config import Config, StudentKind
from hydra_ray.inference import Student
from hydra_ray.randomness import seed_of
from hydra_ray.runs import Pace, Run, Stage, publish_model
from hydra_ray.shards import BatchReader, ShardReader, ShardRows, Sharing, Sizes, required_names, windows_of
from hydra_ray.storage import Artifact, Folder
from hydra_ray.tasks import Task
from hydra_ray.training import (
    Checkpoints,
    Distillation,
    DistributedContext,
    HeldOut,
    InputOutputScaling,
    distil,
    facts_of,
    plan_of,
)


@dataclass(frozen=True)
class StudentRows:
    """Rows that all students read.

    Attributes:
        held_out: validation rows and views of them.
        first: rows of the transfer set's first shard.
        transfer: of the whole transfer set; None where they do not fit into memory, and are read in windows.
    """

    held_out: HeldOut
    first: ShardRows
    transfer: ShardRows | None


@dataclass(frozen=True)
class StudentInputs:
    """What students train on.

    Attributes:
        task: what they learn.
        transfer: folder of the transfer set's shards.
        validation: folder of the validation rows' shards.
        members: of the members in them those that are learnt from, by number, in the order of heads.
        num_outputs: of each member.
        categories: of each feature how many codes it has, 0 for a number; () where none is a category.
        about: what stands in a student's folder of the data: name, task, classes and inputs.
        validation_views: folder of the shards of views of the validation rows; None where there are none.
    """

    task: Task
    transfer: Folder
    validation: Folder
    members: list[int]
    num_outputs: int
    categories: tuple[int, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    validation_views: Folder | None = None

    @property
    def num_members(self) -> int:
        """How many members are learnt from."""
        return len(self.members)

    def rows(self, max_bytes: int, sharing: Sharing) -> StudentRows:
        """What every student reads, once for all of them; of the transfer set all rows if they take so little memory.

        Args:
            max_bytes: memory for rows of the transfer set; while they are read, they take it twice.
            sharing: of this process, with all ranks.

        Raises:
            UserError: shards are missing or damaged.
        """
        held_out = [
            sharing.rows(partial(_parts, folder, self.members))
            for folder in (self.validation, self.validation_views)
            if folder is not None
        ]
        sizes: Sizes = sharing.first_says(ShardReader(self.transfer).sizes)
        first, *_ = sizes.rows
        fits = windows_of(sizes.bytes(self.num_members), max_bytes) == 1
        transfer = sharing.rows(partial(_parts, self.transfer, self.members, None if fits else [first]))
        return StudentRows(HeldOut(*held_out), transfer[: sizes.rows[first]], transfer if fits else None)

    def scaling(self, rows: StudentRows, num_members: int) -> InputOutputScaling:
        """Of a student of the first `num_members`, from the first shard's rows: the same on every rank."""
        return InputOutputScaling.of(self.task, rows.first, num_members, self.categories)

    def plan(self, config: Config, kind: StudentKind, input_shape: tuple[int, ...]) -> Distillation:
        """The student of this kind that `config` describes."""
        return plan_of(
            config,
            self.task,
            kind,
            num_members=self.num_members,
            input_shape=input_shape,
            num_outputs=self.num_outputs,
            categories=self.categories,
        )

    def batches(self, config: Config, plan: Distillation, ranks: DistributedContext, rows: StudentRows) -> BatchReader:
        """This rank's part of seeded batches."""
        return BatchReader(
            self.transfer if rows.transfer is None else rows.transfer,
            batch_size=config.distill.batch_size,
            seed=seed_of(plan.seed, "student order", plan.objective.kind),
            num_members=plan.num_members,
            members=self.members,
            rank=ranks.rank,
            num_ranks=ranks.num_ranks,
            max_bytes=config.cluster.transfer_memory_mb << 20,
            draws=plan.draws,
            sharing=ranks.sharing,
        )


@dataclass(frozen=True)
class _Job:
    source: StudentInputs
    students: list[tuple[StudentKind, Config, Artifact]]
    sender: Sender


def distill(run: Run, stage: Stage) -> None:
    """Train and publish the students that are missing."""
    source = student_inputs_of(run)
    students: dict[StudentKind, Artifact] = {kind: run.student(kind) for kind in run.config.student_kinds}
    missing: list[tuple[StudentKind, Config, Artifact]] = [
        (kind, run.tuned(kind), artifact) for kind, artifact in students.items() if not artifact.is_done
    ]
    num_epochs: dict[StudentKind, int] = {
        kind: config.distill.mean_phase_epochs + config.distill.epochs for kind, config, _ in missing
    }
    pace = Pace(len(missing), "steps")

    def record(event: Event) -> None:
        _record(stage, event, num_epochs, run.task, pace)

    with progress(record, run.config.cluster) as sender:
        fit(_fit_students, _Job(source, missing, sender), run.config.cluster, run.folder, stage)


def student_inputs_of(run: Run) -> StudentInputs:
    """The shards that students train on; `cluster/pipeline.py` has checked them."""
    transfer, validation, *views = (run.shards(split).files for split in run.splits_students_read)
    return StudentInputs(
        run.task,
        transfer,
        validation,
        members=run.config.members_to_distil,
        num_outputs=run.data.num_outputs,
        categories=run.data.categories,
        about=run.about,
        validation_views=views[0] if views else None,
    )


def _parts(folder: Folder, members: Sequence[int], names: Sequence[str] | None = None) -> Iterator[ShardRows]:
    """A folder's shards, or those in `names`, one after the other."""
    shards = ShardReader(folder, members)
    for name in required_names(folder) if names is None else names:
        yield shards.read(name)


def _fit_students(job: _Job, ranks: DistributedContext, device: torch.device) -> None:
    """Train the missing students on one worker, which takes its part of every batch; on a shared GPU, its students."""
    job.sender.send({"event": "started", "rank": ranks.rank})
    students = job.students
    rows = job.source.rows(students[0][1].cluster.transfer_memory_mb << 20, ranks.sharing)
    if students[0][1].cluster.workers_share_gpus:
        students = students[ranks.rank :: ranks.num_ranks]
        ranks = DistributedContext()
    for kind, config, artifact in students:
        if not artifact.is_done:
            _fit_one(job, rows, kind, config, artifact, ranks, device)


def _fit_one(
    job: _Job,
    rows: StudentRows,
    kind: StudentKind,
    config: Config,
    artifact: Artifact,
    ranks: DistributedContext,
    device: torch.device,
) -> None:
    held_out = rows.held_out
    validation = held_out.rows
    plan = job.source.plan(config, kind, validation.inputs.shape[1:])
    batches = job.source.batches(config, plan, ranks, rows)

    def report(figures: dict[str, Any]) -> None:
        if ranks.is_first:
            job.sender.send({"event": "epoch", "student": kind, **figures})

    def say(text: str) -> None:
        job.sender.send({"event": "checkpoint_removed", "text": text})

    scaling = job.source.scaling(rows, plan.num_members)
    checkpoints = Checkpoints(artifact.attempt, artifact.fingerprint, say, is_writer=ranks.is_first)
    student = distil(
        plan, batches, held_out, scaling, device=device, ranks=ranks, checkpoints=checkpoints, report=report,
        tick=Ticker(job.sender, student=kind) if ranks.is_first else None,
    )  # fmt: skip
    ranks.wait()
    if ranks.is_first:
        facts = {**facts_of(plan, student, held_out), **job.source.about}
        finished = Student(student, facts)
        finished.fit_thresholds(validation.inputs, validation.labels, plan.seed)
        num_bytes = publish_model(artifact, student, plan.spec, facts, finished.files_beside())
        calibration = {key: facts[key] for key in ("calibration", "calibration_caveat") if key in facts}
        told = {**facts["figures"], **calibration, "bytes": num_bytes}
        job.sender.send({"event": "student", "student": kind, **told}, wait=True)
    ranks.wait()


def _record(stage: Stage, event: Event, num_epochs: Mapping[StudentKind, int], task: Task, pace: Pace) -> None:
    if event["event"] == "steps":
        stage.tell(**event)
        pace.update(event["student"], event["done"], event["total"])
        stage.show(f"{event['student']}: {pace}")
        return
    if log_worker_event(stage, event):
        return
    facts = {key: value for key, value in event.items() if key != "event"}
    text = f"{event['student']}: {task.words.quality(event)}"
    kept = event.get(f"validation_{task.figures.knowledge}_ratio")
    if kept is not None:
        text += f", {kept:.0%} of the ensemble's {task.figures.knowledge.replace('_', ' ')}"
    if event["event"] == "student":
        stage.event("student", **facts)
        stage.say(f"{text}; published")
        if "calibration_caveat" in event:
            stage.say(f"{event['student']}: {event['calibration_caveat']}")
    else:
        stage.figures("epoch", series=event["student"], **facts)
        stage.show(f"{text} after epoch {event['epoch']}/{num_epochs[event['student']]} ({event['phase']}); {pace}")
