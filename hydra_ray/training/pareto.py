"""Trials that are compared by several figures at once: which no other is better than, and which of these to take.

Plain arrays: T trials by K objectives, `badness_TK`, less is better in each; infinite where a trial has no value.
"""

from __future__ import annotations

import statistics

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def dominates(one: ArrayLike, other: ArrayLike) -> NDArray[np.bool_]:
    """Whether one trial is no worse than another in any objective and better in one; [..., K] of both, broadcast."""
    one_K = np.asarray(one, np.float64)
    other_K = np.asarray(other, np.float64)
    return np.asarray((one_K <= other_K).all(axis=-1) & (one_K < other_K).any(axis=-1))


def on_front(badness_TK: ArrayLike) -> NDArray[np.bool_]:
    """Which trials no other one dominates, the Pareto front: bool [T]."""
    all_TK = np.asarray(badness_TK, np.float64)
    return np.array([not dominates(all_TK, own_K).any() for own_K in all_TK], dtype=bool)


def nearest_to_ideal(front_TK: ArrayLike) -> int:
    """The place of the trial of a front that is nearest to the ideal point: the best of each objective, all at once.

    Every objective is scaled to 0 for the best on the front and 1 for the worst, and the distance is Euclid's (Zeleny
    1973, "Compromise programming"); so neither units nor weights matter. Of equal ones the first. With one objective it
    is the best trial.
    """
    all_TK = np.asarray(front_TK, np.float64)
    best_K = all_TK.min(axis=0)
    worst_K = np.where(np.isfinite(all_TK), all_TK, best_K).max(axis=0)
    with np.errstate(invalid="ignore"):
        scaled_TK = (all_TK - best_K) / np.where(worst_K > best_K, worst_K - best_K, 1.0)
    scaled_TK[np.isnan(scaled_TK)] = 0.0  # infinite for all
    return int(np.linalg.norm(scaled_TK, axis=1).argmin())


class Earlier:
    """Trials that have been compared at one epoch, in the order of their numbers; a new one joins them."""

    def __init__(self, num_objectives: int) -> None:
        self._badness_TK: Floats = np.empty((0, num_objectives))
        self._num_better_T = np.empty(0, np.int64)

    def is_beaten_by_half(self, own: tuple[float, ...]) -> bool:
        """Whether a trial is worse than the median of those before it, of which it then is one.

        With one objective that is said of its value. With several it is said of how many of all those dominate a trial
        (Fonseca and Fleming 1993), so that a trial on the front is never beaten.
        """
        num_better = int(dominates(self._badness_TK, own).sum())
        self._num_better_T = self._num_better_T + dominates(own, self._badness_TK)
        others = self._badness_TK[:, 0] if len(own) == 1 else self._num_better_T
        value = own[0] if len(own) == 1 else num_better
        is_beaten = len(others) > 0 and value > statistics.median(others.tolist())
        self._badness_TK = np.vstack([self._badness_TK, own])
        self._num_better_T = np.append(self._num_better_T, num_better)
        return is_beaten
