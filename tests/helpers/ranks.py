"""Several processes with a process group of gloo on loopback, no Ray."""

import tempfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from hydra_ray.training.loop import DistributedContext

_SECONDS = 180


def on_ranks(number: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)`, at the top of a module, returns on each of so many ranks."""
    with tempfile.TemporaryDirectory() as folder:
        spawn(_on_rank, (folder, number, function, arguments), nprocs=number)
        return [torch.load(f"{folder}/{rank}.pt", weights_only=False) for rank in range(number)]


def _on_rank(rank: int, folder: str, number: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=number, timeout=timedelta(seconds=_SECONDS))
    try:
        torch.save(function(DistributedContext(rank, number), *arguments), f"{folder}/{rank}.pt")
    finally:
        dist.destroy_process_group()
