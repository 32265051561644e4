"""Distilling on several ranks: processes of torch.multiprocessing, gloo on loopback, no Ray."""

import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import Tensor

from hydra_ray.config import Config, StudentKind
from hydra_ray.distillation import distil, task_of
from hydra_ray.models.members import Normalise
from hydra_ray.predictions import BatchReader, load
from hydra_ray.storage import Folder
from hydra_ray.training import Ranks

State = dict[str, Tensor]


def student_of(
    config: Config,
    kind: StudentKind,
    transfer: Folder,
    validation: Folder,
    *,
    ranks: Ranks = Ranks(),  # noqa: B008
    num_members: int | None = None,
    checkpoints: Folder | None = None,
    report: Callable[[dict[str, Any]], None] = lambda figures: None,
    reader: type[BatchReader] = BatchReader,
) -> State:
    """Weights of a student distilled from shards."""
    held = load(validation)
    members = num_members or held.logits_NMC.shape[1]
    task = task_of(
        config, kind, num_members=members, input_shape=held.inputs.shape[1:], num_outputs=held.logits_NMC.shape[2]
    )
    batches = reader(
        transfer, batch_size=config.distill.batch_size, seed=config.seed, num_members=task.num_members,
        rank=ranks.rank, num_ranks=ranks.num_ranks, max_bytes=config.cluster.rows_memory_mb << 20,
    )  # fmt: skip
    normalise = Normalise.fit(held.inputs)
    student = distil(
        task, batches, held, normalise, device=torch.device("cpu"), ranks=ranks, checkpoints=checkpoints, report=report
    )
    return student.state_dict()


def on_ranks(
    num_ranks: int, jobs: dict[str, tuple[Config, StudentKind]], transfer: Folder, validation: Folder
) -> list[dict[str, State]]:
    """Weights of every job's student on every rank; the jobs run one after the other in the same processes."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (num_ranks, folder, jobs, transfer, validation)
        torch.multiprocessing.spawn(_rank, arguments, nprocs=num_ranks)
        return [torch.load(f"{folder}/{rank}.pt", weights_only=True) for rank in range(num_ranks)]


def _rank(rank: int, num_ranks: int, folder: str, jobs: dict[str, tuple[Config, StudentKind]], *shards: Folder) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=num_ranks, timeout=timedelta(seconds=120)
    )
    ranks = Ranks(rank, num_ranks)
    states = {name: student_of(config, kind, *shards, ranks=ranks) for name, (config, kind) in jobs.items()}
    torch.save(states, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()
