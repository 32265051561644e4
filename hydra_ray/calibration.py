"""Spread calibration: one number, fitted on validation rows, that gives a student's disagreement its right size.

Heads distilled in domain disagree too little. z_m <- mean(z) + s (z_m - mean(z)) on log-probabilities stretches them
about their mean (`models.hydra.spread`); s is chosen so that the mean knowledge uncertainty on validation rows is the
ensemble's. Labels are not looked at, nor test or unknown rows.

N rows, M heads or members, C classes.
"""

from __future__ import annotations

import math

from torch import Tensor

from hydra_ray.models.hydra import spread
from hydra_ray.uncertainty import uncertainty

SPREAD_RANGE = (0.1, 10.0)
_ROUNDS = 40
_NO_DISAGREEMENT = 1e-14  # nats: what rounding leaves of equal heads


def fit_spread(student_NMC: Tensor, ensemble_NMC: Tensor) -> float:
    """The s for which the student's mean mutual information is the ensemble's, within `SPREAD_RANGE`.

    Mutual information grows with s, so bisection on ln s finds it.

    Args:
        student_NMC: heads' logits on validation rows, M >= 2.
        ensemble_NMC: members' logits on the same rows.

    Returns:
        s; 1 where the heads do not differ at all, so that no number could help.
    """
    target = uncertainty(ensemble_NMC).knowledge.mean()
    student_NMC = student_NMC.double()
    if float(uncertainty(student_NMC).knowledge.mean()) < _NO_DISAGREEMENT:
        return 1.0
    low, high = (math.log(bound) for bound in SPREAD_RANGE)
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if uncertainty(spread(student_NMC, math.exp(middle))).knowledge.mean() < target:
            low = middle
        else:
            high = middle
    return math.exp((low + high) / 2)
