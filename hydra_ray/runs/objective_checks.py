"""Checks of what members minimise together before the first worker starts (`ensemble.objective`)."""

from __future__ import annotations

import torch

from hydra_ray.config import AdpConfig, ObjectiveConfig, TrsConfig
from hydra_ray.errors import UserError, reason_of
from hydra_ray.losses import group_loss
from hydra_ray.models import ModelSpec, build_member
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.runs.run import Run
from hydra_ray.training import Together


def check_objective(run: Run) -> None:
    """Check that the objective is for the task, and suits the number of classes and the kind of rows.

    Raises:
        UserError: for the first problem found.
    """
    objective = run.config.ensemble.objective_of_groups
    if objective is None:
        return
    key = f"ensemble.objective={objective.kind}"
    if run.task.name not in objective.tasks:
        source = run.config.data.source
        raise UserError(
            f"{key}: is for {objective.tasks[0]}, and data.source={source} is a {run.task.name}; use another"
        )
    size = max(map(len, run.config.ensemble.trained_together))
    others = run.data.num_outputs - 1
    if isinstance(objective, AdpConfig) and size > others:
        raise UserError(
            f"{key}: {size} members are to differ in their predictions of the {others} classes beside the label; "
            + (f"use ensemble.group_size={others} or less" if others > 1 else "use another objective")
        )
    if isinstance(objective, TrsConfig):
        _check_trs(run, key)


def _check_trs(run: Run, key: str) -> None:
    if any(run.data.categories):
        raise UserError(f"{key}: needs gradients by the inputs, and categories have none; use another objective")
    if run.config.ensemble.compile:
        raise UserError(f"{key}: a compiled network has no second derivatives; leave ensemble.compile out")


def check_groups(run: Run) -> None:
    """Try the objective on two rows and two untrained members of each architecture.

    Raises:
        UserError: the networks cannot be trained by it.
    """
    objective = run.config.ensemble.objective_of_groups
    if objective is None:
        return
    for place in range(len(run.config.ensemble.groups)):
        _try(objective, run, run.group_spec(place))


def _try(objective: ObjectiveConfig, run: Run, spec: ModelSpec) -> None:
    members = [build_member(spec, seed) for seed in (THROWN_AWAY, THROWN_AWAY + 1)]
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
