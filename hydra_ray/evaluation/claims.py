"""Claims of a study: whether what was measured with several seeds decides them.

An interval is Student's over seeds, whose figures are paired: all rows of a study are measured with each of them. A
share of a gain has Fieller's interval, which is exact for normal figures whatever the gain's own uncertainty.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "does not hold", "undecided"]
LEVEL = 0.95


@dataclass(frozen=True)
class Measured:
    """A mean and its interval over seeds; an interval of one seed is everything.

    Attributes:
        mean: over seeds, of a share the ratio of means; None where there is nothing to be measured.
        low: end of the interval at `LEVEL`.
        high: its other end.
    """

    mean: float | None
    low: float
    high: float

    @property
    def is_bounded(self) -> bool:
        """Whether there is an interval: with two seeds or more."""
        return math.isfinite(self.low) and math.isfinite(self.high)


NOTHING = Measured(None, -math.inf, math.inf)


def difference(of: Sequence[float], over: Sequence[float]) -> Measured:
    """Mean of `of - over` over seeds; the same seeds in both, in the same order."""
    return interval([a - b for a, b in zip(of, over, strict=True)])


def interval(values: Sequence[float]) -> Measured:
    """Mean and Student's interval."""
    if not values:
        return NOTHING
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Measured(mean, -math.inf, math.inf)
    half = _quantile(len(values)) * statistics.stdev(values) / math.sqrt(len(values))
    return Measured(mean, mean - half, mean + half)


def share(of: Sequence[float], over: Sequence[float], best: Sequence[float]) -> Measured:
    """`(of - over) / (best - over)`, means over seeds; nothing where the gain `best - over` may be zero or less.

    The interval (Fieller 1954) holds the shares b for which the mean of (of - over) - b (best - over) is not told from
    zero: (a - b g)^2 <= t^2 (v_aa - 2 b v_ag + b^2 v_gg), with a and g the means, and v the variances of these.
    """
    gain = difference(best, over)
    if gain.low <= 0:
        return NOTHING
    parts = [a - b for a, b in zip(of, over, strict=True)]
    gains = [a - b for a, b in zip(best, over, strict=True)]
    a = statistics.fmean(parts)
    g = statistics.fmean(gains)
    t_squared = _quantile(len(parts)) ** 2 / len(parts)
    square = g * g - t_squared * statistics.variance(gains)
    linear = a * g - t_squared * statistics.covariance(parts, gains)
    constant = a * a - t_squared * statistics.variance(parts)
    half = math.sqrt(max(0.0, linear * linear - square * constant))
    return Measured(a / g, (linear - half) / square, (linear + half) / square)


def verdict(measured: Measured, *, above: float | None, below: float | None) -> Verdict:
    """Whether the whole interval is on the side of the bound that a claim says, or on the other."""
    if measured.mean is None:
        return "undecided"
    if above is not None:
        return "holds" if measured.low > above else "does not hold" if measured.high <= above else "undecided"
    assert below is not None, "checked by the configuration"
    return "holds" if measured.high < below else "does not hold" if measured.low >= below else "undecided"


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a statement: it holds if all its claims hold, and does not if one does not."""
    if "does not hold" in verdicts:
        return "does not hold"
    return "undecided" if "undecided" in verdicts else "holds"


def _quantile(number: int) -> float:
    from scipy import stats

    return float(stats.t.ppf((1 + LEVEL) / 2, number - 1))
