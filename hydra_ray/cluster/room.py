"""Waits until a cluster has room for a stage's workers: one that grows from nothing, has lost nodes, or is busy.

What the workers reserve is asked for as a placement group: an autoscaler sees it as it sees any other work, nobody has
to take the request back if this command is killed, and it is there only when all workers fit at once. It is given back
at once for the stage to use.
"""

from __future__ import annotations

import math
import time

import ray
from ray.util import placement_group, remove_placement_group

from hydra_ray.cluster.session import is_private
from hydra_ray.cluster.signals import raise_if_interrupted
from hydra_ray.cluster.worker_setup import resources_of_worker
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import UserError
from hydra_ray.runs import Stage

_LOOK_SECONDS = 1.0
_FIRST_LINE_SECONDS = 5.0  # what is there already, or nearly, needs no line
_SECONDS_BETWEEN_LINES = 60.0


def wait_for_room(cluster: ClusterConfig, stage: Stage, workers: int) -> None:
    """Return as soon as a cluster could start these workers; at once in a private session, whose CPUs were checked.

    Args:
        cluster: what each worker reserves, and how long to wait.
        stage: the running stage, which says once a minute what is waited for.
        workers: that have to be there at the same time.

    Raises:
        UserError: there is no room within `cluster.wait_minutes`.
    """
    if is_private():
        return
    worker = resources_of_worker(cluster, cluster.cpus_per_worker)
    began = time.monotonic()
    next_line = began + _FIRST_LINE_SECONDS
    group = placement_group([worker] * workers)
    try:
        while not group.wait(_LOOK_SECONDS):
            raise_if_interrupted()
            now = time.monotonic()
            if now - began >= 60 * cluster.wait_minutes:
                raise UserError(_given_up(cluster, worker, workers))
            if now >= next_line:
                next_line = now + _SECONDS_BETWEEN_LINES
                stage.say(f"waits for room on the cluster: {_wanted_and_there(worker, workers)}")
    finally:
        remove_placement_group(group)
    waited = time.monotonic() - began
    if waited > _FIRST_LINE_SECONDS:
        stage.event("waited", seconds=waited, workers=workers)
        stage.say(f"there is room for {workers} x {_in_words(worker)} after {waited:.0f} s")


def _given_up(cluster: ClusterConfig, worker: dict[str, float], workers: int) -> str:
    return (
        f"cluster.wait_minutes={cluster.wait_minutes:g}: there was no room for {_wanted_and_there(worker, workers)}; "
        f"ask for less (cluster.num_workers={max(1, min(_fitting(worker), workers))}), wait longer, or see "
        "`ray status` for why no machines come"
    )


def _wanted_and_there(worker: dict[str, float], workers: int) -> str:
    fitting = min(_fitting(worker), workers)
    busy = ", in use by others" if fitting == workers else ""
    return f"{workers} x {_in_words(worker)}: {fitting} of {workers} there{busy}"


def _in_words(worker: dict[str, float]) -> str:
    return "{" + ", ".join(f"{name}: {amount:g}" for name, amount in worker.items()) + "}"


def _fitting(worker: dict[str, float]) -> int:
    """How many workers the machines of the cluster would hold if nobody else used them."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sum(
        min(math.floor(machine.get(name, 0.0) / amount + 1e-9) for name, amount in worker.items())
        for machine in machines
    )
