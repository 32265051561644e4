"""GPUs: whether workers get them where `cluster.use_gpu=auto` leaves it open, and in words what lies idle."""

from __future__ import annotations

import math

from hydra_ray.config import ClusterConfig, Config


def workers_needed(config: Config) -> int:
    """Workers without which some stage or trial does not start."""
    trials = config.tune.workers_per_trial if config.tune.num_trials else 1
    return max(config.cluster.fewest_workers, trials)


def with_gpus_decided(config: Config, gpus: float) -> Config:
    """`config` with `cluster.use_gpu=auto` replaced: true where these GPUs are enough for all workers."""
    if config.cluster.use_gpu != "auto":
        return config
    is_enough = most_workers(config.cluster, gpus) >= workers_needed(config)
    cluster = config.cluster.model_copy(update={"use_gpu": is_enough})
    return config.model_copy(update={"cluster": cluster})


def most_workers(cluster: ClusterConfig, gpus: float) -> int:
    """How many workers these GPUs are enough for: Ray gives a worker its share of one card, never of two."""
    return int(gpus) * int(1 / cluster.gpu_share + 1e-9)


def resources_in_words(config: Config, cpus: float, gpus: float) -> str:
    """What there is, and what workers get of it; GPUs that lie idle, with the key that would use them.

    On a cluster there may be less than a stage needs: it waits until there is more.

    Args:
        config: with GPUs decided.
        cpus: of the machine or cluster.
        gpus: of the machine or cluster; 0 where `cluster.use_gpu=false` leaves them alone.
    """
    cluster = config.cluster
    all_used = most_workers(cluster, gpus)
    has_gpu = cluster.has_gpu
    room = min(all_used if has_gpu else math.inf, int(cpus / cluster.cpus_per_worker))
    there = f"{_several(cpus, 'CPU')}, {_several(gpus, 'GPU')}"
    if room < workers_needed(config):
        return f"{there} now: stages wait for room for their workers, {cluster.wait_minutes:g} minutes each at most"
    workers = min(cluster.most_workers, room)
    share = cluster.gpu_share
    a_share = "a GPU each" if share == 1 else f"{share:g} of a GPU each"
    get = a_share if has_gpu else "CPUs alone"
    found = f"{there}: enough for {_several(workers, 'worker')} with {get}"
    in_use = math.ceil(max(workers, workers_needed(config)) / most_workers(cluster, 1)) if has_gpu else 0
    idle = gpus - in_use
    if idle < 1:
        return found
    return f"{found}; {_several(idle, 'GPU')} idle: cluster.num_workers={all_used} would use every one"


def _several(number: float, what: str) -> str:
    return f"{number:g} {what}" if number == 1 else f"{number:g} {what}s"
