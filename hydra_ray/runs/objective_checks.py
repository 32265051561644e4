"""Checks of what members minimise before the first worker starts (`ensemble.objective`)."""

from __future__ import annotations

import torch

from hydra_ray.config import AdpConfig, ObjectiveConfig, TrsConfig
from hydra_ray.errors import UserError, reason_of
from hydra_ray.losses import group_loss
from hydra_ray.models import ModelSpec, build_member
from hydra_ray.randomness import seed_of
from hydra_ray.runs.run import Run
from hydra_ray.training import Together


def check_objective(run: Run) -> None:
    """Check that the objective is for the task, and suits the number of classes and the kind of rows.

    Raises:
        UserError: for the first problem found.
    """
    objective = run.config.ensemble.objective
    if objective is None:
        return
    key = f"ensemble.objective={objective.kind}"
    if run.task.name not in objective.tasks:
        source = run.config.data.source
        raise UserError(
            f"{key}: is for {objective.tasks[0]}, and data.source={source} is a {run.task.name}; use another"
        )
    if objective.is_of_groups:
        _check_batch(run, key)
    if isinstance(objective, AdpConfig):
        _check_adp(run, key)
    if isinstance(objective, TrsConfig):
        _check_trs(run, key)


def _check_batch(run: Run, key: str) -> None:
    """Check that every worker has a row of each batch, where all of them train one group."""
    ensemble = run.config.ensemble
    workers = run.config.cluster.most_workers
    batch = min(ensemble.batch_size, run.data.splits["train"].num_rows)
    if len(ensemble.trained_together) < workers and batch < workers:
        raise UserError(
            f"{key}: {workers} workers share the {batch} rows of a batch (ensemble.batch_size); use "
            f"cluster.num_workers={batch} or fewer"
        )


def _check_adp(run: Run, key: str) -> None:
    """Check that members have classes to differ in: each has a direction among those that are not the label."""
    others = run.data.num_outputs - 1
    for alike in run.config.ensemble.groups:
        size = run.config.ensemble.group_size or alike.count
        if size > others:
            fitting = [each for each in range(2, others + 1) if alike.count % each == 0]
            way_out = f"ensemble.group_size={fitting[-1]}" if fitting else "fewer members, or another objective"
            raise UserError(
                f"{key}: {size} members are to differ in their predictions of the {others} classes beside the label; "
                f"use {way_out}"
            )


def _check_trs(run: Run, key: str) -> None:
    if any(run.data.categories):
        raise UserError(f"{key}: needs gradients by the inputs, and categories have none; use another objective")
    if run.config.ensemble.compile:
        raise UserError(f"{key}: a compiled network has no second derivatives; leave ensemble.compile out")


def check_groups(run: Run) -> None:
    """Try the objective on a few rows and two untrained members of each architecture.

    Raises:
        UserError: the networks cannot be trained by it.
    """
    objective = run.config.ensemble.objective_of_groups
    if objective is None:
        return
    for place in range(len(run.config.ensemble.groups)):
        _try(objective, run, run.group_spec(place))


def _try(objective: ObjectiveConfig, run: Run, spec: ModelSpec) -> None:
    members = [build_member(spec, seed_of(0, "thrown away", number)) for number in range(2)]
    together = Together(members).train()
    rows_B = torch.ones(4, *spec.input_shape)
    labels_B = torch.zeros(4, dtype=torch.long if run.task.name == "classification" else torch.float32)
    try:
        normalised_KB = torch.stack([member.normalise(rows_B) for member in members])
        if together(normalised_KB).ndim > 3:
            raise UserError(
                f"ensemble.objective={objective.kind}: {spec.architecture} is a group by itself, whose submodels learn "
                "independently; use another architecture"
            )
        group_loss(objective, run.task.name)(together, normalised_KB, labels_B, 0.0)[0].mean().backward()
    except RuntimeError as error:
        reason = reason_of(error, 120)
        raise UserError(
            f"ensemble.objective={objective.kind}: {spec.architecture} cannot be trained by it ({reason}); use another "
            "architecture or objective"
        ) from None
