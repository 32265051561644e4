"""What a user can mend, found before the first worker starts.

The configuration checks itself (`config.py`), opening the data set checks the data; here stands what takes both, or the
machine: do the networks take these inputs, do the views, are the CPUs there, can the run folder be written.
"""

from __future__ import annotations

from typing import Any

from hydra_ray.config import Config, ViewConfig
from hydra_ray.errors import UserError
from hydra_ray.models.networks import check_architecture
from hydra_ray.stages import Run, number_views
from hydra_ray.transfer import check_view


def check_run(run: Run) -> None:
    """Everything but the resources.

    Raises:
        UserError: the first thing found, one line.
    """
    run.folder.check_writable("storage")
    check_networks(run)
    check_views(run)
    _check_batches(run)


def check_networks(run: Run) -> None:
    """Members' and students' architectures build and take the data set's inputs."""
    config, data = run.config, run.data
    ensemble, distill = config.ensemble, config.distill
    _within(
        "ensemble",
        check_architecture,
        ensemble.architecture,
        data.input_shape,
        data.num_classes,
        ensemble.options,
    )
    if distill.body is not None or distill.body_options is not None:
        options = distill.body_options if distill.body_options is not None else ensemble.options
        body = distill.body or ensemble.architecture
        _within("distill.body", check_architecture, body, data.input_shape, data.num_classes, options)


def check_views(run: Run) -> None:
    """Views exist and take the data set's inputs."""
    number_views(run.config.transfer.views)
    named: list[tuple[str, ViewConfig]] = [
        (f"transfer.views.{place}", view) for place, view in enumerate(run.config.transfer.views)
    ]
    if run.config.ensemble.augment is not None:
        named.append(("ensemble.augment", run.config.ensemble.augment))
    for key, view in named:
        _within(key, check_view, view.view, view.options, run.data.input_shape)


def check_resources(config: Config, cpus: float, gpus: float) -> None:
    """Every stage's workers fit beside each other.

    Args:
        config: what is wanted.
        cpus: on the machine or cluster.
        gpus: likewise.

    Raises:
        UserError: more is wanted than there is; it would wait for ever.
    """
    cluster = config.cluster
    wanted = cluster.num_workers * cluster.cpus_per_worker
    if wanted > cpus:
        most = int(cpus / cluster.cpus_per_worker)
        raise UserError(
            f"cluster.num_workers={cluster.num_workers} with cluster.cpus_per_worker={cluster.cpus_per_worker:g} "
            f"needs {wanted:g} CPUs, there are {cpus:g}: use cluster.num_workers={max(1, most)} or fewer CPUs for each"
        )
    trial = config.tune.workers_per_trial * cluster.cpus_per_worker
    if config.tune.num_trials and trial > cpus:
        raise UserError(
            f"tune.workers_per_trial={config.tune.workers_per_trial} needs {trial:g} CPUs, there are {cpus:g}: "
            "lower it or cluster.cpus_per_worker"
        )
    if cluster.num_actors * 0.5 + 0.5 > cpus:
        raise UserError(
            f"cluster.num_actors={cluster.num_actors} needs more than the {cpus:g} CPUs there are: lower it"
        )
    workers = max(cluster.num_workers, cluster.num_actors, config.tune.workers_per_trial)
    if cluster.use_gpu and workers > gpus:
        raise UserError(
            f"cluster.use_gpu=true with {workers} workers needs {workers} GPUs, there are {gpus:g}: "
            "lower cluster.num_workers and cluster.num_actors, or set cluster.use_gpu=false"
        )


def _check_batches(run: Run) -> None:
    workers = run.config.cluster.num_workers
    rows = run.data.splits["train"].num_rows
    if rows < workers:
        raise UserError(
            f"data.source={run.config.data.source}: {rows} training rows for cluster.num_workers={workers}"
        )


def _within(key: str, check: Any, *arguments: Any) -> None:
    """Call `check` and put `key` before the line of its error."""
    try:
        check(*arguments)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
