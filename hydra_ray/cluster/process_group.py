"""The process group of a Train job: on one machine its workers meet in a file, on a cluster as Ray arranges it.

torch's own store, where ranks meet otherwise, listens on all interfaces of the machine and needs no token.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.train.torch import TorchConfig
from ray.train.torch import config as rays

from hydra_ray.cluster.session import is_private


def torch_config() -> TorchConfig:
    """The torch configuration for a `TorchTrainer` of this session."""
    return _OneMachine() if is_private() else TorchConfig()


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
                backend="nccl" if worker_group.get_resources_per_worker().get("GPU") else "gloo",
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
