"""Where the work of a stage is done: by Ray's processes or, where `cluster.is_local` says so, by this one.

The functions that do it are the same. What needs Ray is imported where it is used: a run of little work never imports
it, and is over before a session would have started.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import pyarrow as pa
import torch

from hydra_ray.cluster.channel import Event
from hydra_ray.cluster.progress import LocalSender, Sender, progress_channel
from hydra_ray.cluster.worker_setup import placed, set_up_worker, threads_kept
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import OneLineError, reason_of
from hydra_ray.runs import Stage
from hydra_ray.storage import Folder
from hydra_ray.training import DistributedContext

Loop = Callable[[Any, DistributedContext, torch.device], None]


class LocalWorkError(Exception):
    """Work in this process failed, as Ray's errors say that work in another did; `cause` says how."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def fit(loop: Loop, job: Any, cluster: ClusterConfig, folder: Folder, stage: Stage) -> None:
    """Call `loop(job, ranks, device)` on every worker of a Ray Train job, or once in this process.

    Args:
        loop: a function at the top of a module, so that Ray can send it to the workers.
        job: its argument; pickled for workers.
        cluster: number of workers, and CPUs and GPUs of each.
        folder: of the run.
        stage: the running stage.

    Raises:
        LocalWorkError: it failed in this process.
        ray.train.TrainingFailedError: workers failed too often (`workers.py`).
    """
    if cluster.is_local:
        with _here():
            loop(job, DistributedContext(), set_up_worker(cluster))
        return
    from hydra_ray.cluster.workers import run_workers

    run_workers(loop, job, cluster, folder, stage)


def failed_workers(error: Exception) -> dict[int, str]:
    """Ranks of the workers whose failure ended `fit`, and in a line how; none where their work is not at fault."""
    if isinstance(error, LocalWorkError):
        return {0: reason_of(error)}
    if isinstance(error, OneLineError):
        return {}
    from hydra_ray.cluster.failures import failures_by_rank

    return failures_by_rank(error)


def submit(function: Callable[..., Any], cluster: ClusterConfig, *arguments: Any) -> Callable[[], Any]:
    """Have a function called in a Ray task with a worker's CPUs and GPU, or in this process when it is asked for.

    Args:
        function: at the top of a module.
        cluster: what the task reserves.
        arguments: the function's; what several tasks share comes from `shared`.

    Returns:
        What waits for the result, and returns it.
    """
    if cluster.is_local:
        return lambda: _called(function, arguments)
    import ray

    pending = placed(ray.remote(function), cluster).remote(*arguments)
    return lambda: ray.get(pending)


def shared(value: Any, cluster: ClusterConfig) -> Any:
    """An argument for several calls of `submit`, which is sent once."""
    if cluster.is_local:
        return value
    import ray

    return ray.put(value)


def stream(items: list[dict[str, Any]], cluster: ClusterConfig, make: Callable[..., Any]) -> Iterator[dict[str, Any]]:
    """Rows that a function makes of items, by Ray Data's tasks on every CPU or one after the other in this process.

    Args:
        items: a row each.
        cluster: CPUs of a task.
        make: items as an Arrow table -> a table for each, of what was written.
    """
    if cluster.is_local:
        with _here():
            for item in items:
                made = make(pa.Table.from_pylist([item]))
                for table in [made] if isinstance(made, pa.Table) else made:
                    yield from table.to_pylist()
        return
    from hydra_ray.cluster import item_streams

    yield from item_streams.by_tasks(items, cluster, make)


def progress(handle: Callable[[Event], None], cluster: ClusterConfig) -> AbstractContextManager[Sender]:
    """Call `handle` in this process with every event that the work sends, until the `with` block ends."""
    return nullcontext(LocalSender(handle)) if cluster.is_local else progress_channel(handle)


def _called(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    with _here():
        return function(*arguments)


@contextmanager
def _here() -> Iterator[None]:
    """Tell what work raises from the errors of the stage itself."""
    with threads_kept():
        try:
            yield
        except OneLineError:
            raise
        except Exception as error:
            raise LocalWorkError(error) from error
