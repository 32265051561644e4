"""Diversity of an ensemble from which rows its members get right (Liu et al. 2019, arXiv 1908.11091).

Pure functions, each registered (`registry.py`), so that it stands in metrics.json and in the report. Not here: measures
from probabilities, which need no labels (`uncertainty.py`).

Shapes: N rows, M members. `predicted_NM` are the members' classes, `labels_N` the true ones, both integers.
l_n is the number of members right on row n; for members i and j, n11, n00, n10, n01 count the rows both get
right, both get wrong, only i, only j gets right. All work is in float64; results are plain floats without
unit.

Where a measure has nothing to measure it is None, never NaN: a pair measure where it is defined for no pair
(one member, members always right, ...), else it is the mean over the pairs for which it is defined.

Raises, throughout: ValueError where there are no rows or the shapes are not [N, M] and [N].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.metrics.registry import diversity_measure

Votes = Callable[[Tensor], float | None]
Errors = Callable[[Tensor, Tensor], float | None]


def _of_votes(name: str, heading: str) -> Callable[[Votes], Votes]:
    """Register a measure of predicted classes."""

    def register(function: Votes) -> Votes:
        diversity_measure(name, heading, outputs="logits")(lambda logits_NMC, _: function(logits_NMC.argmax(dim=-1)))
        return function

    return register


def _of_errors(name: str, heading: str) -> Callable[[Errors], Errors]:
    """Register a measure of predicted classes and labels."""

    def register(function: Errors) -> Errors:
        diversity_measure(name, heading, outputs="logits")(
            lambda logits_NMC, labels_N: function(logits_NMC.argmax(dim=-1), labels_N)
        )
        return function

    return register


class PairCounts(NamedTuple):
    """Rows by which of two members are right: float64, one entry for each pair i < j."""

    both_right: Tensor
    both_wrong: Tensor
    first_only: Tensor
    second_only: Tensor


@_of_errors("q_statistic", "Q statistic (less = more diverse)")
def q_statistic(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Yule's Q, mean over pairs, in [-1, 1]; lower = more diverse.

    (n11 n00 - n01 n10) / (n11 n00 + n01 n10). Undefined for a pair whose denominator is 0.
    """
    n11, n00, n10, n01 = _pair_counts(_right(predicted_NM, labels_N))
    return _mean_ratio(n11 * n00 - n01 * n10, n11 * n00 + n01 * n10)


@_of_errors("correlation", "correlation of errors (less)")
def correlation(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Correlation of being right, mean over pairs, in [-1, 1]; lower = more diverse.

    (n11 n00 - n01 n10) / sqrt((n11 + n10)(n01 + n00)(n11 + n01)(n10 + n00)). Undefined for a pair of which a
    member is right always or never.
    """
    n11, n00, n10, n01 = _pair_counts(_right(predicted_NM, labels_N))
    scale = ((n11 + n10) * (n01 + n00)).sqrt() * ((n11 + n01) * (n10 + n00)).sqrt()
    return _mean_ratio(n11 * n00 - n01 * n10, scale)


@_of_errors("disagreement", "one right, one wrong (more)")
def disagreement(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Binary disagreement, mean over pairs of (n01 + n10) / N, in [0, 1]; higher = more diverse.

    Counts rows that exactly one of two members gets right; two different wrong classes agree here, other than
    in `uncertainty.disagreement`. None for M = 1.
    """
    _, _, n10, n01 = _pair_counts(_right(predicted_NM, labels_N))
    return _mean((n01 + n10) / len(labels_N))


@_of_errors("double_fault", "both wrong (less)")
def double_fault(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Mean over pairs of n00 / N, in [0, 1]; lower = more diverse. None for M = 1."""
    return _mean(_pair_counts(_right(predicted_NM, labels_N)).both_wrong / len(labels_N))


@_of_votes("cohen_kappa", "Cohen's kappa, mean of pairs (less)")
def cohen_kappa(predicted_NM: Tensor) -> float | None:
    """Cohen's kappa of the predicted classes, mean over pairs, at most 1; lower = more diverse.

    (p_o - p_e) / (1 - p_e), p_o the share of rows on which two members agree, p_e the share expected by
    chance from how often each predicts each class. Undefined for a pair that always predicts one and the same
    class. (torchmetrics' works in float32: 1e-7 off.) Needs memory for N * M * C float64.
    """
    votes_NMC = _one_hot(predicted_NM)
    flat = votes_NMC.permute(1, 0, 2).flatten(start_dim=1)
    shares_MC = votes_NMC.mean(dim=0)
    observed = _pairs(flat @ flat.T / len(predicted_NM))
    expected = _pairs(shares_MC @ shares_MC.T)
    return _mean_ratio(observed - expected, 1 - expected)


@_of_votes("fleiss_kappa", "Fleiss' kappa (less)")
def fleiss_kappa(predicted_NM: Tensor) -> float | None:
    """Fleiss' kappa of the predicted classes of all members, at most 1; lower = more diverse.

    (P - P_e) / (1 - P_e): P the mean over rows of the share of agreeing member pairs, P_e the sum over
    classes of squared shares. None for M = 1, and where all members always predict one and the same class.
    (torchmetrics' adds 1e-5 to the denominator.)
    """
    counts_NC = _one_hot(predicted_NM).sum(dim=1)
    num_members = predicted_NM.shape[1]
    if num_members == 1:
        return None
    agreeing_N = (counts_NC * (counts_NC - 1)).sum(dim=1) / (num_members * (num_members - 1))
    expected = (counts_NC.mean(dim=0) / num_members).square().sum()
    return _mean_ratio((agreeing_N.mean() - expected).reshape(1), (1 - expected).reshape(1))


@_of_errors("entropy", "entropy of Kuncheva (more)")
def entropy(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Kuncheva's entropy, in [0, 1]; higher = more diverse.

    Mean over rows of min(l, M - l) / (M - ceil(M / 2)). None for M = 1.
    """
    right_N = _right(predicted_NM, labels_N).sum(dim=1)
    num_members = predicted_NM.shape[1]
    if num_members == 1:
        return None
    return (torch.minimum(right_N, num_members - right_N).mean() / (num_members // 2)).item()


@_of_errors("kohavi_wolpert_variance", "Kohavi-Wolpert variance (more)")
def kohavi_wolpert_variance(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Kohavi-Wolpert variance, in [0, 1/4]; higher = more diverse.

    Mean over rows of l (M - l) / M^2. None for M = 1.
    """
    right_N = _right(predicted_NM, labels_N).sum(dim=1)
    num_members = predicted_NM.shape[1]
    if num_members == 1:
        return None
    return (right_N * (num_members - right_N)).mean().item() / num_members**2


@_of_errors("generalised_diversity", "generalised diversity (more)")
def generalised_diversity(predicted_NM: Tensor, labels_N: Tensor) -> float | None:
    """Generalised diversity 1 - p(2) / p(1), in [0, 1]; higher = more diverse (Partridge & Krzanowski 1997).

    p(1) is the probability that a member drawn at random is wrong on a row drawn at random, p(2) that two
    different ones both are. None for M = 1, and where no member is ever wrong.
    """
    wrong_N = (1 - _right(predicted_NM, labels_N)).sum(dim=1)
    num_members = predicted_NM.shape[1]
    if num_members == 1 or not wrong_N.any():
        return None
    one = wrong_N.mean() / num_members
    two = (wrong_N * (wrong_N - 1)).mean() / (num_members * (num_members - 1))
    return (1 - two / one).item()


def _check_predicted(predicted_NM: Tensor) -> None:
    if predicted_NM.ndim != 2 or 0 in predicted_NM.shape:
        raise ValueError(f"needs predicted classes [N, M], got shape {list(predicted_NM.shape)}")


def _right(predicted_NM: Tensor, labels_N: Tensor) -> Tensor:
    """1 where a member is right, else 0: float64 [N, M]."""
    _check_predicted(predicted_NM)
    if labels_N.shape != predicted_NM.shape[:1]:
        raise ValueError(f"{len(predicted_NM)} rows of predictions, but labels of shape {list(labels_N.shape)}")
    return (predicted_NM == labels_N.unsqueeze(1)).double()


def _one_hot(predicted_NM: Tensor) -> Tensor:
    """The predicted classes as float64 [N, M, C]; C is only as large as the classes that occur ask for."""
    _check_predicted(predicted_NM)
    return F.one_hot(predicted_NM.long()).double()


def _pair_counts(right_NM: Tensor) -> PairCounts:
    wrong_NM = 1 - right_NM
    first_only_MM = right_NM.T @ wrong_NM
    return PairCounts(
        both_right=_pairs(right_NM.T @ right_NM),
        both_wrong=_pairs(wrong_NM.T @ wrong_NM),
        first_only=_pairs(first_only_MM),
        second_only=_pairs(first_only_MM.T),
    )


def _pairs(matrix_MM: Tensor) -> Tensor:
    """The entries i < j of a matrix over members."""
    rows, columns = torch.triu_indices(len(matrix_MM), len(matrix_MM), offset=1, device=matrix_MM.device)
    return matrix_MM[rows, columns]


def _mean(values: Tensor) -> float | None:
    return values.mean().item() if values.numel() else None


def _mean_ratio(numerators: Tensor, denominators: Tensor) -> float | None:
    """Mean of the ratios whose denominator is not 0, None without any."""
    defined = denominators != 0
    return _mean(numerators[defined] / denominators[defined])
