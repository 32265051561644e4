"""Losses of students that give a Dirichlet distribution: logits in, a sum over rows and their number out, in nats.

What holds for all losses of classification (shapes, temperature, masks) stands in `classification.py`. The work is done
in float64, as gamma functions cancel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from hydra_ray.losses.classification import check_one_output, kl, soft_log_probs
from hydra_ray.losses.sums import Summed, sum_rows
from hydra_ray.metrics import Members
from hydra_ray.shards import NO_LABEL

LOG_CONCENTRATION_RANGE = (-700.0, 30.0)
"""A log-concentration outside is treated as if it lay on the border, and gets no gradient.

exp(-700) is still a normal float64; at exp(30) = 1e13 the log-gamma terms, 3e14, cancel to a decimal or two.
"""


def dirichlet_nll(
    student_BC: Tensor,
    teacher_BMC: Tensor,
    temperature: float,
    smoothing: float = 1e-3,
    mask_BM: Tensor | None = None,
) -> Summed:
    """Negative log-likelihood of the members under the student's Dirichlet (EnD2, Malinin et al. 2020).

    With alpha = exp(student), alpha_0 its sum and pi_m = softmax(teacher_m / T) drawn towards uniform,
    pi <- (1 - smoothing) pi + smoothing / C, the loss of a row is
    sum_c lnGamma(alpha_c) - lnGamma(alpha_0) - sum_c (alpha_c - 1) mean_m ln pi_mc.
    The result is its mean divided by T^2.

    T softens the members alone, one of the variants in the authors' code; in their paper it divides the student's
    logits too, and T^2 multiplies the loss. The members' spread is of order 1 / T, so the best precision is of order
    T^2, and so is the gradient: divided by T^2 it is as large at every temperature. Multiplied, Adam's second moment
    remembers the hot phase for a thousand steps and makes the cold ones too short. And with student / T the logits
    would have to rise to T ln(alpha) and fall again as T does (docs/decisions.md has both measured).

    Args:
        student_BC: log-concentrations; the student's mean prediction is their softmax.
        teacher_BMC: logits of M members.
        temperature: T > 0, of the members. Training starts high and lowers it to 1.
        smoothing: in [0, 1); 1e-3 in the authors' code. It bounds ln pi from below.
        mask_BM: members whose likelihood is taken.

    Returns:
        Float64 sum over rows and their number, nats of density: it may be negative.

    Raises:
        ValueError: the shapes do not fit, or temperature or smoothing lies outside its range.
    """
    check_one_output(student_BC, teacher_BMC, temperature)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
    members = Members.of(mask_BM)
    concentration_BC = _concentration(student_BC)
    log_probs_BMC = _smooth(soft_log_probs(teacher_BMC.double(), temperature), smoothing)
    fit_B = ((concentration_BC - 1) * members.mean(log_probs_BMC)).sum(dim=-1)
    return sum_rows(_log_normaliser(concentration_BC) - fit_B, members.counts_B).scaled(temperature**-2)


def proxy_dirichlet_rkl(
    student_BC: Tensor,
    teacher_BMC: Tensor,
    temperature: float = 1.0,
    max_precision: float = 1e4,
    mask_BM: Tensor | None = None,
) -> Summed:
    """Normalised reverse KL from the student's Dirichlet to a proxy of the ensemble (Ryabinin et al. 2021).

    The members are summarised by their mean p and a precision beta_0 = (C - 1) / (2 mean_m KL(p || pi_m)), at
    most `max_precision`; the student's Dirichlet has alpha = exp(student / T) + 1. With its differential
    entropy h, the loss of a row is that of the authors' `rkl_proxy`,
    E_Dir(alpha)[-sum_c p_c ln pi_c] - h(alpha) / (beta_0 + C).
    It is KL(Dir(alpha) || Dir(beta_0 p + 1)) divided by the proxy's precision beta_0 + C, but for a constant
    and for the first term's weight, which would be beta_0 / (beta_0 + C). The result is T^2 times its mean;
    the authors train at T = 1.

    Args:
        student_BC: logits; alpha - 1 is their exponential.
        teacher_BMC: logits of M members.
        temperature: T > 0.
        max_precision: bound of beta_0 > 0, which is infinite where all members agree exactly.
        mask_BM: members that are summarised; a row needs two to count.

    Returns:
        Float64 sum over rows and their number, nats of density.

    Raises:
        ValueError: the shapes do not fit, or temperature or max_precision is not positive.
    """
    check_one_output(student_BC, teacher_BMC, temperature)
    if not max_precision > 0:
        raise ValueError(f"max_precision must be positive, got {max_precision}")
    members = Members.of(mask_BM, least=2)
    log_probs_BMC = soft_log_probs(teacher_BMC.double(), temperature)
    mean_BC = members.log_mean(log_probs_BMC).exp()
    precision_B = _proxy_precision(log_probs_BMC, members, max_precision) + student_BC.shape[-1]
    concentration_BC = _concentration(student_BC, temperature) + 1
    reconstruction_B = -(mean_BC * _expected_log_probs(concentration_BC)).sum(dim=-1)
    loss_B = reconstruction_B - _differential_entropy(concentration_BC) / precision_B
    return sum_rows(loss_B, members.counts_B).scaled(temperature**2)


def prior_network_loss(student_BC: Tensor, labels_B: Tensor, precision: float) -> Summed:
    """Reverse KL from the student's Dirichlet to a sharp one at the label (Malinin & Gales 2019, 1905.13472).

    The student's has alpha = exp(student); the target's parameters are 1, and 1 + precision at the label. The loss of a
    row is KL(Dir(alpha) || target).

    Args:
        student_BC: log-concentrations.
        labels_B: int64, -1 for rows that have none, which do not count.
        precision: how sharp the target is, > 0; 100 in the authors' experiments.

    Returns:
        Float64 sum over rows and their number, nats.
    """
    is_known_B = labels_B != NO_LABEL
    at_label_BC = one_hot(labels_B.clamp(min=0), student_BC.shape[-1])
    return sum_rows(_reverse_kl(student_BC, 1 + precision * at_label_BC.double()), is_known_B)


def flat_dirichlet_loss(student_BC: Tensor, labels_B: Tensor) -> Summed:
    """Reverse KL from the student's Dirichlet to the flat one, on rows without a label: a Prior Network's unknown rows.

    Args:
        student_BC: log-concentrations.
        labels_B: int64, -1 for rows that have none; only these count.

    Returns:
        Float64 sum over rows and their number, nats.
    """
    return sum_rows(_reverse_kl(student_BC, torch.ones_like(student_BC, dtype=torch.float64)), labels_B == NO_LABEL)


def _reverse_kl(student_BC: Tensor, target_BC: Tensor) -> Tensor:
    """KL(Dir(exp(student)) || Dir(target)) of each row."""
    concentration_BC = _concentration(student_BC)
    difference_BC = (concentration_BC - target_BC) * _expected_log_probs(concentration_BC)
    return _log_normaliser(target_BC) - _log_normaliser(concentration_BC) + difference_BC.sum(dim=-1)


def _smooth(log_probs: Tensor, smoothing: float) -> Tensor:
    if smoothing == 0:
        return log_probs
    floor = math.log(smoothing / log_probs.shape[-1])
    return torch.logaddexp(log_probs + math.log1p(-smoothing), torch.full_like(log_probs, floor))


def _concentration(logits_BC: Tensor, temperature: float = 1.0) -> Tensor:
    low, high = LOG_CONCENTRATION_RANGE
    return (logits_BC.double() / temperature).clamp(low, high).exp()


def _log_normaliser(concentration_BC: Tensor) -> Tensor:
    """Log of the Dirichlet's normalising constant, ln B(alpha)."""
    return torch.lgamma(concentration_BC).sum(dim=-1) - torch.lgamma(concentration_BC.sum(dim=-1))


def _expected_log_probs(concentration_BC: Tensor) -> Tensor:
    """E[ln pi_c] under the Dirichlet."""
    return torch.digamma(concentration_BC) - torch.digamma(concentration_BC.sum(dim=-1, keepdim=True))


def _differential_entropy(concentration_BC: Tensor) -> Tensor:
    expected_BC = _expected_log_probs(concentration_BC)
    return _log_normaliser(concentration_BC) - ((concentration_BC - 1) * expected_BC).sum(dim=-1)


def _proxy_precision(log_probs_BMC: Tensor, members: Members, max_precision: float) -> Tensor:
    mean_log_probs_B1C = members.log_mean(log_probs_BMC).unsqueeze(1)
    reverse_kl_B = members.mean(kl(mean_log_probs_B1C.expand_as(log_probs_BMC), log_probs_BMC))
    half_classes = (log_probs_BMC.shape[-1] - 1) / 2
    return half_classes / reverse_kl_B.clamp(min=half_classes / max_precision)
