"""Calibration of disagreement: one number, fitted on validation rows, that gives it the ensemble's size.

Heads distilled in domain disagree too little. z_m <- mean(z) + s (z_m - mean(z)) rescales them about their mean, on
log-probabilities (`models/student.py`) or on the means of a regression (`metrics/gaussian.py`); s is chosen so that the
mean knowledge uncertainty on validation rows is the ensemble's. Labels are not looked at, nor test or unknown rows.

N rows, M heads or members, C outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from hydra_ray.metrics import ALL_MEMBERS, Members
from hydra_ray.tasks import Task

CALIBRATION_RANGE = (0.1, 10.0)
_NO_DISAGREEMENT = 1e-12  # of the ensemble's: what rounding leaves of equal heads


class Calibration(NamedTuple):
    """The fitted scale, and a sentence where it does not give the disagreement its size."""

    scale: float
    caveat: str | None = None


def fit_calibration(
    task: Task,
    student_NMC: Tensor,
    ensemble_NMC: Tensor,
    members: Members = ALL_MEMBERS,
    weights_M: Sequence[float] | None = None,
) -> Calibration:
    """Fit s, within `CALIBRATION_RANGE`, so that the student's mean knowledge uncertainty is the ensemble's.

    It grows with s, so Brent's method on ln s finds it.

    Args:
        task: whose outputs these are.
        student_NMC: heads' outputs on validation rows, M >= 2.
        ensemble_NMC: outputs of the members that the heads imitate, on the same rows.
        members: which members answered each row, and their weights.
        weights_M: of the heads in the student's mixture; None for equal ones.

    Returns:
        s, with a caveat where no s within the range makes up for the difference: then it is the nearer end of the
        range, or 1 where the heads do not differ at all.
    """
    from scipy.optimize import brentq

    target = float(task.likelihood.knowledge_of(ensemble_NMC, members).mean())
    student_NMC = student_NMC.double()
    heads = Members.weighted(weights_M, student_NMC)

    def kept(scale: float) -> float:
        rescaled_NMC = task.likelihood.rescale_disagreement(student_NMC, scale)
        return float(task.likelihood.knowledge_of(rescaled_NMC, heads).mean())

    if kept(1.0) <= _NO_DISAGREEMENT * target:
        return Calibration(1.0, "the heads do not differ, so no calibration can give their disagreement its size")
    lowest, highest = CALIBRATION_RANGE
    if not kept(lowest) <= target <= kept(highest):
        bound = highest if kept(highest) < target else lowest
        return Calibration(bound, _at_bound(task, bound, kept(bound), target))
    found: Any = brentq(lambda log_scale: kept(math.exp(log_scale)) - target, math.log(lowest), math.log(highest))
    return Calibration(math.exp(found))


def _at_bound(task: Task, bound: float, kept: float, target: float) -> str:
    share = f"{kept / target:.3g} times the members'" if target else "above the members', which is 0"
    knowledge = task.figures.knowledge.replace("_", " ")
    return f"calibration ends at its bound {bound:g}, where the heads' {knowledge} is {share}"
