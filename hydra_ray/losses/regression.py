"""Gaussians and their mixtures as regression has them: moments, divergences and the losses of distillation.

Pure functions of tensors. Nothing here knows models, data, optimisers or Ray; how good a prediction is stands in
`regression_metrics.py`, and the losses of classification in `losses.py`.

Shapes: N or B rows, M members or heads. An output is a pair (mean, LOG variance) in target units: `outputs_NM2` of M
members or heads, `output_N2` of one. Members are equally likely components of a mixture. Variances are in squared
target units, knowledge variance is the population variance of the means (divided by M, not M - 1), so that it and the
data variance add up to the mixture's own. Losses keep the type of their inputs, float32 at least; each is a sum over
the batch's rows and their number (`loss_terms.py`), rows of equal weight however many members they are learnt from
(`member_masks.py`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hydra_ray.losses.sums import Summed
from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members, sum_rows

_LOG_2PI = math.log(2 * math.pi)
_SMALL_SHARE = 1e-6


class Moments(NamedTuple):
    """First two moments of mixtures, each [N]: variance of the mixture = data_variance + knowledge_variance."""

    mean: Tensor
    data_variance: Tensor
    knowledge_variance: Tensor

    @property
    def total_variance(self) -> Tensor:
        """Variance of the mixture, [N]."""
        return self.data_variance + self.knowledge_variance


def mixture_moments(outputs_NM2: Tensor, members: Members = ALL_MEMBERS) -> Moments:
    """Mean of means, mean of variances (data) and variance of means (knowledge): Lakshminarayanan et al. 2017, 2.4.

    Args:
        outputs_NM2: means and log variances of M components.
        members: of which components the mixture is made, by row; all of them unless told.

    Returns:
        Three tensors [N]; knowledge variance is 0 for M = 1.

    Raises:
        ValueError: the outputs are not [N, M, 2].
    """
    means_NM, log_variances_NM = _parts(outputs_NM2)
    mean_N = members.mean(means_NM)
    knowledge_N = members.mean((means_NM - mean_N.unsqueeze(1)).square())
    return Moments(mean_N, members.mean(log_variances_NM.exp()), knowledge_N)


def stretch_means(outputs_NM2: Tensor, scale: float) -> Tensor:
    """Spread calibration: mu_m <- mean(mu) + scale (mu_m - mean(mu)); the variances stay.

    The mean of the mixture stays where it was and its knowledge variance is multiplied by scale^2.
    """
    means_NM, log_variances_NM = _parts(outputs_NM2)
    centre_N1 = means_NM.mean(dim=1, keepdim=True)
    return torch.stack([centre_N1 + scale * (means_NM - centre_N1), log_variances_NM], dim=-1)


def row_log_density(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """ln N(y; mu_m, sigma_m^2) of every component, [N, M], nats."""
    means_NM, log_variances_NM = _parts(outputs_NM2)
    return -0.5 * (_LOG_2PI + log_variances_NM + _squared_distance(targets_N[:, None] - means_NM, log_variances_NM))


def row_mixture_nll(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """-ln mean_m N(y; mu_m, sigma_m^2) of every row, [N], nats of density: it may be negative.

    By log-sum-exp, so that a target far outside of every component costs what it should instead of infinity.
    """
    return math.log(outputs_NM2.shape[1]) - torch.logsumexp(row_log_density(outputs_NM2, targets_N), dim=1)


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


def gaussian_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(N_p || N_q) in closed form for outputs [..., 2] of one shape: [...], nats.

    (ln v_q - ln v_p + v_p / v_q - 1 + (mu_p - mu_q)^2 / v_q) / 2. It does not change when targets are shifted or
    scaled, so that it may be taken in target units or in standardised ones.
    """
    apart = p[..., 1] - q[..., 1]
    return 0.5 * (torch.expm1(apart) - apart + _squared_distance(p[..., 0] - q[..., 0], q[..., 1]))


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
    return members.sum_rows(members.mean(kl_BM))


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
    return members.sum_rows(gaussian_kl(target_B2, _at_least_float32(student_B2)))


def spread_loss(student_BM2: Tensor, teacher_BM2: Tensor, mask_BM: Tensor | None = None) -> Summed:
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
    teacher = mixture_moments(_at_least_float32(teacher_BM2), members)
    student_B = mixture_moments(_at_least_float32(student_BM2), members).knowledge_variance
    small_B = _SMALL_SHARE * teacher.data_variance
    return members.sum_rows(((student_B + small_B).log() - (teacher.knowledge_variance + small_B).log()).square())


def _parts(outputs_NM2: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log variances, each [N, M]."""
    if outputs_NM2.ndim != 3 or outputs_NM2.shape[1] == 0 or outputs_NM2.shape[2] != 2:
        raise ValueError(f"needs means and log variances [N, M, 2], got shape {list(outputs_NM2.shape)}")
    return outputs_NM2[..., 0], outputs_NM2[..., 1]


def _squared_distance(apart: Tensor, log_variance: Tensor) -> Tensor:
    """(apart / sigma)^2; squared last, as apart^2 or 1 / sigma^2 alone may leave float32's range."""
    return (apart * torch.exp(-0.5 * log_variance)).square()


def _at_least_float32(outputs: Tensor) -> Tensor:
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
