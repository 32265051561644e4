"""One Ray Train job: W workers, each with its CPUs and possibly a GPU, restarted when one dies.

Ray Train places the workers and sets up their process group. Checkpoints and results are files in the run folder, so
the number of workers may change from one start to the next, and a restart is like the first start. Restarts are
counted here and not by Ray Train, which would also restart after errors that only the user can mend, and without a
word; with `cluster.num_workers=[2, 8]` it restarts by itself to use nodes that have come.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError

from hydra_ray.cluster.failures import cause_of, found_no_room, is_death, is_preempted, one_line
from hydra_ray.cluster.place_of_work import Loop
from hydra_ray.cluster.room import wait_for_room
from hydra_ray.cluster.session import PLACEMENT_SECONDS, SCRATCH
from hydra_ray.cluster.signals import interrupts_past_ray
from hydra_ray.cluster.trainer import Trainer
from hydra_ray.cluster.worker_logs import say_worker_logs
from hydra_ray.cluster.worker_setup import resources_of_worker, set_up_worker
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.runs import Stage
from hydra_ray.shards import Sharing
from hydra_ray.storage import Folder
from hydra_ray.training import DistributedContext

_ELASTIC_PLACEMENT_SECONDS = 20.0
"""How long elastic workers wait for places: they ask for no more than the nodes have that Ray knows."""


def run_workers(loop: Loop, job: Any, cluster: ClusterConfig, folder: Folder, stage: Stage) -> None:
    """Call `loop(job, ranks, device)` on every worker and wait for all of them.

    Args:
        loop: a function at the top of a module, so that Ray can send it to the workers.
        job: its argument; pickled.
        cluster: number of workers, and CPUs and GPUs of each.
        folder: of the run; while the job runs, a hidden folder in it holds Ray's own records.
        stage: the running stage.

    Raises:
        ray.train.TrainingFailedError: workers failed more often than `cluster.max_failures`, or twice in the same way.
    """
    scratch = folder / SCRATCH
    restarts = _Restarts(cluster.max_failures)
    try:
        while True:
            try:
                with interrupts_past_ray(), _short_wait_for_lost_nodes(cluster):
                    _trainer(loop, job, cluster, scratch, stage.name).fit()
                return
            except TrainingFailedError as error:
                restarts.count(error)
                stage.event("restart", failure=restarts.last, number=restarts.number, preempted=restarts.preempted)
                stage.say(f"{restarts.last}; starting again ({restarts})")
                say_worker_logs(folder, stage.say)
            wait_for_room(cluster, stage, cluster.fewest_workers)
    finally:
        scratch.remove()


@dataclass
class _Restarts:
    """Why workers were started again, and how often.

    Attributes:
        most: how many failures there may be.
        failures: each in a line.
        preempted: how often a machine was taken back, which is nobody's failure; Ray has no limit for it either.
        last: the reason for the last start.
    """

    most: int
    failures: list[str] = field(default_factory=list)
    preempted: int = 0
    last: str = ""

    @property
    def number(self) -> int:
        """How many there were."""
        return len(self.failures) + self.preempted

    def count(self, error: TrainingFailedError) -> None:
        """Count one, or raise it if no start is left: what failed twice in the same way will fail again."""
        if is_preempted(error):
            self.preempted += 1
            self.last = "a machine was taken back (preempted)"
            return
        cause = cause_of(error)
        self.last = "others took the room for the workers" if found_no_room(error) else one_line(cause)
        if found_no_room(error):
            return
        same_again = self.last in self.failures and not is_death(cause)
        if isinstance(cause, UserError) or same_again or len(self.failures) >= self.most:
            raise error
        self.failures.append(self.last)

    def __str__(self) -> str:
        if self.preempted:
            return f"restarted {self.number} times: {self.preempted} preempted"
        return f"{len(self.failures)} of at most {self.most} times"


def ranks_of_train() -> DistributedContext:
    """This worker among those of its Ray Train job."""
    context = ray.train.get_context()
    num_ranks = context.get_world_size()
    sharing = Sharing(context.get_node_rank(), context.get_local_rank(), context.get_local_world_size(), num_ranks)
    return DistributedContext(context.get_world_rank(), num_ranks, sharing)


def _trainer(loop: Loop, job: Any, cluster: ClusterConfig, scratch: Folder, name: str) -> Trainer:
    return Trainer(
        _worker,
        (loop, job, cluster),
        scaling_config=ScalingConfig(
            num_workers=_fixed_or_elastic(cluster),
            use_gpu=cluster.has_gpu,
            resources_per_worker=resources_of_worker(cluster, cluster.cpus_per_worker),
        ),
        run_config=RunConfig(
            name=f"{name}-{uuid.uuid4().hex[:8]}",
            storage_path=scratch.path,
            storage_filesystem=scratch.fs,
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0, controller_failure_limit=0),
        ),
    )


@contextmanager
def _short_wait_for_lost_nodes(cluster: ClusterConfig) -> Iterator[None]:
    """Have elastic workers give up a place within seconds: on a node that just died, which Ray lists for a while."""
    before = os.environ[PLACEMENT_SECONDS]
    if cluster.fewest_workers < cluster.most_workers:
        os.environ[PLACEMENT_SECONDS] = str(min(_ELASTIC_PLACEMENT_SECONDS, float(before)))
    try:
        yield
    finally:
        os.environ[PLACEMENT_SECONDS] = before


def _fixed_or_elastic(cluster: ClusterConfig) -> int | tuple[int, int]:
    if cluster.fewest_workers == cluster.most_workers:
        return cluster.most_workers
    return cluster.fewest_workers, cluster.most_workers


def _worker(work: tuple[Loop, Any, ClusterConfig]) -> None:
    loop, job, cluster = work
    loop(job, ranks_of_train(), set_up_worker(cluster))
