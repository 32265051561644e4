"""Distillation losses: logits in, a sum over rows and their number out, in nats.

Pure functions of tensors. Nothing here knows models, data, optimisers or Ray; those of regression are in
`regression.py`, those of Dirichlet students in `dirichlet.py`.

Shapes: B batch, M members or heads, C classes. `student_BMC` are the heads' logits, `student_BC` those of a
student with one output, `teacher_BMC` the members' logits. Every loss softens student and teacher with the same
temperature T and multiplies by T^2, which keeps the size of the gradient independent of T (Hinton et al. 2015; the
public implementations of Hydra and EnD2 do the same). Inputs may have any floating type: the work is done in
float32 at least.

`standardise` measures T in units of the members' own logits, after Sun et al. 2024 (Logit standardization in knowledge
distillation, CVPR): there teacher and student are each divided by their own standard deviation over classes, so that a
student need not match the teacher's scale, and loses its confidence. Here both are divided by the member's, a
temperature of every row and member: the best student is still the member itself. The square of that temperature
multiplies the row's KL, as T^2 does. A deviation below 1 counts as 1: a member that says nearly the same of all classes
is soft already, and a smaller unit would keep its row from teaching anything.

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
from hydra_ray.metrics import Members, row_temperature, sharpened_uncertainty
from hydra_ray.shards import NO_LABEL

_SMALL_MI = 1e-6


def hydra_loss(
    student_BMC: Tensor,
    teacher_BMC: Tensor,
    temperature: float,
    mask_BM: Tensor | None = None,
    *,
    standardise: bool = False,
) -> Summed:
    """Hydra's loss: every head imitates its own member (Tran et al. 2020, "Hydra", classification loss).

    T^2 * mean over batch and heads of KL(softmax(teacher_m / T) || softmax(student_m / T)).

    Args:
        student_BMC: logits of M heads.
        teacher_BMC: logits of M members; member m teaches head m.
        temperature: T > 0.
        mask_BM: members whose heads a row is learnt by.
        standardise: whether T is in units of each member's deviation over classes on the row; see the module.

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
    members = Members.of(mask_BM)
    if not standardise:
        kl_BM = _soft_kl(teacher_BMC, student_BMC, temperature)
        return sum_rows(members.mean(kl_BM), members.counts_B).scaled(temperature**2)
    temperature_BM = temperature * _deviation(teacher_BMC)
    kl_BM = _soft_kl(teacher_BMC, student_BMC, temperature_BM.unsqueeze(-1)) * temperature_BM.square()
    return sum_rows(members.mean(kl_BM), members.counts_B)


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
        _deviations(soft_log_probs(logits, 1.0), members) for logits in (student_BMC, teacher_BMC)
    )
    error_B = members.mean((student_BMC - teacher_BMC).square().sum(dim=-1))
    spread_B = members.mean(teacher_BMC.square().sum(dim=-1))
    return sum_rows(error_B / (spread_B + _SMALL_MI), members.counts_B)


def row_temperature_loss(student_BC: Tensor, teacher_BMC: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """How far a row's temperature is from saying how much the members disagree (ours).

    Mean over the batch of (ln(I_student + e) - ln(MI_teacher + e))^2, with I_student the knowledge uncertainty of
    `metrics.sharpened_uncertainty`. It teaches the temperature alone: what the logits predict gets no gradient.

    Args:
        student_BC: logits, whose level is the temperature.
        teacher_BMC: logits of M members.
        mask_BM: members whose disagreement it is; a row needs two to count.

    Returns:
        Float64 sum over rows and their number, squared nats of log.
    """
    members = Members.of(mask_BM, least=2)
    student_B = sharpened_uncertainty(student_BC.detach(), row_temperature(student_BC)).knowledge
    teacher_B = _mutual_information(teacher_BMC.double(), members)
    return sum_rows(((student_B + _SMALL_MI).log() - (teacher_B + _SMALL_MI).log()).square(), members.counts_B)


def _deviations(values_BMC: Tensor, members: Members) -> Tensor:
    return values_BMC - members.mean(values_BMC).unsqueeze(1)


def _mutual_information(logits_BMC: Tensor, members: Members) -> Tensor:
    """Mean KL of the members from their mean, [B], not below 0."""
    log_probs_BMC = soft_log_probs(logits_BMC, 1.0)
    return members.mean(kl(log_probs_BMC, members.log_mean(log_probs_BMC).unsqueeze(1))).clamp(min=0)


def mean_loss(
    student_BC: Tensor,
    teacher_BMC: Tensor,
    temperature: float,
    mask_BM: Tensor | None = None,
    *,
    standardise: bool = False,
) -> Summed:
    """Plain distillation (EnD, and Hydra's first phase): one output imitates the members' mean.

    T^2 * mean over the batch of KL(mean_m softmax(teacher_m / T) || softmax(student / T)). The mean is taken
    over probabilities, not logits. Malinin et al. 2020 (EnD) minimise the cross-entropy, which differs by a
    constant.

    Args:
        student_BC: logits of the one output.
        teacher_BMC: logits of M members.
        temperature: T > 0.
        mask_BM: members whose mean is taken.
        standardise: whether T is in units of the mean of the members' deviations on the row; see the module.

    Returns:
        Sum over rows and their number, nats.

    Raises:
        ValueError: the shapes do not fit, or the temperature is not positive.
    """
    check_one_output(student_BC, teacher_BMC, temperature)
    members = Members.of(mask_BM)
    if not standardise:
        kl_B = _soft_kl_of_mean(teacher_BMC, student_BC, temperature, members)
        return sum_rows(kl_B, members.counts_B).scaled(temperature**2)
    temperature_B1 = temperature * members.mean(_deviation(teacher_BMC)).unsqueeze(-1)
    kl_B = _soft_kl_of_mean(teacher_BMC, student_BC, temperature_B1, members) * temperature_B1.squeeze(-1).square()
    return sum_rows(kl_B, members.counts_B)


def mixture_nll(logits_BHC: Tensor, labels_B: Tensor) -> Summed:
    """Cross-entropy of the mean of probabilities, over the rows that have a label; nats."""
    log_probs_BC = torch.logsumexp(F.log_softmax(logits_BHC, dim=-1), dim=1) - math.log(logits_BHC.shape[1])
    # choosing the labelled rows would have a GPU waited for at every step
    total = F.nll_loss(log_probs_BC, labels_B, ignore_index=NO_LABEL, reduction="sum")
    return Summed(total, (labels_B != NO_LABEL).sum())


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")


def check_one_output(student_BC: Tensor, teacher_BMC: Tensor, temperature: float) -> None:
    """Raises ValueError where the shapes do not fit, or the temperature is not positive."""
    _check_temperature(temperature)
    batch_and_classes = (teacher_BMC.shape[0], teacher_BMC.shape[-1])
    if teacher_BMC.ndim != 3 or tuple(student_BC.shape) != batch_and_classes:
        raise ValueError(
            f"needs student logits [B, C] and teacher logits [B, M, C], but the student has "
            f"{list(student_BC.shape)} and the teacher {list(teacher_BMC.shape)}"
        )


def _deviation(teacher_BMC: Tensor) -> Tensor:
    """Standard deviation over classes, at least 1: [B, M]."""
    logits_BMC = teacher_BMC.detach().to(torch.promote_types(teacher_BMC.dtype, torch.float32))
    apart_BMC = logits_BMC - logits_BMC.mean(dim=-1, keepdim=True)
    return apart_BMC.square().mean(dim=-1).sqrt().clamp(min=1)


def _soft_kl(teacher: Tensor, student: Tensor, temperature: float | Tensor) -> Tensor:
    """KL from softened teacher to softened student over the last dimension."""
    return kl(soft_log_probs(teacher, temperature), soft_log_probs(student, temperature))


def _soft_kl_of_mean(teacher_BMC: Tensor, student_BC: Tensor, temperature: float | Tensor, members: Members) -> Tensor:
    """KL from the mean of softened members, [B]; a tensor of temperatures is [B, 1]."""
    of_members = temperature.unsqueeze(-1) if isinstance(temperature, Tensor) else temperature
    mean_log_probs_BC = members.log_mean(soft_log_probs(teacher_BMC, of_members))
    return kl(mean_log_probs_BC, soft_log_probs(student_BC, temperature))


def soft_log_probs(logits: Tensor, temperature: float | Tensor) -> Tensor:
    """Log-probabilities at a temperature."""
    # Half precision would keep three digits of a KL between near-equal distributions: none.
    dtype = torch.promote_types(logits.dtype, torch.float32)
    return F.log_softmax(logits.to(dtype) / temperature, dim=-1)


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) over the last dimension."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(dim=-1)
