"""Quality and uncertainty of regression: Gaussian mixtures and targets in, plain floats out.

Pure functions. Not here: moments (`gaussian.py`), detection of unknown rows (`classification.py`), student
against ensemble (`fidelity.py`).

Shapes: N rows, M members or heads. A predictor is `outputs_NM2`, the means and log variances of M equally likely
Gaussians in target units, or [N, M, 3] with the logarithms of their weights; one Gaussian is M = 1. Targets are
`targets_N`. All work is in float64, rows are worked on in chunks, and every score is "higher = more uncertain".

Raises, throughout: ValueError where there are no rows or the shapes are not [N, M, 2] and [N].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from hydra_ray.metrics.classification import Figures
from hydra_ray.metrics.gaussian import components_of, mixture_moments, row_mixture_nll
from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members
from hydra_ray.metrics.registry import Scores, mean_scores, scores_of, uncertainty_score
from hydra_ray.metrics.uncertainty import map_rows

COVERED = 0.95
"""Probability of the central interval whose coverage and width are reported."""
TOTAL_VARIANCE = "total_variance"
DATA_VARIANCE = "data_variance"
KNOWLEDGE_VARIANCE = "knowledge_variance"
_ROUNDS = 64
_SQRT_2_OVER_PI = math.sqrt(2 / math.pi)


class Interval(NamedTuple):
    """Central intervals of mixtures, each [N], target units."""

    low: Tensor
    high: Tensor


def variance_scores(outputs_NM2: Tensor, members: Members = ALL_MEMBERS) -> Scores:
    """All registered scores of Gaussians by name, each float64 [N].

    total_variance = data_variance + knowledge_variance (`gaussian.mixture_moments`). One member has no knowledge
    variance: it cannot disagree with itself.
    """
    return scores_of(outputs_NM2, "gaussian", members=members)


@uncertainty_score(DATA_VARIANCE, "data variance", outputs="gaussian", of_one=True, unit="target's")
def data_variance(outputs_NM2: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Mean of the members' variances: float64 [N], squared target units."""
    return mixture_moments(outputs_NM2.double(), members).data_variance


@uncertainty_score(KNOWLEDGE_VARIANCE, "knowledge variance", outputs="gaussian", unit="target's", detects=True)
def knowledge_variance(outputs_NM2: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Variance of the members' means: float64 [N], squared target units."""
    return mixture_moments(outputs_NM2.double(), members).knowledge_variance


@uncertainty_score(TOTAL_VARIANCE, "total variance", outputs="gaussian", of_one=True, unit="target's", detects=True)
def total_variance(outputs_NM2: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Variance of the mixture: float64 [N], squared target units."""
    return mixture_moments(outputs_NM2.double(), members).total_variance


def row_nll(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """Negative log likelihood of every target under the mixture: float64 [N], nats of density."""
    _check_rows(outputs_NM2, targets_N)
    return map_rows(row_mixture_nll, outputs_NM2.double(), targets_N.double())


def row_squared_error(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """(y - mean of means)^2 of every row: float64 [N]."""
    _check_rows(outputs_NM2, targets_N)
    components_NM2, members = components_of(outputs_NM2.double())
    return (targets_N.double() - members.mean(components_NM2[..., 0])).square()


def rmse(outputs_NM2: Tensor, targets_N: Tensor) -> float:
    """Root of the mean of `row_squared_error`, target units."""
    return row_squared_error(outputs_NM2, targets_N).mean().sqrt().item()


def row_crps(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """Continuous ranked probability score of a mixture in closed form (Grimit et al. 2006, eq. 5): float64 [N].

    With A(d, v) = E|d + sqrt(v) Z| it is mean_m A(y - mu_m, v_m) - mean_mn A(mu_m - mu_n, v_m + v_n) / 2, target units.
    Every pair of members is looked at once, M rows of pairs at a time: time is O(M^2), memory O(M).
    """
    _check_rows(outputs_NM2, targets_N)
    return map_rows(_crps, outputs_NM2.double(), targets_N.double())


def mixture_cdf(outputs_NM2: Tensor, at_N: Tensor) -> Tensor:
    """P(Y <= at) under the mixture: float64 [N]. Of targets from the mixture it is uniform on [0, 1]."""
    _check_rows(outputs_NM2, at_N)
    return map_rows(_cdf, outputs_NM2.double(), at_N.double())


def mixture_quantile(outputs_NM2: Tensor, probability: float) -> Tensor:
    """The mixture's quantile, by bisection on its distribution function: float64 [N], target units.

    It lies between the least and the greatest of the components' own quantiles, which is where the search starts; it
    ends when that stretch has been halved 64 times.

    Raises:
        ValueError: `probability` is not inside (0, 1).
    """
    if not 0 < probability < 1:
        raise ValueError(f"probability must lie between 0 and 1, got {probability}")
    return map_rows(lambda chunk: _quantile(chunk, probability), outputs_NM2.double())


def central_interval(outputs_NM2: Tensor, probability: float = COVERED) -> Interval:
    """The interval that leaves (1 - probability) / 2 of the mixture on either side."""
    tail = (1 - probability) / 2
    return Interval(mixture_quantile(outputs_NM2, tail), mixture_quantile(outputs_NM2, 1 - tail))


def row_interval_level(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    """Probability of the smallest central interval that holds the target, |2 F(y) - 1|: float64 [N] in [0, 1].

    Of a calibrated predictor it is uniform: a share p of the targets lies inside of the central p interval.
    """
    return (2 * mixture_cdf(outputs_NM2, targets_N) - 1).abs()


def regression_figures(outputs_NM2: Tensor, targets_N: Tensor, scores: Scores) -> Figures:
    """Quality of a predictor, and the means of all registered scores.

    Args:
        outputs_NM2: its mixture.
        targets_N: targets.
        scores: `variance_scores` of the same rows.

    Returns:
        rmse, nll (nats), crps, coverage_95 (share), width_95 and the scores (None for M = 1 where they are about
        disagreement); in target units or their squares where nothing else is said.
    """
    low_N, high_N = central_interval(outputs_NM2)
    inside_N = (low_N <= targets_N) & (targets_N <= high_N)
    return {
        "rmse": rmse(outputs_NM2, targets_N),
        "nll": row_nll(outputs_NM2, targets_N).mean().item(),
        "crps": row_crps(outputs_NM2, targets_N).mean().item(),
        "coverage_95": inside_N.double().mean().item(),
        "width_95": (high_N - low_N).mean().item(),
        **mean_scores(scores, "gaussian"),
    }


def _check_rows(outputs_NM2: Tensor, targets_N: Tensor) -> None:
    shape = outputs_NM2.shape
    if (
        outputs_NM2.ndim != 3
        or shape[1] == 0
        or shape[2] not in (2, 3)
        or targets_N.shape != shape[:1]
        or not len(targets_N)
    ):
        raise ValueError(
            f"needs means and log variances [N, M, 2] and targets [N] of at least one row, got shapes "
            f"{list(shape)} and {list(targets_N.shape)}"
        )


def _crps(outputs_NM2: Tensor, targets_N: Tensor) -> Tensor:
    components_NM2, members = components_of(outputs_NM2)
    means_NM = components_NM2[..., 0]
    variances_NM = components_NM2[..., 1].exp()
    weights_NM = members.weights_BM
    if weights_NM is None:
        weights_NM = torch.full_like(means_NM, 1 / means_NM.shape[1])
    to_target_N = members.mean(_mean_distance(targets_N[:, None] - means_NM, variances_NM))
    # the diagonal, A(0, 2 v) = 2 sqrt(v / pi), and each pair above it twice
    between_N = (weights_NM.square() * 2 * (variances_NM / math.pi).sqrt()).sum(dim=1)
    for m in range(means_NM.shape[1] - 1):
        apart = means_NM[:, m + 1 :] - means_NM[:, m, None]
        variance = variances_NM[:, m + 1 :] + variances_NM[:, m, None]
        of_pairs = weights_NM[:, m + 1 :] * weights_NM[:, m, None]
        between_N = between_N + 2 * (of_pairs * _mean_distance(apart, variance)).sum(dim=1)
    return to_target_N - between_N / 2


def _mean_distance(mean: Tensor, variance: Tensor) -> Tensor:
    """E|mean + sqrt(variance) Z| = sigma sqrt(2 / pi) exp(-t^2 / 2) + mean erf(t / sqrt(2)), t = mean / sigma."""
    sigma = variance.sqrt()
    t = mean / sigma
    return _SQRT_2_OVER_PI * sigma * torch.exp(-0.5 * t.square()) + mean * torch.erf(t / math.sqrt(2))


def _cdf(outputs_NM2: Tensor, at_N: Tensor) -> Tensor:
    components_NM2, members = components_of(outputs_NM2)
    sigmas_NM = (0.5 * components_NM2[..., 1]).exp()
    return members.mean(torch.special.ndtr((at_N[:, None] - components_NM2[..., 0]) / sigmas_NM))


def _quantile(outputs_NM2: Tensor, probability: float) -> Tensor:
    score = torch.special.ndtri(torch.tensor(probability, dtype=torch.float64, device=outputs_NM2.device))
    own_NM = outputs_NM2[..., 0] + score * (0.5 * outputs_NM2[..., 1]).exp()
    weights_NM = components_of(outputs_NM2)[1].weights_BM
    counts_NM = torch.ones_like(own_NM, dtype=torch.bool) if weights_NM is None else weights_NM > 0
    low_N = own_NM.where(counts_NM, math.inf).amin(dim=1)
    high_N = own_NM.where(counts_NM, -math.inf).amax(dim=1)
    for _ in range(_ROUNDS):
        middle_N = (low_N + high_N) / 2
        is_below_N = _cdf(outputs_NM2, middle_N) < probability
        low_N = torch.where(is_below_N, middle_N, low_N)
        high_N = torch.where(is_below_N, high_N, middle_N)
    return (low_N + high_N) / 2
