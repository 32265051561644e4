"""Losses of distilling a regression: outputs of student and members in, a sum over rows and their number out, in nats.

Pure functions of tensors. Nothing here knows models, data, optimisers or Ray. Moments, densities and divergences of
Gaussians stand in `metrics/gaussian.py`, the losses of classification in `classification.py` beside this file.

Shapes: B rows, M members or heads. An output is a pair (mean, LOG variance) in target units. Losses keep the type of
their inputs, float32 at least; each is a sum over the batch's rows and their number (`sums.py`), rows of equal weight
however many members they are learnt from (`metrics/member_weights.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hydra_ray.losses.sums import Correlated, Summed, correlate_rows, sum_rows
from hydra_ray.metrics import Members, gaussian_kl, mixture_moments, row_mixture_nll

_SMALL_SHARE = 1e-6


def gaussian_nll(output_B2: Tensor, targets_B: Tensor) -> Summed:
    """Negative log likelihood of one Gaussian a row: what heteroscedastic members minimise (Nix & Weigend 1994).

    Returns:
        Sum over rows and their number, nats of density.
    """
    return sum_rows(row_mixture_nll(_at_least_float32(output_B2).unsqueeze(1), targets_B))


def mixture_nll(outputs_BM2: Tensor, targets_B: Tensor) -> Summed:
    """Sum of `row_mixture_nll` over the rows that have a target (NaN: none) and their number, nats."""
    has_target_B = ~targets_B.isnan()
    return sum_rows(row_mixture_nll(_at_least_float32(outputs_BM2), targets_B.nan_to_num()), has_target_B)


def heads_loss(student_BM2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """Hydra's loss for regression (Tran et al. 2020): every head imitates its own member.

    Mean over batch and heads of KL(N_member || N_head).

    Args:
        student_BM2: outputs of M heads.
        teacher_BM2: outputs of M members; member m teaches head m.
        mask_BM: members whose heads a row is learnt by.

    Returns:
        Sum over rows and their number, nats.

    Raises:
        ValueError: the shapes differ.
    """
    if student_BM2.shape != teacher_BM2.shape or student_BM2.ndim != 3:
        raise ValueError(
            f"heads_loss needs student and teacher outputs of one shape [B, M, 2], but the student has "
            f"{list(student_BM2.shape)} and the teacher {list(teacher_BM2.shape)}"
        )
    kl_BM = gaussian_kl(_at_least_float32(teacher_BM2), _at_least_float32(student_BM2))
    members = Members.of(mask_BM)
    return sum_rows(members.mean(kl_BM), members.counts_B)


def moments_loss(student_B2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """Plain distillation (and Hydra's first phase): one Gaussian imitates the mixture's mean and variance.

    Mean over the batch of KL(N(mixture's moments) || N_student), which is least where the student has exactly these
    moments; so is KL(mixture || N_student), from which it differs by a constant.

    Args:
        student_B2: output of the one head.
        teacher_BM2: outputs of M members.
        mask_BM: members whose mixture is taken.

    Returns:
        Sum over rows and their number, nats.
    """
    members = Members.of(mask_BM)
    moments = mixture_moments(_at_least_float32(teacher_BM2), members)
    target_B2 = torch.stack([moments.mean, moments.total_variance.log()], dim=-1)
    return sum_rows(gaussian_kl(target_B2, _at_least_float32(student_B2)), members.counts_B)


def diversity_matching_loss(student_BM2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """How far the size of the heads' disagreement is from the members', row by row (ours).

    Mean over the batch of (ln(k_student + e) - ln(k_teacher + e))^2, with k the knowledge variance and e a millionth
    of the members' data variance of the row: as for classification, where MI ~ k / (2 * data variance) stands for k.
    It does not change when targets are scaled.

    Args:
        student_BM2: outputs of M heads.
        teacher_BM2: outputs of M members.
        mask_BM: members whose disagreement, and heads whose, is compared; a row needs two to count.

    Returns:
        Sum over rows and their number, squared nats of log.
    """
    members = Members.of(mask_BM, least=2)
    student_B, teacher_B = _log_knowledge(student_BM2, teacher_BM2, members)
    return sum_rows((student_B - teacher_B).square(), members.counts_B)


def correlation_loss(student_BM2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Correlated:
    """How far the heads' disagreement is from ordering the batch's rows as the members' does (ours).

    1 - Pearson's correlation, over the batch, of ln(k_student + e) and ln(k_teacher + e), as in
    `diversity_matching_loss`. It leaves the size of disagreement free, which calibration sets afterwards.

    Args:
        student_BM2: outputs of M heads.
        teacher_BM2: outputs of M members.
        mask_BM: members whose disagreement, and heads whose, is compared; a row needs two to count.
    """
    members = Members.of(mask_BM, least=2)
    return correlate_rows(*_log_knowledge(student_BM2, teacher_BM2, members), members.counts_B)


def deviation_loss(student_BM2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Summed:
    """How far each head's mean lies from where its member's does, both seen from the mixture's mean (ours).

    Mean over the batch of mean_m (d_student - d_teacher)^2 / (k_teacher + e), with d a mean less the mean of means:
    0 where the heads deviate as the members do, about 1 where they all agree.

    Args:
        student_BM2: outputs of M heads.
        teacher_BM2: outputs of M members.
        mask_BM: members, and heads, that are compared; a row needs two to count.

    Returns:
        Sum over rows and their number, without a unit.
    """
    members = Members.of(mask_BM, least=2)
    teacher_BM2 = _at_least_float32(teacher_BM2)
    teacher = mixture_moments(teacher_BM2, members)
    student_mean_B = members.mean(_at_least_float32(student_BM2)[..., 0])
    deviations_BM = _at_least_float32(student_BM2)[..., 0] - student_mean_B.unsqueeze(1)
    error_BM = deviations_BM - (teacher_BM2[..., 0] - teacher.mean.unsqueeze(1))
    spread_B = teacher.knowledge_variance + _SMALL_SHARE * teacher.data_variance
    return sum_rows(members.mean(error_BM.square()) / spread_B, members.counts_B)


def _log_knowledge(student_BM2: Tensor, teacher_BM2: Tensor, members: Members) -> tuple[Tensor, Tensor]:
    """ln(k + e) of student and teacher, each [B], e a millionth of the teacher's data variance."""
    teacher = mixture_moments(_at_least_float32(teacher_BM2), members)
    student_B = mixture_moments(_at_least_float32(student_BM2), members).knowledge_variance
    small_B = _SMALL_SHARE * teacher.data_variance
    return (student_B + small_B).log(), (teacher.knowledge_variance + small_B).log()


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
