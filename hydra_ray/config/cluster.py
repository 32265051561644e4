"""The section `cluster` of the configuration: what of the machine or cluster a stage may use.

Part of `tree.py`, through which it is imported.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hydra_ray.config.types import Count, CountOrNone, FewToMany, NotNegative, Positive, Section, Several, StoreSize


class ClusterConfig(Section):
    """What of the machine or cluster a stage may use."""

    num_workers: Several | FewToMany = 1
    """Processes that train members or one student; with GPUs also those that ask the members. `[2, 8]`: as many as
    there is room for on a cluster, and never fewer than 2; workers are lost and added while a stage runs."""
    use_gpu: bool | Literal["auto"] = "auto"
    """A GPU for each worker. `auto`: where there are enough for all workers."""
    local: bool | Literal["auto"] = "auto"
    """Whether a stage works in the command's own process instead of Ray's workers. `auto`: where it is some seconds of
    work, which workers would take longer to start for, and RAY_ADDRESS names no cluster. A search needs workers."""
    gpu_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of a GPU that each worker gets. At 0.2 five workers train small members on one card, which one alone leaves
    idle most of the time; of students each worker then trains its own."""
    cpus_per_worker: Positive = 1.0
    """CPUs of one worker, or of one task that asks the members; also its number of threads."""
    max_failures: CountOrNone = 3
    """Times a stage starts its workers again after one died, those not counted whose machine was taken back with an
    announcement, as spot machines under Kubernetes are."""
    wait_minutes: NotNegative = 10.0
    """How long a stage waits until a cluster has room for its workers: one that grows, or that others use."""
    transfer_memory_mb: Count = 2048
    """Memory of one worker for transfer rows; a larger transfer set is read a window of shards at a time."""
    object_store_mb: StoreSize = 1024
    """Object store of a private local session; Ray takes no less than 75."""

    @property
    def fewest_workers(self) -> int:
        """Workers without which a stage does not start."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[0]

    @property
    def most_workers(self) -> int:
        """Workers that a stage has where there is room for all."""
        return self.num_workers if isinstance(self.num_workers, int) else self.num_workers[1]

    @property
    def has_gpu(self) -> bool:
        """Whether each worker has a GPU; while `auto` is not decided (`runs/gpus.py`), none has."""
        return self.use_gpu is True

    @property
    def is_local(self) -> bool:
        """Whether a stage works in this process; while `auto` is not decided (`runs/small_work.py`), none does."""
        return self.local is True

    @property
    def most_processes(self) -> int:
        """Processes that a stage has where there is room for all: one where it works in this process."""
        return 1 if self.is_local else self.most_workers

    @property
    def gpus_per_worker(self) -> float:
        """GPUs that a worker, task or trial reserves."""
        return self.gpu_share if self.has_gpu else 0.0

    @property
    def workers_share_gpus(self) -> bool:
        """Whether several workers are on one card, where NCCL joins none and each only waits for the others."""
        return 0 < self.gpus_per_worker <= 0.5
