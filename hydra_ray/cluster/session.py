"""Connects to Ray: a quiet private session on this machine, or the cluster that RAY_ADDRESS names.

Environment variables are set here, before `import ray`, and nowhere else. A cluster's settings are left as they are.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from hydra_ray.cluster.address import check_address, refused
from hydra_ray.cluster.daemons import daemons_watched
from hydra_ray.cluster.loopback import close_to_others
from hydra_ray.cluster.patience import start_patiently
from hydra_ray.cluster.signals import interrupts_past_ray
from hydra_ray.cluster.worker_logs import worker_logs_heard
from hydra_ray.config import ClusterConfig, Config
from hydra_ray.errors import UserError

PLACEMENT_SECONDS = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
"""The variable that says how long a Ray Train job waits for places for its workers."""

_ALWAYS = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # workers would start through `uv run` with a copy of the project
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",  # the controller's poll: 2 s otherwise, felt at every end
    PLACEMENT_SECONDS: "120",
    "RAY_DATA_USE_DATASOURCE_V2": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # what still calls Ray after a shutdown must not start another one
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's makes an interrupted search look like a finished one
}
_PRIVATE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # a harmless line for every actor pool otherwise
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # raylet's messages, which reach the terminal whatever log_to_driver says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",  # a process more for every job; nobody reclaims this machine
}

SCRATCH = ".ray"
"""Folder in a run's where Ray's libraries keep records of their own while a job runs."""
_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # what `ray job submit` sets for the command it runs


def is_private() -> bool:
    """Whether a session would be private to this command, on this machine."""
    return os.environ.get("RAY_ADDRESS", "") in ("", "local")


def check_storage(storage: str, key: str = "storage") -> None:
    """Check that what a Ray job writes to is outside its working directory, a copy that the cluster deletes.

    Args:
        storage: a path or URI.
        key: as messages name it.

    Raises:
        UserError: this is a Ray job, and `storage` is a relative path.
    """
    if _JOB in os.environ and "://" not in storage and not os.path.isabs(storage):
        raise UserError(
            f"{key}={storage}: would lie in the job's copy of the working directory, which goes with the job; "
            f"use {key}=/a/folder/that/all/machines/see or a URI such as s3://bucket/runs"
        )


def submitted_as() -> dict[str, str]:
    """`{"job": ID}` where this command was handed in as a Ray job, with the ID that `ray job list` has; else nothing.

    KubeRay's variable comes first; Ray itself tells the command of a job its ID in the job's metadata alone.
    """
    metadata = json.loads(os.environ.get(_JOB) or "{}").get("metadata") or {}
    job = os.environ.get("RAY_JOB_SUBMISSION_ID") or metadata.get("job_submission_id")
    return {"job": job} if job else {}


def prepare_environment() -> None:
    """Set the variables that Ray reads; called before ray is imported, and inherited by its processes."""
    for name, value in (_ALWAYS | _PRIVATE if is_private() else _ALWAYS).items():
        os.environ.setdefault(name, value)


@contextmanager
def session(cluster: ClusterConfig, *, dashboard: bool = False) -> Iterator[None]:
    """Connect to Ray for the length of a `with` block.

    A session that is already open (tests share one) is used and left open.

    Args:
        cluster: what a private session may use.
        dashboard: see `start_private`.
    """
    prepare_environment()
    import ray

    if ray.is_initialized():
        with worker_logs_heard():
            yield
        return
    with interrupts_past_ray():
        if is_private():
            start_private(cluster.object_store_mb, dashboard=dashboard)
        else:
            _connect()
    _quiet_libraries()
    try:
        with worker_logs_heard(), daemons_watched() if is_private() else nullcontext():
            yield
    finally:
        ray.shutdown()


def _connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names.

    Raises:
        UserError: it does not answer, or refuses the connection.
    """
    import ray

    address = os.environ["RAY_ADDRESS"]
    check_address(address)
    try:
        ray.init(log_to_driver=False, logging_level=logging.WARNING)
    except Exception as error:
        ray.shutdown()
        raise refused(address, error) from None


def start_private(object_store_mb: int, *, dashboard: bool = False, num_cpus: int | None = None) -> None:
    """Start Ray on this machine for this process alone; nobody else can reach it (`loopback.py`).

    Args:
        object_store_mb: size of the object store, which uses memory as it fills.
        dashboard: whether to start Ray's dashboard, which holds its state service.
        num_cpus: logical CPUs; None for those of the machine.

    Raises:
        StageError: Ray does not start, even after several tries (`patience.py`).
    """
    import ray

    close_to_others()

    def start() -> None:
        with _quiet_stderr():
            ray.init(
                address="local",
                num_cpus=num_cpus,
                object_store_memory=object_store_mb << 20,
                include_dashboard=dashboard,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )

    start_patiently(start, ray.shutdown)


@contextmanager
def _quiet_stderr() -> Iterator[None]:
    """Discard what is written to file descriptor 2, where Ray's core announces its log level."""
    sys.stderr.flush()
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        os.close(nowhere)


def needs_dashboard(config: Config) -> bool:
    """Whether Ray's state service is needed: without it, trials of several workers leak CPUs when they are stopped."""
    return config.tune.num_trials > 0 and config.tune.workers_per_trial > 1


def _quiet_libraries() -> None:
    """Silence the tracebacks of Ray's libraries; `failures.py` tells of each failure once, in one line."""
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for library in ("ray.data", "ray.tune", "ray.train._internal"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    # a cluster that can never hold a trial: nobody else says so
    logging.getLogger("ray.tune.execution.insufficient_resources_manager").setLevel(logging.WARNING)


def available(cluster: ClusterConfig) -> tuple[float, float]:
    """Number of CPUs and GPUs: of the connected cluster, or of this machine without starting anything.

    With `cluster.use_gpu=false` there are no GPUs for us.
    """
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        resources = ray.cluster_resources()
        return resources.get("CPU", 0.0), resources.get("GPU", 0.0) if cluster.use_gpu else 0.0
    return float(_machine_cpus()), float(_machine_gpus() if cluster.use_gpu else 0)


def reachable(cluster: ClusterConfig) -> tuple[float, float]:
    """Number of CPUs and GPUs that the connected cluster has or may grow to, infinite where it does not say how far.

    Only some autoscalers say it. With `cluster.wait_minutes=0`, or in a private session, it is what there is.
    """
    cpus, gpus = available(cluster)
    if is_private() or not cluster.wait_minutes:
        return cpus, gpus
    from ray._private.state import state  # as Ray Train does; there is no public way

    most = state.get_max_resources_from_cluster_config()
    grown = {"CPU": math.inf, "GPU": math.inf} if most is None else most
    return max(cpus, grown.get("CPU", 0.0)), max(gpus, grown.get("GPU", 0.0) if cluster.use_gpu else 0.0)


def _machine_cpus() -> int:
    return len(os.sched_getaffinity(0))


def _machine_gpus() -> int:
    import torch

    return torch.cuda.device_count()
