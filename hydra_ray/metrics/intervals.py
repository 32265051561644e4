"""Bootstrap intervals of figures: which rows are resampled together, and between which quantiles the figures lie.

Sets of rows that have nothing to do with each other are resampled each by itself (strata); measures of the same row,
and a row and its view, are resampled together (pairs). Not here: the figures themselves (`fidelity.py`,
`classification.py`), and which sets are views of which (`evaluation/metrics_json.py`).

N, K rows of two sets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from hydra_ray.randomness import numpy_generator

Rows = npt.NDArray[np.int64]
Interval = tuple[float, float]
_TAIL = 0.025


def bootstrap_interval(
    statistic: Callable[..., float], sizes: Sequence[int], seed: int, num_samples: int = 1000
) -> Interval:
    """95 % percentile bootstrap interval over rows (Efron & Tibshirani 1993, ch. 13), stratified.

    Every stratum is resampled by itself to its own size, so none is ever empty. `scipy.stats.bootstrap` is no faster,
    keeps all samples in memory and refuses a stratum of one row.

    Args:
        statistic: for each stratum row numbers, int64 [its size] with repetition, -> the figure on those rows. What
            belongs together, such as student and ensemble on the same rows, is indexed by the same numbers.
        sizes: rows of each stratum.
        seed: of the row numbers; equal seeds and sizes resample equally.
        num_samples: bootstrap samples.

    Returns:
        The 2.5 % and 97.5 % quantiles of the figure, each rounded outwards to a sample's. Samples for which it is not
        defined (not a number) are left out; an end that lies among samples of infinite ratios is infinite. Not a
        number where the figure is defined for no sample.

    Raises:
        ValueError: a stratum without rows, or no samples.
    """
    if min(sizes) < 1 or num_samples < 1:
        raise ValueError(f"needs rows and samples, got {list(sizes)} rows and {num_samples} samples")
    generator = numpy_generator(seed)
    samples = ([generator.integers(size, size=size) for size in sizes] for _ in range(num_samples))
    figures_S = np.array([statistic(*rows) for rows in samples])
    defined = figures_S[~np.isnan(figures_S)]
    if not len(defined):
        return math.nan, math.nan
    low = np.quantile(defined, _TAIL, method="lower")
    high = np.quantile(defined, 1 - _TAIL, method="higher")
    return float(low), float(high)


def ratio_interval(student_N: Tensor, ensemble_N: Tensor, seed: int, num_samples: int = 1000) -> Interval:
    """Of a ratio of means over paired rows (of NLL, MI, ...).

    For the mean of one measure, let the other be ones.

    Raises:
        ValueError: no rows, no samples, or the two differ in rows.
    """
    student, ensemble = _paired(student_N, ensemble_N)

    def ratio(rows: Rows) -> float:
        return _ratio(student[rows].mean(), ensemble[rows].mean())

    return bootstrap_interval(ratio, [len(student)], seed, num_samples)


def spearman_interval(student_N: Tensor, ensemble_N: Tensor, seed: int, num_samples: int = 1000) -> Interval:
    """Of Spearman's rank correlation over paired rows.

    Raises:
        ValueError: no rows, no samples, or the two differ in rows.
    """
    from scipy.stats import rankdata  # `spearmanr` takes ten times as long to check its arguments

    student, ensemble = _paired(student_N, ensemble_N)

    def correlation(rows: Rows) -> float:
        ranks = rankdata(student[rows]), rankdata(ensemble[rows])
        return math.nan if any(np.ptp(each) == 0 for each in ranks) else float(np.corrcoef(*ranks)[0, 1])

    return bootstrap_interval(correlation, [len(student)], seed, num_samples)


def auroc_ratio_interval(
    student: tuple[Tensor, Tensor],
    ensemble: tuple[Tensor, Tensor],
    seed: int,
    num_samples: int = 1000,
    *,
    is_view: bool,
) -> Interval:
    """Of the student's AUROC over the ensemble's, for telling unknown rows from known ones.

    Args:
        student: its scores of the known rows [N] and of the unknown ones [K].
        ensemble: its scores of the same rows.
        seed: of the row numbers.
        num_samples: bootstrap samples.
        is_view: whether unknown row i is a view of known row i; then a row and its view are resampled together, else
            known and unknown rows apart.

    Raises:
        ValueError: a set without rows, no samples, or sets that differ in rows where they should not.
    """
    for one, other in zip(student, ensemble, strict=True):
        _paired(one, other)
    num_known, num_unknown = (len(scores) for scores in student)
    if is_view and num_known != num_unknown:
        raise ValueError(f"{num_unknown} unknown rows are no views of {num_known} known ones, row by row")
    ranks = [_ranked(*scores) for scores in (student, ensemble)]

    def ratio(known: Rows, unknown: Rows) -> float:
        return _ratio(*(auroc_of_ranks(of_known[known], of_unknown[unknown]) for of_known, of_unknown in ranks))

    if is_view:
        return bootstrap_interval(lambda rows: ratio(rows, rows), [num_known], seed, num_samples)
    return bootstrap_interval(ratio, [num_known, num_unknown], seed, num_samples)


def auroc_difference_interval(
    student: tuple[Tensor, Tensor], ensemble: tuple[Tensor, Tensor], seed: int, num_samples: int = 1000
) -> Interval:
    """Of the student's area under the ROC curve less the ensemble's, for telling the classes of the same rows apart.

    Args:
        student: its scores of the rows of class 0 [N] and of class 1 [K]; each class is resampled by itself.
        ensemble: its scores of the same rows.
        seed: of the row numbers.
        num_samples: bootstrap samples.

    Raises:
        ValueError: a class without rows, no samples, or the two differ in rows.
    """
    for one, other in zip(student, ensemble, strict=True):
        _paired(one, other)
    own, others = (_ranked(*scores) for scores in (student, ensemble))

    def difference(first: Rows, second: Rows) -> float:
        found, expected = (auroc_of_ranks(ranks[0][first], ranks[1][second]) for ranks in (own, others))
        return found - expected

    return bootstrap_interval(difference, [len(each) for each in student], seed, num_samples)


def auroc_of_ranks(known_N: Rows, unknown_K: Rows) -> float:
    """`classification.auroc` of scores given as whole-number ranks, by counting: P(unknown > known) + P(equal) / 2."""
    size = int(max(known_N.max(), unknown_K.max())) + 1
    known, unknown = (np.bincount(ranks, minlength=size) for ranks in (known_N, unknown_K))
    below = known.cumsum() - known
    return float(unknown @ (below + known / 2)) / (len(known_N) * len(unknown_K))


def _ranked(known_N: Tensor, unknown_K: Tensor) -> tuple[Rows, Rows]:
    """Scores as ranks among both sets, found once and not for every sample."""
    scores = np.concatenate([_array(known_N), _array(unknown_K)])
    ranks = np.unique(scores, return_inverse=True)[1]
    return ranks[: len(known_N)], ranks[len(known_N) :]


def _ratio(student: Any, ensemble: Any) -> float:
    """Infinite where only the ensemble's is 0, not a number where both are."""
    if ensemble != 0:
        return float(student / ensemble)
    return math.copysign(math.inf, student) if student else math.nan


def _paired(student_N: Tensor, ensemble_N: Tensor) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    if student_N.shape != ensemble_N.shape or student_N.ndim != 1:
        raise ValueError(f"needs paired rows [N], got {list(student_N.shape)} and {list(ensemble_N.shape)}")
    return _array(student_N), _array(ensemble_N)


def _array(values_N: Tensor) -> npt.NDArray[np.float64]:
    return values_N.detach().double().cpu().numpy()
