"""Spread calibration: one number, fitted on validation rows, that gives a student's disagreement its right size.

Heads distilled in domain disagree too little. z_m <- mean(z) + s (z_m - mean(z)) stretches them about their mean, on
log-probabilities (`models.hydra.spread`) or on the means of a regression (`gaussian.stretch_means`); s is chosen so
that the mean knowledge uncertainty on validation rows is the ensemble's. Labels are not looked at, nor test or unknown
rows.

N rows, M heads or members, C outputs.
"""

from __future__ import annotations

import math

from torch import Tensor

from hydra_ray.tasks import Task

SPREAD_RANGE = (0.1, 10.0)
_ROUNDS = 40
_NO_DISAGREEMENT = 1e-12  # of the ensemble's: what rounding leaves of equal heads


def fit_spread(task: Task, student_NMC: Tensor, ensemble_NMC: Tensor) -> float:
    """The s for which the student's mean knowledge uncertainty is the ensemble's, within `SPREAD_RANGE`.

    It grows with s, so bisection on ln s finds it.

    Args:
        task: whose outputs these are.
        student_NMC: heads' outputs on validation rows, M >= 2.
        ensemble_NMC: members' outputs on the same rows.

    Returns:
        s; 1 where the heads do not differ at all, so that no number could help.
    """
    target = task.knowledge_of(ensemble_NMC).mean()
    student_NMC = student_NMC.double()
    if task.knowledge_of(student_NMC).mean() <= _NO_DISAGREEMENT * target:
        return 1.0
    low, high = (math.log(bound) for bound in SPREAD_RANGE)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if task.knowledge_of(task.stretch(student_NMC, math.exp(middle))).mean() < target:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
