"""Distillation losses: logits in, a sum over rows and their number out, in nats.

Pure functions of tensors. Nothing here knows models, data, optimisers or Ray; those of regression are in
`regression.py`.

Shapes: B batch, M members or heads, C classes. `student_BMC` are the heads' logits, `student_BC` those of a
student with one output, `teacher_BMC` the members' logits. Every loss softens student and teacher with the same
temperature T and multiplies by T^2, which keeps the size of the gradient independent of T (Hinton et al. 2015; the
public implementations of Hydra and EnD2 do the same). Inputs may have any floating type: the work is done in
float32 at least, or in float64 where gamma functions cancel.

Every loss is of rows, and is given as a sum over the batch's rows and their number (`sums.py`): the mean is
taken over all ranks. `mask_BM` (bool) says which members a row is learnt from; without it, from all. A row's loss is
the mean over its own members, and rows have equal weight however many they have; a row that is learnt from none, or
from fewer than a loss needs, counts as little as if it were not there. For an all-true mask every loss is what it is
without one.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.losses.sums import Correlated, Summed, correlate_rows, sum_rows
from hydra_ray.metrics import Members
from hydra_ray.shards import NO_LABEL

LOG_CONCENTRATION_RANGE = (-700.0, 30.0)
"""A log-concentration outside is treated as if it lay on the border, and gets no gradient.

exp(-700) is still a normal float64; at exp(30) = 1e13 the log-gamma terms, 3e14, cancel to a decimal or two.
"""

_SMALL_MI = 1e-6


def hydra_loss(student_BMC: Tensor, teacher_BMC: Tensor, temperature: float, mask_BM: Tensor | None = None) -> Summed:
    """Hydra's loss: every head imitates its own member (Tran et al. 2020, "Hydra", classification loss).

    T^2 * mean over batch and heads of KL(softmax(teacher_m / T) || softmax(student_m / T)).

    Args:
        student_BMC: logits of M heads.
        teacher_BMC: logits of M members; member m teaches head m.
        temperature: T > 0.
        mask_BM: members whose heads a row is learnt by.

    Returns:
        Sum over rows and their number, nats.

    Raises:
        ValueError: the shapes differ, or the temperature is not positive.
    """
    _check_temperature(temperature)
    if student_BMC.shape != teacher_BMC.shape or student_BMC.ndim != 3:
        raise ValueError(
            f"hydra_loss needs student and teacher logits of one shape [B, M, C], but the student has "
            f"{list(student_BMC.shape)} and the teacher {list(teacher_BMC.shape)}"
        )
    student_log_probs_BMC = _soft_log_probs(student_BMC, temperature)
    teacher_log_probs_BMC = _soft_log_probs(teacher_BMC, temperature)
    kl_BM = _kl(teacher_log_probs_BMC, student_log_probs_BMC)
    members = Members.of(mask_BM)
    return sum_rows(members.mean(kl_BM), members.counts_B).scaled(temperature**2)


def diversity_matching_loss(student_BMC: Tensor, teacher_BMC: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """How far the size of the heads' disagreement is from the members', row by row (ours).

    Mean over the batch of (ln(MI_student + e) - ln(MI_teacher + e))^2, with MI the mutual information of label and
    member (nats) and e = 1e-6: KL per head sees disagreement only where it is large, ranks need it on every scale.

    Args:
        student_BMC: logits of M heads.
        teacher_BMC: logits of M members.
        mask_BM: members whose disagreement, and heads whose, is compared; a row needs two to count.

    Returns:
        Sum over rows and their number, squared nats of log.
    """
    members = Members.of(mask_BM, least=2)
    student_B, teacher_B = (_mutual_information(logits, members) for logits in (student_BMC, teacher_BMC))
    return sum_rows(((student_B + _SMALL_MI).log() - (teacher_B + _SMALL_MI).log()).square(), members.counts_B)


def correlation_loss(student_BMC: Tensor, teacher_BMC: Tensor, mask_BM: Tensor | None = None) -> Correlated:
    """How far the heads' disagreement is from ordering the batch's rows as the members' does (ours).

    1 - Pearson's correlation, over the batch, of ln(MI_student + e) and ln(MI_teacher + e), as in
    `diversity_matching_loss`. It leaves the size of disagreement free, which calibration sets afterwards.

    Args:
        student_BMC: logits of M heads.
        teacher_BMC: logits of M members.
        mask_BM: members whose disagreement, and heads whose, is compared; a row needs two to count.
    """
    members = Members.of(mask_BM, least=2)
    student_B, teacher_B = (_mutual_information(logits, members) for logits in (student_BMC, teacher_BMC))
    return correlate_rows((student_B + _SMALL_MI).log(), (teacher_B + _SMALL_MI).log(), members.counts_B)


def deviation_loss(student_BMC: Tensor, teacher_BMC: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """How far each head's deviation from the heads' mean is from its member's, in units of the row's spread (ours).

    Mean over the batch of sum_mc (d_student - d_teacher)^2 / (sum_mc d_teacher^2 + e), with d a log-probability less
    its mean over members: 0 where the heads deviate as the members do, about 1 where they all agree.

    Args:
        student_BMC: logits of M heads.
        teacher_BMC: logits of M members.
        mask_BM: members, and heads, that are compared; a row needs two to count.

    Returns:
        Sum over rows and their number, without a unit.
    """
    members = Members.of(mask_BM, least=2)
    student_BMC, teacher_BMC = (
        _deviations(_soft_log_probs(logits, 1.0), members) for logits in (student_BMC, teacher_BMC)
    )
    error_B = members.mean((student_BMC - teacher_BMC).square().sum(dim=-1))
    spread_B = members.mean(teacher_BMC.square().sum(dim=-1))
    return sum_rows(error_B / (spread_B + _SMALL_MI), members.counts_B)


def _deviations(values_BMC: Tensor, members: Members) -> Tensor:
    return values_BMC - members.mean(values_BMC).unsqueeze(1)


def _mutual_information(logits_BMC: Tensor, members: Members) -> Tensor:
    """Mean KL of the members from their mean, [B], not below 0."""
    log_probs_BMC = _soft_log_probs(logits_BMC, 1.0)
    return members.mean(_kl(log_probs_BMC, members.log_mean(log_probs_BMC).unsqueeze(1))).clamp(min=0)


def mean_loss(student_BC: Tensor, teacher_BMC: Tensor, temperature: float, mask_BM: Tensor | None = None) -> Summed:
    """Plain distillation (EnD, and Hydra's first phase): one output imitates the members' mean.

    T^2 * mean over the batch of KL(mean_m softmax(teacher_m / T) || softmax(student / T)). The mean is taken
    over probabilities, not logits. Malinin et al. 2020 (EnD) minimise the cross-entropy, which differs by a
    constant.

    Args:
        student_BC: logits of the one output.
        teacher_BMC: logits of M members.
        temperature: T > 0.
        mask_BM: members whose mean is taken.

    Returns:
        Sum over rows and their number, nats.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not positive.
    """
    _check_one_output(student_BC, teacher_BMC, temperature)
    members = Members.of(mask_BM)
    student_log_probs_BC = _soft_log_probs(student_BC, temperature)
    teacher_log_probs_BC = members.log_mean(_soft_log_probs(teacher_BMC, temperature))
    return sum_rows(_kl(teacher_log_probs_BC, student_log_probs_BC), members.counts_B).scaled(temperature**2)


def mixture_nll(logits_BHC: Tensor, labels_B: Tensor) -> Summed:
    """Cross-entropy of the mean of probabilities, over the rows that have a label; nats."""
    log_probs_BC = torch.logsumexp(F.log_softmax(logits_BHC, dim=-1), dim=1) - math.log(logits_BHC.shape[1])
    # choosing the labelled rows would have a GPU waited for at every step
    total = F.nll_loss(log_probs_BC, labels_B, ignore_index=NO_LABEL, reduction="sum")
    return Summed(total, (labels_B != NO_LABEL).sum())


def dirichlet_nll(
    student_BC: Tensor,
    teacher_BMC: Tensor,
    temperature: float,
    smoothing: float = 1e-3,
    mask_BM: Tensor | None = None,
) -> Summed:
    """Negative log-likelihood of the members under the student's Dirichlet (EnD2, Malinin et al. 2020).

    With alpha = exp(student / T), alpha_0 its sum and pi_m = softmax(teacher_m / T) drawn towards uniform,
    pi <- (1 - smoothing) pi + smoothing / C, the loss of a row is
    sum_c lnGamma(alpha_c) - lnGamma(alpha_0) - sum_c (alpha_c - 1) mean_m ln pi_mc.
    The result is T^2 times its mean.

    Args:
        student_BC: log-concentrations; the student's mean prediction is their softmax.
        teacher_BMC: logits of M members.
        temperature: T > 0. The paper starts high and lowers it to 1 while training.
        smoothing: in [0, 1); 1e-3 in the authors' code. It bounds ln pi from below.
        mask_BM: members whose likelihood is taken.

    Returns:
        Float64 sum over rows and their number, nats of density: it may be negative.

    Raises:
        ValueError: the shapes do not fit, or temperature or smoothing lies outside its range.
    """
    _check_one_output(student_BC, teacher_BMC, temperature)
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must lie in [0, 1), got {smoothing}")
    members = Members.of(mask_BM)
    concentration_BC = _concentration(student_BC, temperature)
    log_probs_BMC = _smooth(_soft_log_probs(teacher_BMC.double(), temperature), smoothing)
    fit_B = ((concentration_BC - 1) * members.mean(log_probs_BMC)).sum(dim=-1)
    return sum_rows(_log_normaliser(concentration_BC) - fit_B, members.counts_B).scaled(temperature**2)


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
    _check_one_output(student_BC, teacher_BMC, temperature)
    if not max_precision > 0:
        raise ValueError(f"max_precision must be positive, got {max_precision}")
    members = Members.of(mask_BM, least=2)
    log_probs_BMC = _soft_log_probs(teacher_BMC.double(), temperature)
    mean_BC = members.log_mean(log_probs_BMC).exp()
    precision_B = _proxy_precision(log_probs_BMC, members, max_precision) + student_BC.shape[-1]
    concentration_BC = _concentration(student_BC, temperature) + 1
    reconstruction_B = -(mean_BC * _expected_log_probs(concentration_BC)).sum(dim=-1)
    loss_B = reconstruction_B - _differential_entropy(concentration_BC) / precision_B
    return sum_rows(loss_B, members.counts_B).scaled(temperature**2)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def _check_one_output(student_BC: Tensor, teacher_BMC: Tensor, temperature: float) -> None:
    _check_temperature(temperature)
    batch_and_classes = (teacher_BMC.shape[0], teacher_BMC.shape[-1])
    if teacher_BMC.ndim != 3 or tuple(student_BC.shape) != batch_and_classes:
        raise ValueError(
            f"needs student logits [B, C] and teacher logits [B, M, C], but the student has "
            f"{list(student_BC.shape)} and the teacher {list(teacher_BMC.shape)}"
        )


def _soft_log_probs(logits: Tensor, temperature: float) -> Tensor:
    # Half precision would keep three digits of a KL between near-equal distributions: none.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return F.log_softmax(logits.to(dtype) / temperature, dim=-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over the last dimension."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)


def _smooth(log_probs: Tensor, smoothing: float) -> Tensor:
    if smoothing == 0:
        return log_probs
    floor = math.log(smoothing / log_probs.shape[-1])
    return torch.logaddexp(log_probs + math.log1p(-smoothing), torch.full_like(log_probs, floor))


def _concentration(logits_BC: Tensor, temperature: float) -> Tensor:
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
    reverse_kl_B = members.mean(_kl(mean_log_probs_B1C.expand_as(log_probs_BMC), log_probs_BMC))
    half_classes = (log_probs_BMC.shape[-1] - 1) / 2
    return half_classes / reverse_kl_B.clamp(min=half_classes / max_precision)
