"""One Ray Train job: W workers, each with its CPUs and perhaps a GPU, started again when one dies.

Ray Train places the workers, sets up their process group and restarts them. Checkpoints and results are files in the run
folder (`runs.py`), so that the number of workers may change from one start to the next.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from hydra_ray.config import ClusterConfig
from hydra_ray.storage import Folder
from hydra_ray.training import Ranks

Loop = Callable[[Any, Ranks, torch.device], None]


def run_workers(loop: Loop, job: Any, cluster: ClusterConfig, folder: Folder, name: str) -> None:
    """Call `loop(job, ranks, device)` on every worker and wait for all of them.

    Args:
        loop: a function of a module, as Ray sends it to the workers.
        job: its argument; pickled.
        cluster: how many workers, and with what.
        folder: the run's; Ray's own records lie in a hidden folder there while the job runs.
        name: of the stage.

    Raises:
        ray.train.TrainingFailedError: workers failed more often than `cluster.max_failures`.
    """
    scratch = folder / ".ray"
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"loop": loop, "job": job, "threads": max(1, int(cluster.cpus_per_worker))},
        scaling_config=ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=cluster.use_gpu,
            resources_per_worker={"CPU": cluster.cpus_per_worker, **({"GPU": 1} if cluster.use_gpu else {})},
        ),
        run_config=RunConfig(
            name=f"{name}-{uuid.uuid4().hex[:8]}",
            storage_path=scratch.path,
            storage_filesystem=scratch.fs,
            failure_config=FailureConfig(max_failures=cluster.max_failures),
        ),
    )
    try:
        trainer.fit()
    finally:
        scratch.remove()


def _worker(config: dict[str, Any]) -> None:
    torch.set_num_threads(config["threads"])
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    config["loop"](config["job"], ranks, ray.train.torch.get_device())
