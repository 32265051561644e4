"""Selective and conformal prediction: against definitions, exact distributions, MAPIE's rules, and fresh rows."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from hydra_ray.metrics.selective import (
    adaptive_scores,
    conformal_quantile,
    largest_threshold,
    least_ambiguous_scores,
    select,
    selection_at,
    upper_bound,
)


def literal_threshold(uncertainty, is_wrong, risk):
    """Every value tried, the largest that is allowed."""
    allowed = [
        value
        for value in sorted(set(uncertainty))
        if np.mean([w for u, w in zip(uncertainty, is_wrong, strict=True) if u <= value]) <= risk
    ]
    return max(allowed, default=None)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30), st.sampled_from([0.0, 0.1, 0.3]))
def test_the_threshold_is_the_largest_at_which_the_risk_holds(rows, risk):
    uncertainty = np.array([float(u) for u, _ in rows])
    is_wrong = np.array([w for _, w in rows])
    assert largest_threshold(uncertainty, is_wrong, risk) == literal_threshold(
        uncertainty.tolist(), is_wrong.tolist(), risk
    )


@pytest.mark.parametrize(("wrong", "rows"), [(0, 10), (0, 500), (3, 20), (19, 20)])
def test_the_bound_leaves_five_percent_below(wrong, rows):
    """Clopper and Pearson: at the bound, so few errors have probability 5 %."""
    assert binom.cdf(wrong, rows, upper_bound(wrong, rows)) == pytest.approx(0.05, rel=1e-6)


def test_nothing_is_known_without_rows():
    assert upper_bound(0, 0) == 1.0
    assert upper_bound(4, 4) == 1.0
    assert selection_at(None, np.ones(3), np.zeros(3, bool)) == (None, 0.0, None, 1.0)


def test_the_bound_holds_although_the_threshold_was_chosen():
    """400 draws of rows whose risk at every threshold is known: the bound fails in 5 % of them, and few more."""
    rng = np.random.default_rng(0)
    failures = 0
    for draw in range(400):
        uncertainty = rng.random(600)
        is_wrong = rng.random(600) < uncertainty**2 / 2  # P(wrong | u); below t it is t^2 / 6 on average
        found = select(uncertainty, is_wrong, 0.05, draw)
        true_risk = found.threshold**2 / 6 if found.threshold is not None else 0.0
        failures += true_risk > found.risk_bound
    assert failures <= 0.05 * 400 + 3 * np.sqrt(400 * 0.05 * 0.95)


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("number", [3, 10, 19])
def test_a_new_row_lies_below_the_quantile_as_often_as_promised(number, coverage):
    """Of exchangeable rows each rank of the new one is as likely: exactly, by counting."""
    quantile = conformal_quantile(np.arange(1, number + 1, dtype=float), coverage)
    ranks = np.arange(number + 1) + 0.5  # where a new score may fall among the others
    share = 1.0 if quantile is None else np.mean(ranks < quantile)
    assert share >= coverage - 1e-12
    assert quantile is None or share < coverage + 1 / (number + 1) + 1e-12


def test_too_few_rows_exclude_nothing():
    assert conformal_quantile(np.arange(18.0), 0.95) is None
    assert conformal_quantile(np.arange(19.0), 0.95) == 18.0


def literal_adaptive(probs):
    return np.array([[sum(other for other in row if other >= p) - p / 2 for p in row] for row in probs])


@given(st.lists(st.lists(st.integers(1, 4), min_size=4, max_size=4), min_size=1, max_size=5))
def test_adaptive_scores_sum_the_classes_that_are_as_likely(weights):
    probs = np.array(weights, float) / np.sum(weights, axis=1, keepdims=True)
    np.testing.assert_allclose(adaptive_scores(probs), literal_adaptive(probs), rtol=1e-12)


@pytest.mark.parametrize("scores_of", [least_ambiguous_scores, adaptive_scores])
@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_sets_hold_the_truth_as_often_as_promised(scores_of, coverage):
    """2,000 new rows after 500, twenty times over: the mean coverage is the promised one."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(20):
        probs = rng.dirichlet(np.ones(6) * 0.5, 2500)
        labels = (probs.cumsum(axis=1) > rng.random((2500, 1))).argmax(axis=1)
        scores = scores_of(probs)[np.arange(2500), labels]
        found.append(np.mean(scores[500:] <= conformal_quantile(scores[:500], coverage)))
    assert np.mean(found) == pytest.approx(coverage, abs=0.012)


def test_equals_mapie_where_it_is_installed():
    mapie = pytest.importorskip("mapie.classification", reason="MAPIE is not installed: pip install mapie")
    rng = np.random.default_rng(2)
    probs = rng.dirichlet(np.ones(5), 300)
    labels = np.concatenate([np.arange(5), rng.integers(0, 5, 295)])

    class Given:
        """A fitted classifier that says what stands in its inputs."""

        classes_ = np.arange(5)

        def fit(self, rows, labels):
            return self

        def predict_proba(self, rows):
            return np.asarray(rows)

        def predict(self, rows):
            return np.asarray(rows).argmax(axis=1)

        def get_params(self, deep=True):
            return {}

        def __sklearn_is_fitted__(self):
            return True

    class NotRandom(np.random.RandomState):
        """MAPIE takes a random share of the label's own probability off adaptive scores; ours is the half."""

        def uniform(self, *args, **options):
            return np.full_like(super().uniform(*args, **options), 0.5)

    for score, scores_of in (("lac", least_ambiguous_scores), ("aps", adaptive_scores)):
        theirs = mapie.SplitConformalClassifier(
            Given(), confidence_level=[0.9, 0.95], conformity_score=score, prefit=True, random_state=NotRandom()
        )
        theirs.conformalize(probs[:200], labels[:200])
        _, sets = theirs.predict_set(
            probs[200:], conformity_score_params={"include_last_label": "randomized"} if score == "aps" else {}
        )
        scores = scores_of(probs)
        for place, coverage in enumerate((0.9, 0.95)):
            quantile = conformal_quantile(scores[np.arange(200), labels[:200]], coverage)
            ours = scores[200:] <= quantile + 1e-9
            np.testing.assert_array_equal(ours, sets[:, :, place], err_msg=f"{score} {coverage}")


def test_all_pairs_of_lengths_are_checked():
    for lengths in itertools.product((0, 1, 3), (2,)):
        with pytest.raises(ValueError, match="at least 2 rows"):
            select(np.zeros(lengths[0]), np.zeros(lengths[1], bool), 0.1, 0)
