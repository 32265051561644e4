"""The size of heads' disagreement in a classification: scaling it, and the scale that gives a row a wanted one.

What the scale should be is fitted in `training/calibration.py`; the same for a regression stands in `gaussian.py`.

Shapes: B rows, M heads, C classes. Mutual information is in nats.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members

SCALE_RANGE = (0.1, 10.0)
"""Disagreement is never scaled by less or more."""

LEAST_KNOWLEDGE = 1e-13
"""Knowledge uncertainty below it is what rounding leaves of equal heads."""

_STEPS = 10  # more than enough, unless heads are all but certain of different classes


def rescale_disagreement(log_probs_BMC: Tensor, scale: float | Tensor) -> Tensor:
    """Calibration of disagreement: z_m <- mean(z) + scale (z_m - mean(z)), z the heads' log-probabilities.

    The mean is over heads. Heads disagree more with `scale` above 1 and less below; their geometric mean
    stays where it was. Log-probabilities come back: each row is made to sum to one again.

    Args:
        log_probs_BMC: natural logarithms of probabilities, or logits (they are normalised first).
        scale: one for all rows, or [B], one for each.
    """
    log_probs_BMC = torch.log_softmax(log_probs_BMC, dim=-1)
    centre_B1C = log_probs_BMC.mean(1, keepdim=True)
    if isinstance(scale, Tensor):
        scale = scale.reshape(-1, 1, 1)
    return torch.log_softmax(torch.lerp(centre_B1C.expand_as(log_probs_BMC), log_probs_BMC, scale), dim=-1)


def disagreement_scale(log_probs_BMC: Tensor, knowledge_B: Tensor, heads: Members = ALL_MEMBERS) -> Tensor:
    """The scale of each row at which its mutual information is the one that is wanted: [B], within `SCALE_RANGE`.

    Newton's method on ln MI as a function of ln scale, kept inside of an interval that has the solution: for small
    disagreement the slope is 2, and the first guess is right. All rows take the same number of steps, so that it can
    stand in an exported graph.

    Args:
        log_probs_BMC: natural logarithms of probabilities, or logits; float64.
        knowledge_B: the wanted mutual information, above 0.
        heads: weights of the heads.
    """
    log_probs_BMC = torch.log_softmax(log_probs_BMC, dim=-1)
    wanted_B = knowledge_B.clamp(min=LEAST_KNOWLEDGE).log()
    low_B = torch.full_like(wanted_B, math.log(SCALE_RANGE[0]))
    high_B = torch.full_like(wanted_B, math.log(SCALE_RANGE[1]))
    own_B, _ = _log_knowledge(log_probs_BMC, torch.zeros_like(wanted_B), heads)
    log_scale_B = torch.clamp((wanted_B - own_B) / 2, low_B, high_B)
    for _ in range(_STEPS):
        found_B, slope_B = _log_knowledge(log_probs_BMC, log_scale_B, heads)
        excess_B = found_B - wanted_B
        low_B = torch.where(excess_B < 0, log_scale_B, low_B)
        high_B = torch.where(excess_B > 0, log_scale_B, high_B)
        newton_B = log_scale_B - excess_B / slope_B
        is_inside_B = (newton_B >= low_B) & (newton_B <= high_B)  # False where the slope is 0
        log_scale_B = torch.where(is_inside_B, newton_B, (low_B + high_B) / 2)
    return log_scale_B.exp().clamp(*SCALE_RANGE)


def _log_knowledge(log_probs_BMC: Tensor, log_scale_B: Tensor, heads: Members) -> tuple[Tensor, Tensor]:
    """ln MI at a scale, and its derivative by ln scale: [B] each.

    dMI/ds is the mean over m of Cov(z_m - mean(z), ln(p_m / mean(p))) under p_m, the scaled heads.
    """
    apart_BMC = log_probs_BMC - log_probs_BMC.mean(1, keepdim=True)
    scale_B = log_scale_B.exp()
    scaled_BMC = rescale_disagreement(log_probs_BMC, scale_B)
    probs_BMC = scaled_BMC.exp()
    ratio_BMC = scaled_BMC - heads.log_mean(scaled_BMC).unsqueeze(1)
    kl_BM = (probs_BMC * ratio_BMC).sum(-1)
    covariance_BM = (probs_BMC * ratio_BMC * apart_BMC).sum(-1) - (probs_BMC * apart_BMC).sum(-1) * kl_BM
    knowledge_B = heads.mean(kl_BM).clamp(min=LEAST_KNOWLEDGE)
    return knowledge_B.log(), heads.mean(covariance_BM) * scale_B / knowledge_B
