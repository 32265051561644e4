"""What a task reserves, and what every worker does first, be it a worker of Ray Train, a trial, a task or an actor:
threads and device.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from hydra_ray.config import ClusterConfig


def set_up_worker(cluster: ClusterConfig) -> torch.device:
    """Give torch the threads that were reserved, and say on which device this process works.

    A task sees only the GPU that it reserved. A worker of Ray Train sees every GPU of its machine; Ray has made
    its own the current one.
    """
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    return torch.device("cuda", torch.cuda.current_device()) if cluster.has_gpu else torch.device("cpu")


@contextmanager
def threads_kept() -> Iterator[None]:
    """Put back the number of torch's threads, which a worker's work in this process sets."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def resources_of_worker(cluster: ClusterConfig, cpus: float) -> dict[str, float]:
    """What Ray Train and Tune reserve for a worker or a trial."""
    return {"CPU": cpus, **({"GPU": cluster.gpus_per_worker} if cluster.has_gpu else {})}


def placed(task: Any, cluster: ClusterConfig) -> Any:
    """A remote function that reserves CPUs for its threads and, with `cluster.use_gpu`, a GPU or its share of one.

    Ray hides no GPU from a task that reserved none; such a task would share one with whatever else runs there.
    """
    return task.options(num_cpus=cluster.cpus_per_worker, num_gpus=cluster.gpus_per_worker)
