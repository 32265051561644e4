"""Selective prediction: up to which uncertainty to answer, at what risk, for how many of the rows.

The threshold is chosen on one half of the rows; its coverage, its risk and the bound of the risk are measured on the
other, so that the bound holds although the threshold was chosen: of rows like these, drawn independently, 95 % of the
draws give a bound above the true risk (Clopper & Pearson 1934). Numpy arrays in, plain numbers out.

N rows; uncertainty is higher where a row is less certain.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from hydra_ray.randomness import numpy_generator

CONFIDENCE = 0.95
"""Probability with which the bound of a risk holds."""


class Selection(NamedTuple):
    """A threshold on an uncertainty: rows up to it are answered.

    Attributes:
        threshold: the largest uncertainty that is answered; None where no row may be, at this risk.
        coverage: share of rows that are answered.
        risk: share of wrong ones among them; None where there are none.
        risk_bound: the true risk is below it with probability `CONFIDENCE`.
    """

    threshold: float | None
    coverage: float
    risk: float | None
    risk_bound: float


def select(uncertainty_N: np.ndarray, is_wrong_N: np.ndarray, risk: float, seed: int) -> Selection:
    """The threshold with the largest coverage at a risk of at most `risk`, and what it does on other rows.

    Args:
        uncertainty_N: float [N].
        is_wrong_N: bool [N].
        risk: share of wrong answers that is accepted, in (0, 1).
        seed: which half of the rows it is chosen on.

    Raises:
        ValueError: fewer than 2 rows, or arrays of different lengths.
    """
    if len(uncertainty_N) != len(is_wrong_N) or len(uncertainty_N) < 2:
        raise ValueError(f"needs two arrays of at least 2 rows, got {len(uncertainty_N)} and {len(is_wrong_N)}")
    order = numpy_generator(seed).permutation(len(uncertainty_N))
    chosen_on, measured_on = np.array_split(order, 2)
    threshold = largest_threshold(uncertainty_N[chosen_on], is_wrong_N[chosen_on], risk)
    return selection_at(threshold, uncertainty_N[measured_on], is_wrong_N[measured_on])


def largest_threshold(uncertainty_N: np.ndarray, is_wrong_N: np.ndarray, risk: float) -> float | None:
    """The largest uncertainty up to which at most a share `risk` of the rows is wrong; None where there is none.

    Rows of equal uncertainty are answered together or not at all.
    """
    order = np.argsort(uncertainty_N, kind="stable")
    ascending_N = uncertainty_N[order]
    risk_N = np.cumsum(is_wrong_N[order]) / np.arange(1, len(order) + 1)
    is_last_of_equals_N = np.append(ascending_N[1:] > ascending_N[:-1], True)
    allowed = np.flatnonzero((risk_N <= risk) & is_last_of_equals_N)
    return float(ascending_N[allowed[-1]]) if len(allowed) else None


def selection_at(threshold: float | None, uncertainty_N: np.ndarray, is_wrong_N: np.ndarray) -> Selection:
    """What a threshold does on some rows."""
    is_answered_N = np.zeros(len(uncertainty_N), bool) if threshold is None else uncertainty_N <= threshold
    num_answered = int(is_answered_N.sum())
    num_wrong = int(is_wrong_N[is_answered_N].sum())
    return Selection(
        threshold,
        num_answered / len(uncertainty_N),
        num_wrong / num_answered if num_answered else None,
        upper_bound(num_wrong, num_answered),
    )


def upper_bound(num_wrong: int, num_rows: int, confidence: float = CONFIDENCE) -> float:
    """One-sided Clopper-Pearson bound of a share, from `num_wrong` of `num_rows` independent rows; 1 without any."""
    if num_wrong >= num_rows:
        return 1.0
    from scipy.stats import beta

    found: Any = beta.ppf(confidence, num_wrong + 1, num_rows - num_wrong)
    return float(found)


def conformal_quantile(scores_N: np.ndarray, coverage: float) -> float | None:
    """The ceil((N + 1) coverage)-th smallest score: a new row's is at most that with probability `coverage`.

    It holds for rows that are exchangeable with these (Vovk et al. 2005, split conformal prediction).

    Returns:
        The quantile; None where N is too small for this coverage, so that nothing can be excluded.
    """
    place = math.ceil((len(scores_N) + 1) * coverage - 1e-9)
    return float(np.sort(scores_N)[place - 1]) if place <= len(scores_N) else None


def least_ambiguous_scores(probs_NC: np.ndarray) -> np.ndarray:
    """1 - p of every class (Sadinle et al. 2019): [N, C]; of the label it is the row's score."""
    return 1 - probs_NC


def adaptive_scores(probs_NC: np.ndarray) -> np.ndarray:
    """Probability of the classes that are at least as likely as each class, of itself the half: [N, C].

    Romano et al. (2020) add a random share of the class's own probability; the half is their score without chance. With
    all of it, a network that is nearly always sure would need sets of several classes.
    """
    order_NC = np.argsort(-probs_NC, axis=1, kind="stable")
    descending_NC = np.take_along_axis(probs_NC, order_NC, axis=1)
    cumulated_NC = np.cumsum(descending_NC, axis=1)
    cumulated_NC[:, :-1][descending_NC[:, :-1] == descending_NC[:, 1:]] = np.inf  # of equals the last one's counts
    of_equals_NC = np.minimum.accumulate(cumulated_NC[:, ::-1], axis=1)[:, ::-1]
    scores_NC = np.empty_like(of_equals_NC)
    np.put_along_axis(scores_NC, order_NC, of_equals_NC, axis=1)
    return scores_NC - probs_NC / 2
