"""Checks of `evaluate.attacks` before the first worker starts: there is something to attack, in a known range."""

from __future__ import annotations

from hydra_ray.errors import UserError
from hydra_ray.models import build_member
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.runs.run import Run
from hydra_ray.views import check_gradients

_KEY = "evaluate.attacks"


def check_attacks(run: Run) -> None:
    """Check that inputs are images with classes, and that members are trained here.

    Raises:
        UserError: for the first problem found.
    """
    if run.config.evaluate.attacks is None:
        return
    source = run.config.data.source
    if run.task.name != "classification":
        raise UserError(f"{_KEY}: looks for wrong classes, and data.source={source} is a {run.task.name}; leave it out")
    if any(run.data.categories):
        raise UserError(
            f"{_KEY}: data.source={source} has categories, which cannot be changed a little; attacks are for images, "
            "leave it out"
        )
    if len(run.data.input_shape) != 3:
        raise UserError(
            f"{_KEY}: data.source={source} has features, whose range is not known as that of pixels is; attacks are "
            "for images, leave it out"
        )
    if not run.config.trains_members:
        raise UserError(f"{_KEY}: needs the gradients of members that are trained here; leave it out")


def check_gradients_of_members(run: Run) -> None:
    """Check that attacks find a gradient from each architecture's outputs to its inputs.

    Raises:
        UserError: there is none.
    """
    if run.config.evaluate.attacks is None:
        return
    for place in range(len(run.config.ensemble.groups)):
        spec = run.group_spec(place)
        check_gradients(build_member(spec, THROWN_AWAY), spec.input_shape, _KEY, "leave it out")
