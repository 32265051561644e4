"""Rules about workers that train one network together. Part of `tree.py`, which asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hydra_ray.config.cluster import ClusterConfig
    from hydra_ray.config.tree import Config


def check_ranks(config: Config) -> None:
    """Raises ValueError for the first rule that does not hold."""
    if config.ensemble.workers_per_member > 1:
        _check_teams(config)
    if config.ensemble.strategy == "fsdp":
        _check_members_in_parts(config)
    if config.distill.strategy == "fsdp":
        _check_students_in_parts(config)


def _check_teams(config: Config) -> None:
    """Workers make teams, each with members that are trained one by one, and each worker has a row of every batch."""
    ensemble = config.ensemble
    cluster = config.cluster
    size = ensemble.workers_per_member
    key = f"ensemble.workers_per_member={size}"
    if not config.trains_members:
        raise ValueError(f"{key}: no member is trained here, others answer in their place; leave it out")
    if ensemble.objective_of_groups is not None:
        raise ValueError(
            f"{key}: one loss trains the members of a group (ensemble.objective), by one worker, or by all where there "
            "are fewer groups than workers; leave it out"
        )
    if ensemble.stack_size != 1:
        raise ValueError(
            f"{key} with ensemble.stack_size={ensemble.stack_size}: networks so small that they are stacked gain "
            "nothing from several workers; use ensemble.stack_size=1, or leave ensemble.workers_per_member out"
        )
    if ensemble.batch_size < size:
        raise ValueError(
            f"ensemble.batch_size={ensemble.batch_size}, but {key}: some workers would have no row; use "
            f"ensemble.batch_size={size} or more"
        )
    _check_cards(key, cluster, "gain nothing from each other")
    if cluster.fewest_workers % size or cluster.most_workers % size:
        fitting = [max(1, workers // size) * size for workers in (cluster.fewest_workers, cluster.most_workers)]
        raise ValueError(
            f"{key}: cluster.num_workers={cluster.num_workers} makes no full teams; use cluster.num_workers="
            f"{fitting[0] if isinstance(cluster.num_workers, int) else fitting}"
        )


def _check_members_in_parts(config: Config) -> None:
    ensemble = config.ensemble
    key = "ensemble.strategy=fsdp"
    if ensemble.workers_per_member == 1:
        raise ValueError(
            f"{key}: one worker has nobody to share a member with; set ensemble.workers_per_member=2 or more"
        )
    if ensemble.own_objective is not None:
        raise ValueError(
            f"{key} with ensemble.objective={ensemble.own_objective.kind}: its term of all weights needs them whole; "
            "use ensemble.strategy=ddp"
        )
    _check_compile(key, "ensemble", is_compiled=ensemble.compile)


def _check_students_in_parts(config: Config) -> None:
    cluster = config.cluster
    key = "distill.strategy=fsdp"
    if cluster.fewest_workers == 1:
        raise ValueError(
            f"{key} with cluster.num_workers={cluster.num_workers}: one worker has nobody to share a student with; use "
            f"cluster.num_workers={2 if isinstance(cluster.num_workers, int) else [2, max(2, cluster.most_workers)]}"
        )
    _check_cards(key, cluster, "train students of their own")
    _check_compile(key, "distill", is_compiled=config.distill.compile)


def _check_cards(key: str, cluster: ClusterConfig, why: str) -> None:
    if cluster.gpu_share <= 0.5 and cluster.use_gpu is not False:
        raise ValueError(
            f"{key} with cluster.gpu_share={cluster.gpu_share:g}: workers on one card {why}; leave one of them out"
        )


def _check_compile(key: str, section: str, *, is_compiled: bool) -> None:
    if is_compiled:
        raise ValueError(f"{key} with {section}.compile=true: blocks in parts are not compiled; leave one of them out")
