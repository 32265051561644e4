"""Distilling on several ranks: processes of torch.multiprocessing, gloo on loopback, no Ray."""

import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from hydra_ray.config.students import StudentKind
from hydra_ray.config.tree import Config
from hydra_ray.errors import DivergedError
from hydra_ray.shards.loader import BatchReader
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import task_named
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.loop import DistributedContext
from hydra_ray.training.student import HeldOut, InputOutputScaling, distil, plan_of

State = dict[str, Tensor]
_SECONDS = 180


class Job(NamedTuple):
    """One student: its shards of the transfer set and of the validation rows, and what it learns from them."""

    config: Config
    kind: StudentKind
    transfer: Folder
    validation: Folder
    task: str = "classification"


class Outcome(NamedTuple):
    """Weights of a student, and the loss it reported of each epoch; or why it stopped."""

    state: State
    losses: list[float]
    error: str = ""


Jobs = dict[str, Job]


def student_of(
    config: Config,
    kind: StudentKind,
    transfer: Folder,
    validation: Folder,
    task: str = "classification",
    *,
    ranks: DistributedContext = DistributedContext(),  # noqa: B008
    checkpoints: Checkpoints | None = None,
    report: Callable[[dict[str, Any]], None] = lambda figures: None,
    reader: type[BatchReader] = BatchReader,
) -> State:
    """Weights of a student distilled from shards."""
    held = load(validation)
    _, num_members, num_classes = held.logits_NMC.shape
    shape = held.inputs.shape[1:]
    learnt = task_named(task)
    plan = plan_of(config, learnt, kind, num_members=num_members, input_shape=shape, num_outputs=num_classes)
    batches = reader(
        transfer,
        batch_size=config.distill.batch_size,
        seed=config.seed,
        num_members=plan.num_members,
        rank=ranks.rank,
        num_ranks=ranks.num_ranks,
        max_bytes=1 << 30,
        draws=plan.draws,
    )
    ends = InputOutputScaling.of(learnt, held, plan.num_members)
    student = distil(
        plan,
        batches,
        HeldOut(held),
        ends,
        device=torch.device("cpu"),
        ranks=ranks,
        checkpoints=checkpoints,
        report=report,
    )
    return student.state_dict()


def outcome_of(job: Job, ranks: DistributedContext = DistributedContext()) -> Outcome:  # noqa: B008
    """Fit a job's student."""
    losses: list[float] = []
    try:
        state = student_of(*job, ranks=ranks, report=lambda figures: losses.append(figures["loss"]))
    except DivergedError as error:
        return Outcome({}, losses, str(error))
    return Outcome(state, losses)


def on_two_ranks(jobs: Jobs) -> list[dict[str, Outcome]]:
    """Every job's student on rank 0, which is this process, and on rank 1, which is one of its own."""
    with tempfile.TemporaryDirectory() as folder:
        other = torch.multiprocessing.spawn(_second_rank, (folder, jobs), nprocs=1, join=False)
        try:
            mine = _on_rank(0, folder, jobs)
            assert other.join(timeout=_SECONDS)
        finally:
            for process in other.processes:
                process.kill()
        theirs = torch.load(f"{folder}/1.pt", weights_only=True)
        return [mine, {name: Outcome(*found) for name, found in theirs.items()}]


def _second_rank(_: int, folder: str, jobs: Jobs) -> None:
    torch.set_num_threads(1)
    torch.save({name: tuple(found) for name, found in _on_rank(1, folder, jobs).items()}, f"{folder}/1.pt")


def _on_rank(rank: int, folder: str, jobs: Jobs) -> dict[str, Outcome]:
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=_SECONDS))
    try:
        return {name: outcome_of(job, DistributedContext(rank, 2)) for name, job in jobs.items()}
    finally:
        dist.destroy_process_group()
