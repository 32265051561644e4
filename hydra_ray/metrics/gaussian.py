"""Gaussians and their mixtures as regression has them: moments, densities and divergences.

Pure functions of tensors. How good a prediction is stands in `regression.py` beside this file; what a student
minimises is in `losses/regression.py`.

Shapes: N or B rows, M members or heads. An output is a pair (mean, LOG variance) in target units: `outputs_NM2` of M
members or heads, `output_N2` of one. Members are equally likely components of a mixture. Variances are in squared
target units, knowledge variance is the population variance of the means (divided by M, not M - 1), so that it and the
data variance add up to the mixture's own. A mixture whose components have weights has a third column, the logarithm of
the weight: `mixture_NK3`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hydra_ray.metrics.disagreement_size import SCALE_RANGE
from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members

_LOG_2PI = math.log(2 * math.pi)


class Moments(NamedTuple):
    """First two moments of mixtures, each [N]: variance of the mixture = data_variance + knowledge_variance."""

    mean: Tensor
    data_variance: Tensor
    knowledge_variance: Tensor

    @property
    def total_variance(self) -> Tensor:
        """Variance of the mixture, [N]."""
        return self.data_variance + self.knowledge_variance


def with_weights(outputs_NM2: Tensor, members: Members) -> Tensor:
    """Components as a mixture [N, M, 3] with the logarithms of their weights; [N, M, 2] where all count alike."""
    if members.weights_BM is None:
        return outputs_NM2
    return torch.cat([outputs_NM2, members.weights_BM.to(outputs_NM2.dtype).log().unsqueeze(-1)], dim=-1)


def components_of(mixture: Tensor) -> tuple[Tensor, Members]:
    """Means and log variances [N, M, 2] of a mixture [N, M, 2 or 3], and how much each component counts."""
    if mixture.ndim == 3 and mixture.shape[2] == 3:
        return mixture[..., :2], Members(mixture[..., 2].exp(), None)
    return mixture, ALL_MEMBERS


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


def moments_of(mixture: Tensor) -> Moments:
    """Moments of a mixture [N, M, 2 or 3]; see `mixture_moments` and `components_of`."""
    return mixture_moments(*components_of(mixture))


def rescale_means(outputs_NM2: Tensor, scale: float | Tensor) -> Tensor:
    """Calibration of disagreement: mu_m <- mean(mu) + scale (mu_m - mean(mu)); the variances stay.

    The mean of the mixture stays where it was and its knowledge variance is multiplied by scale^2.

    Args:
        outputs_NM2: means and log variances.
        scale: one for all rows, or [N], one for each.
    """
    means_NM, log_variances_NM = _parts(outputs_NM2)
    centre_N1 = means_NM.mean(dim=1, keepdim=True)
    if isinstance(scale, Tensor):
        scale = scale.unsqueeze(1)
    return torch.stack([centre_N1 + scale * (means_NM - centre_N1), log_variances_NM], dim=-1)


def means_scale(outputs_NM2: Tensor, knowledge_N: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """The scale of each row at which `rescale_means` gives it `knowledge_N`: [N], within `SCALE_RANGE`."""
    own_N = mixture_moments(outputs_NM2, members).knowledge_variance
    smallest = torch.finfo(own_N.dtype).tiny
    return (knowledge_N / own_N.clamp(min=smallest)).sqrt().clamp(*SCALE_RANGE)


def row_log_density(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """ln N(y; mu_m, sigma_m^2) of every component, [N, M], nats."""
    means_NM, log_variances_NM = _parts(outputs_NM2)
    return -0.5 * (_LOG_2PI + log_variances_NM + _squared_distance(targets_N[:, None] - means_NM, log_variances_NM))


def row_mixture_nll(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """-ln mean_m N(y; mu_m, sigma_m^2) of every row, [N], nats of density: it may be negative.

    By log-sum-exp, so that a target far outside of every component costs what it should instead of infinity.
    """
    components_NM2, members = components_of(outputs_NM2)
    return -members.log_mean(row_log_density(components_NM2, targets_N).unsqueeze(-1)).squeeze(-1)


def gaussian_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(N_p || N_q) in closed form for outputs [..., 2] of one shape: [...], nats.

    (ln v_q - ln v_p + v_p / v_q - 1 + (mu_p - mu_q)^2 / v_q) / 2. It does not change when targets are shifted or
    scaled, so that it may be taken in target units or in standardised ones.
    """
    apart = p[..., 1] - q[..., 1]
    return 0.5 * (torch.expm1(apart) - apart + _squared_distance(p[..., 0] - q[..., 0], q[..., 1]))


def _parts(outputs_NM2: Tensor) -> tuple[Tensor, Tensor]:
    """Means and log variances, each [N, M]."""
    if outputs_NM2.ndim != 3 or outputs_NM2.shape[1] == 0 or outputs_NM2.shape[2] != 2:
        raise ValueError(f"needs means and log variances [N, M, 2], got shape {list(outputs_NM2.shape)}")
    return outputs_NM2[..., 0], outputs_NM2[..., 1]


def _squared_distance(apart: Tensor, log_variance: Tensor) -> Tensor:
    """(apart / sigma)^2; squared last, as apart^2 or 1 / sigma^2 alone may leave float32's range."""
    return (apart * torch.exp(-0.5 * log_variance)).square()
