"""What a finished student says: its predictive distribution and its uncertainties, whatever its kind.

Hydra's heads are a mixture, like an ensemble; a `kd` student has one output; a Dirichlet student's uncertainties have
closed forms. Everything downstream (validation while fitting, the report) sees a `Prediction`.

N rows, H outputs of the student, M heads that imitate members, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from hydra_ray.models.hydra import spread
from hydra_ray.uncertainty import (
    Scores,
    dirichlet_log_probs,
    dirichlet_scores,
    mixture_log_probs,
    scores,
)

DIRICHLET_KINDS = ("end2", "proxy_end2")


@dataclass(frozen=True)
class Prediction:
    """One predictor on one set of rows.

    Attributes:
        log_probs_NC: of the predictive distribution, float64.
        scores: measures of uncertainty by name, each float64 [N], nats.
        logits_NMC: of members or heads; None for a Dirichlet, which has none.
    """

    log_probs_NC: Tensor
    scores: Scores
    logits_NMC: Tensor | None


def of_members(logits_NMC: Tensor) -> Prediction:
    """An ensemble's, or a student's with heads and nothing more."""
    return Prediction(mixture_log_probs(logits_NMC), scores(logits_NMC), logits_NMC)


def of_student(kind: str, logits_NHC: Tensor, *, mean_head: bool = False, scale: float = 1.0) -> Prediction:
    """A student's.

    Args:
        kind: `hydra`, `kd`, `end2` or `proxy_end2`.
        logits_NHC: its outputs.
        mean_head: whether the last output was taught the mean and predicts, while the others measure uncertainty.
        scale: of the heads' disagreement, see `models.hydra.spread`; 1 leaves them as they are.
    """
    if kind in DIRICHLET_KINDS:
        logits_NC = logits_NHC[:, 0]
        return Prediction(dirichlet_log_probs(logits_NC), dirichlet_scores(logits_NC), None)
    heads_NMC = logits_NHC[:, :-1] if mean_head else logits_NHC
    if scale != 1.0:
        heads_NMC = spread(heads_NMC.double(), scale)
    found = of_members(heads_NMC)
    if not mean_head:
        return found
    return Prediction(F.log_softmax(logits_NHC[:, -1].double(), dim=-1), found.scores, heads_NMC)
