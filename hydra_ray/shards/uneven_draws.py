"""Which rows of shards an epoch has, where members' disagreement says how often each is drawn.

An epoch has as many rows as there are, however unevenly they are drawn. A row's rate follows its disagreement between
two ends, 1 / cap and cap times the average, so that rows on which members agree are still seen and a few odd ones do
not fill the batches. Rates are drawn from with as little chance as there can be (systematic resampling): a row of rate
2.3 comes two or three times, whatever the seed. Everything follows from rates and generator, in the order in which
windows of rows are read; what members say, the caller knows.

N rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hydra_ray.shards.schema import ShardRows

_BISECTIONS = 60
_TRIFLE = 1e-12  # of the largest disagreement: less counts as that, so that there are logarithms


@dataclass(frozen=True)
class UnevenDraws:
    """How often rows are drawn.

    Attributes:
        cap: a row is drawn at most so many times as often as the average, and at least its reciprocal; 1 or more.
        disagreement: of rows, float64 [n], 0 or more; NaN where fewer than two members answered.
    """

    cap: float
    disagreement: Callable[[ShardRows], np.ndarray]


def draw_rates(disagreement_N: np.ndarray, cap: float) -> np.ndarray:
    """How often each row is drawn in an epoch on average: float64 [N], its mean 1.

    clip(c * disagreement, 1 / cap, cap), with c such that the mean is 1. Rows without disagreement known have rate 1.
    """
    rates_N = np.ones(len(disagreement_N))
    known_N = ~np.isnan(disagreement_N)
    values = disagreement_N[known_N]
    if not len(values) or values.max() <= 0:
        return rates_N
    logs = np.log(np.maximum(values, _TRIFLE * values.max()))
    bound = math.log(cap)
    low = -bound - logs.max()  # c at which no row is above 1 / cap, and below at which none is below cap
    high = bound - logs.min()
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        mean = np.exp(np.clip(logs + middle, -bound, bound)).mean()
        low, high = (middle, high) if mean < 1 else (low, middle)
    found = np.exp(np.clip(logs + high, -bound, bound))
    rates_N[known_N] = found / found.mean()
    return rates_N


class EpochDraws:
    """The draws of one epoch, window by window."""

    def __init__(self, num_rows: int, rng: np.random.Generator) -> None:
        """Of `num_rows` rows in all windows, whose rates sum to that."""
        self._num_rows = num_rows
        self._rng = rng
        self._offset = rng.random()
        self._rows_done = 0
        self._rates_done = 0.0
        self._drawn = 0

    def of_window(self, rates_n: np.ndarray) -> np.ndarray:
        """Positions of the next window's rows that are drawn, once for each time, in no useful order: int64."""
        order = self._rng.permutation(len(rates_n))
        ends = self._rates_done + np.cumsum(rates_n[order])
        self._rates_done = float(ends[-1])
        self._rows_done += len(rates_n)
        if self._rows_done == self._num_rows:
            ends[-1] = self._num_rows  # so that rounding neither loses a row nor adds one
        until = np.ceil(np.minimum(ends, self._num_rows) - self._offset).astype(np.int64)
        counts = np.diff(until, prepend=self._drawn)
        self._drawn = int(until[-1])
        return np.repeat(order, counts)
