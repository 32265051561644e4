"""Claims over seeds: intervals against slow versions, verdicts by where an interval lies."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hydra_ray.evaluation.claims import NOTHING, Measured, all_of, difference, interval, share, verdict

values = st.floats(-10, 10)
seeds = st.lists(st.tuples(values, values, values), min_size=3, max_size=6)


@given(st.lists(values, min_size=2, max_size=6))
def test_an_interval_is_students(found):
    got = interval(found)
    half = stats.sem(found) * stats.t.ppf(0.975, len(found) - 1)
    assert got.mean == pytest.approx(np.mean(found), abs=1e-9)
    assert (got.low, got.high) == pytest.approx((got.mean - half, got.mean + half), abs=1e-6)


@given(seeds)
def test_a_difference_is_of_pairs(found):
    of, over, _ = (list(each) for each in zip(*found, strict=True))
    assert difference(of, over) == interval([a - b for a, b in zip(of, over, strict=True)])


def test_one_seed_decides_nothing_and_none_is_not_measured():
    one = difference([3.0], [1.0])
    assert (one.mean, one.low, one.high, one.is_bounded) == (2.0, -math.inf, math.inf, False)
    assert verdict(one, above=0, below=None) == "undecided"
    assert difference([], []) == NOTHING
    assert verdict(NOTHING, above=None, below=0.5) == "undecided"


@given(seeds, st.floats(-3, 3))
def test_a_share_is_in_its_interval_unless_its_bound_is_told_from_zero(found, bound):
    """Literally: b is outside where (of - over) - b (best - over) has an interval without zero."""
    of, over, best = (np.array(each) for each in zip(*found, strict=True))
    got = share(list(of), list(over), list(best))
    gain = difference(list(best), list(over))
    if gain.low <= 1e-3:
        assert (got == NOTHING) == (gain.low <= 0)
        return
    assert got.mean == pytest.approx((of - over).mean() / (best - over).mean(), abs=1e-6)
    rest = interval(list(of - over - bound * (best - over)))
    assert rest.mean is not None
    if min(abs(rest.low), abs(rest.high)) > 1e-4:
        assert (got.low <= bound <= got.high) == (rest.low <= 0 <= rest.high)
        side = verdict(got, above=bound, below=None)
        assert side == ("holds" if rest.low > 0 else "does not hold" if rest.high < 0 else "undecided")


@pytest.mark.parametrize(
    ("low", "high", "above", "below", "expected"),
    [
        (0.1, 0.3, 0.0, None, "holds"),
        (-0.3, -0.1, 0.0, None, "does not hold"),
        (-0.1, 0.1, 0.0, None, "undecided"),
        (0.0, 0.0, 0.0, None, "does not hold"),
        (0.1, 0.3, None, 0.5, "holds"),
        (0.6, 0.7, None, 0.5, "does not hold"),
        (0.4, 0.7, None, 0.5, "undecided"),
        (0.5, 0.5, None, 0.5, "does not hold"),
    ],
)
def test_a_verdict_is_where_the_whole_interval_lies(low, high, above, below, expected):
    assert verdict(Measured((low + high) / 2, low, high), above=above, below=below) == expected


def test_a_statement_needs_all_its_claims():
    assert all_of(["holds", "holds"]) == "holds"
    assert all_of(["holds", "undecided"]) == "undecided"
    assert all_of(["undecided", "does not hold"]) == "does not hold"
