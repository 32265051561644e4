"""One Ray Train job: W workers, each with its CPUs and possibly a GPU, restarted when one dies.

Ray Train places the workers and sets up their process group. Checkpoints and results are files in the run folder, so
the number of workers may change from one start to the next, and a restart is like the first start. Restarts are
counted here and not by Ray Train, which would also restart after errors that only the user can mend.
"""

from __future__ import annotations

import uuid
from typing import Any

import ray.train
from ray.train import RunConfig, ScalingConfig, TrainingFailedError

from hydra_ray.cluster.failures import cause_of, is_death, one_line
from hydra_ray.cluster.place_of_work import Loop
from hydra_ray.cluster.session import SCRATCH
from hydra_ray.cluster.signals import interrupts_past_ray
from hydra_ray.cluster.trainer import Trainer
from hydra_ray.cluster.worker_setup import resources_of_worker, set_up_worker
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.runs import Stage
from hydra_ray.storage import Folder
from hydra_ray.training import DistributedContext


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
    failures: list[str] = []
    try:
        while True:
            try:
                with interrupts_past_ray():
                    _trainer(loop, job, cluster, scratch, stage.name).fit()
                return
            except TrainingFailedError as error:
                _require_another_start(error, failures, cluster.max_failures)
                stage.event("restart", failure=failures[-1], number=len(failures))
                stage.say(f"{failures[-1]}; starting again ({len(failures)} of at most {cluster.max_failures} times)")
    finally:
        scratch.remove()


def ranks_of_train() -> DistributedContext:
    """This worker among those of its Ray Train job."""
    context = ray.train.get_context()
    return DistributedContext(context.get_world_rank(), context.get_world_size())


def _require_another_start(error: TrainingFailedError, failures: list[str], most: int) -> None:
    """Count the failure, or raise it if no restart is left: what failed twice in the same way will fail again."""
    cause = cause_of(error)
    failure = one_line(cause)
    same_again = failure in failures and not is_death(cause)
    if isinstance(cause, UserError) or same_again or len(failures) >= most:
        raise error
    failures.append(failure)


def _trainer(loop: Loop, job: Any, cluster: ClusterConfig, scratch: Folder, name: str) -> Trainer:
    return Trainer(
        _worker,
        (loop, job, cluster),
        scaling_config=ScalingConfig(
            num_workers=cluster.num_workers,
            use_gpu=cluster.has_gpu,
            resources_per_worker=resources_of_worker(cluster, cluster.cpus_per_worker),
        ),
        run_config=RunConfig(
            name=f"{name}-{uuid.uuid4().hex[:8]}", storage_path=scratch.path, storage_filesystem=scratch.fs
        ),
    )


def _worker(work: tuple[Loop, Any, ClusterConfig]) -> None:
    loop, job, cluster = work
    loop(job, ranks_of_train(), set_up_worker(cluster))
