"""A Ray Train job that starts no more processes than it needs, and its process group: on one machine workers meet in a
file, on a cluster as Ray arranges it.

torch's own store, where ranks meet otherwise, listens on all interfaces of the machine and needs no token.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.torch import config as rays
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback

from hydra_ray.cluster.session import is_private


class Trainer(TorchTrainer):
    """A `TorchTrainer` of this session whose workers call `loop(job)`.

    Ray's controller unpickles what it is configured with; the job is in the object store instead, for workers alone, so
    that the controller's process does not import this package. Workers read shards and no Ray dataset, whose manager
    would be one more process.
    """

    def __init__(self, loop: Callable[[Any], None], job: Any, **settings: Any) -> None:
        gpus = (settings["scaling_config"].resources_per_worker or {}).get("GPU", 0)
        backend = "nccl" if gpus > 0.5 else "gloo"  # NCCL wants a GPU of its own for every rank
        super().__init__(
            _call,
            train_loop_config={"job": ray.put((loop, job))},
            torch_config=_OneMachine(backend) if is_private() else TorchConfig(backend),
            **settings,
        )

    def _create_default_callbacks(self) -> list[Any]:
        return [each for each in super()._create_default_callbacks() if not isinstance(each, DatasetsCallback)]


def _call(config: dict[str, Any]) -> None:
    loop, job = ray.get(config["job"])
    loop(job)


@dataclass
class _OneMachine(TorchConfig):
    """The configuration of a process group on one machine."""

    @property
    def backend_cls(self) -> Any:
        return _MeetingInAFile


class _MeetingInAFile(rays._TorchBackend):
    """Ray's backend, except that ranks meet in a folder that only this user can open."""

    _folder: Path | None = None

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Set up the process group on all workers."""
        self._folder = Path(tempfile.mkdtemp(prefix="hydra-ray-"))
        worker_group.execute(rays._set_torch_distributed_env_vars)
        setups = [
            worker_group.execute_single_async(
                rank,
                rays._setup_torch_process_group,
                backend=backend_config.backend,
                world_rank=rank,
                world_size=len(worker_group),
                init_method=f"file://{self._folder}/ranks",
                timeout_s=backend_config.timeout_s,
            )
            for rank in range(len(worker_group))
        ]
        ray.get(setups)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Take the process group down."""
        try:
            super().on_shutdown(worker_group, backend_config)
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
