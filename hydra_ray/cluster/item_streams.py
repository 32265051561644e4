"""Items of a plan streamed by Ray Data, each from its input to a finished file: by tasks on CPUs, by actors with GPUs.

An item becomes one file, and what comes back of it is a row of a few numbers. What is read, computed and written is not
known here: `predict_steps.py`, `apply_steps.py`.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray
import ray.data
from ray.actor import ActorHandle
from ray.data import ActorPoolStrategy

from hydra_ray.config import ClusterConfig

# with GPUs; the pool must never take all CPUs, as reading and writing need some
_TASK_CPUS = 0.25
_ACTOR_CPUS = 0.5
_TASKS_A_CPU = 8  # at least, so that all CPUs end together
_ITEMS_A_TASK = 16  # at most, so that little is done twice
_WHOLE_BLOCK: dict[str, Any] = {"batch_size": None, "batch_format": "pyarrow"}

Item = dict[str, Any]
Items = Sequence[Item]


def by_tasks(items: Items, cluster: ClusterConfig, make: Callable[..., Any]) -> Iterator[Item]:
    """Tasks of several items each, on every CPU: starting a task takes as long as a small network takes for an item.

    Args:
        items: a row each.
        cluster: CPUs of a task.
        make: items as an Arrow table -> one table for each, of what was written.
    """
    cpus = cluster.cpus_per_worker
    at_least = ray.cluster_resources().get("CPU", 0.0) / cpus * _TASKS_A_CPU
    num_tasks = min(len(items), math.ceil(max(at_least, len(items) / _ITEMS_A_TASK)))
    rows = ray.data.from_items(list(items), override_num_blocks=num_tasks)
    written = rows.map_batches(make, num_cpus=cpus, **_WHOLE_BLOCK)
    written.context.target_max_block_size = 1  # of what is told of an item: it must not wait for the task's end
    yield from written.iter_rows()


def by_actors(
    items: Items,
    cluster: ClusterConfig,
    read: Callable[..., Any],
    actor: type,
    work: object,
    write: Callable[..., Any],
) -> Iterator[Item]:
    """Three steps an item: a task reads, an actor with a GPU computes, a task writes.

    Args:
        items: a row each.
        cluster: number of actors, and whether each has a GPU.
        read: an item -> its rows, at least one.
        actor: class whose objects take rows and return rows.
        work: what the class is called with.
        write: rows -> what was written of them.
    """
    pool = ActorPoolStrategy(min_size=cluster.fewest_workers, max_size=cluster.most_workers)
    place: dict[str, Any] = {"num_cpus": _ACTOR_CPUS, "num_gpus": cluster.gpus_per_worker}
    rows = ray.data.from_items(list(items), override_num_blocks=len(items))
    inputs = rows.map_batches(read, num_cpus=_TASK_CPUS, **_WHOLE_BLOCK)
    # Ray refuses whole blocks beside GPUs in `map_batches` alone, to have users think of the size of batches
    computed = inputs.map_batches_internal(actor, fn_constructor_args=(work,), compute=pool, **place, **_WHOLE_BLOCK)
    written = computed.map_batches(write, num_cpus=_TASK_CPUS, **_WHOLE_BLOCK)
    written.context.target_max_block_size = None  # a block is an item: never split one
    try:
        yield from written.iter_rows()
    except BaseException:
        _kill_all(actor)
        raise


def _kill_all(actor: type) -> None:
    """Kill a class's actors.

    Ray Data lets go of those of a stream that failed and kills none. They live, and hold their CPUs, until nobody knows
    them: that is never where an error is kept, as notebooks do, and late where they lie in a cycle of objects.
    """
    for each in gc.get_objects():
        if type(each) is ActorHandle and f"({actor.__name__})" in repr(each):
            ray.kill(each)
