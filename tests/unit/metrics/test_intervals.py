"""Bootstrap intervals: against every resample there is, against fresh data, pairs that stay together, few rows."""

import itertools
import math

import numpy as np
import pytest
import torch

from hydra_ray.data import TEST, VALIDATION, SplitId, unknown_split
from hydra_ray.evaluation.metrics_json import Answers, metrics_of
from hydra_ray.metrics.classification import auroc
from hydra_ray.metrics.fidelity import spearman
from hydra_ray.metrics.intervals import (
    auroc_of_ranks,
    auroc_ratio_interval,
    bootstrap_interval,
    ratio_interval,
    spearman_interval,
)
from hydra_ray.tasks import CLASSIFICATION

pytestmark = pytest.mark.usefixtures("one_thread")


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def area(known, unknown):
    """AUROC by its definition, of scores without ties."""
    return float(np.searchsorted(np.sort(known.numpy()), unknown.numpy()).mean() / len(known))


def auroc_ratio(student, ensemble):
    below = area(*ensemble)
    return area(*student) / below if below else math.inf


def counts_of_every_sample(size):
    """How often each row occurs in every sample there is: [size ** size, size]."""
    rows = np.array(list(itertools.product(range(size), repeat=size)))
    return (rows[:, :, None] == np.arange(size)).sum(1)


def areas(scores, known_counts, unknown_counts):
    """AUROC of samples given by counts, each known one with each unknown one."""
    above = (scores[1][None, :] > scores[0][:, None]).double().numpy()
    return known_counts @ above @ unknown_counts.T / above.size


def assert_quantiles(interval, figures):
    """Of figures that come in steps."""
    low, high = interval
    assert np.mean(figures < low) < 0.032
    assert np.mean(figures <= low) > 0.018
    assert np.mean(figures > high) < 0.032
    assert np.mean(figures >= high) > 0.018


# ---------------------------------------------------------------- against all resamples and against fresh data


@pytest.mark.parametrize("is_view", [False, True], ids=["apart", "pairs"])
def test_auroc_interval_is_that_of_all_resamples_there_are(is_view):
    sizes = (5, 5) if is_view else (4, 5)
    student, ensemble = ((normal(sizes[0], seed=seed), normal(sizes[1], seed=seed + 1) + 1) for seed in (1, 7))
    known, unknown = (counts_of_every_sample(size) for size in sizes)
    with np.errstate(divide="ignore"):
        figures = areas(student, known, unknown) / areas(ensemble, known, unknown)
    figures = np.diag(figures) if is_view else figures.flatten()
    assert_quantiles(auroc_ratio_interval(student, ensemble, 3, 4000, is_view=is_view), figures)


def test_ratio_interval_is_that_of_all_resamples_there_are():
    ensemble = normal(5).abs() + 0.5
    student = 1.1 * ensemble + 0.2 * normal(5, seed=1)
    rows = torch.tensor(list(itertools.product(range(5), repeat=5)))
    figures = (student[rows].mean(1) / ensemble[rows].mean(1)).numpy()
    assert_quantiles(ratio_interval(student, ensemble, seed=3, num_samples=4000), figures)


def known_and_viewed(rows, seed):
    """Scores of rows that differ much, and of their views, which score a little more; a student has its own scale."""
    each = normal(2, 3, rows, seed=seed)
    own, others = each[:, 0] * 2
    return tuple(
        (scores, scores + 0.5 + 0.2 * noise[1]) for scores, noise in ((own + others, each[0]), (others, each[1]))
    )


def test_the_interval_of_pairs_is_as_wide_as_fresh_data_differ_and_that_of_independent_sets_is_too_wide():
    fresh = [auroc_ratio(*known_and_viewed(200, seed)) for seed in range(0, 8_000, 10)]
    width_of_fresh = 2 * 1.96 * np.std(fresh)
    widths = {True: [], False: []}
    inside = []
    for seed in range(50_000, 50_400, 10):
        student, ensemble = known_and_viewed(200, seed)
        for is_view, found in widths.items():
            low, high = auroc_ratio_interval(student, ensemble, seed, 200, is_view=is_view)
            found.append(high - low)
            if is_view:
                inside.append(low <= np.mean(fresh) <= high)
    assert np.mean(widths[True]) == pytest.approx(width_of_fresh, rel=0.15)
    assert np.mean(widths[False]) > 2 * width_of_fresh
    assert np.mean(inside) > 0.85


def test_bootstrap_of_a_mean_has_the_width_of_the_normal_interval():
    values = normal(400)
    low, high = bootstrap_interval(lambda rows: values[rows].mean().item(), [400], seed=1)
    half = 1.96 * values.std().item() / 20
    assert low == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean().item() + half, abs=0.1 * half)


# ---------------------------------------------------------------- which rows stay together


def test_strata_keep_their_sizes_and_are_drawn_apart():
    seen = []

    def note(*strata):
        seen.append(strata)
        return 0.0

    bootstrap_interval(note, [50, 50, 3], seed=0, num_samples=200)
    assert {tuple(map(len, strata)) for strata in seen} == {(50, 50, 3)}
    assert all(rows.min() >= 0 and rows.max() < len(rows) for strata in seen for rows in strata)
    first, second = (np.concatenate([strata[place] for strata in seen]) for place in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / math.sqrt(len(first))
    assert not any(np.array_equal(one, two) for one, two, _ in seen)


def test_student_and_ensemble_are_resampled_together():
    ensemble = normal(30).abs() + 0.1
    assert ratio_interval(2 * ensemble, ensemble, seed=0) == pytest.approx((2, 2))
    for is_view in (False, True):
        scores = (normal(30), normal(30, seed=1) + 1)
        assert auroc_ratio_interval(scores, scores, 0, 100, is_view=is_view) == (1, 1)


def test_intervals_repeat_with_their_seed():
    values, ones = normal(30), torch.ones(30, dtype=torch.float64)
    first, again, other = (ratio_interval(values, ones, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_unknown_set_of_views_has_the_interval_of_pairs():
    """What `evaluate` knows of a set decides, and nothing else."""
    outputs = {TEST: normal(60, 4, 3), VALIDATION: normal(30, 4, 3, seed=1)}
    outputs[unknown_split("viewed")] = 0.8 * outputs[TEST]
    student = {**outputs, TEST: normal(60, 4, 3, seed=2), unknown_split("viewed"): 0.7 * normal(60, 4, 3, seed=2)}
    labels = {name: torch.arange(len(outputs[name])) % 3 for name in (TEST, VALIDATION)}
    said = {
        "ensemble": {name: CLASSIFICATION.of_members(each) for name, each in outputs.items()},
        "hydra": {name: CLASSIFICATION.of_members(each) for name, each in student.items()},
    }
    found = {}
    for views in (frozenset[SplitId](), frozenset({unknown_split("viewed")})):
        metrics = metrics_of(Answers(CLASSIFICATION, said, labels, views), {}, {}, num_samples=100, seed=5)
        low, high = metrics["fidelity"]["hydra"]["interval_95"]["auroc_ratio"]["viewed"]
        assert low < metrics["fidelity"]["hydra"]["auroc_ratio"]["viewed"] < high
        found[len(views)] = high - low
    assert found[1] < 0.6 * found[0]


# ---------------------------------------------------------------- few rows, and what is not defined


@pytest.mark.parametrize("sizes", [(1, 1), (1, 5), (5, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_a_handful_of_rows_has_an_interval(sizes, seed):
    student, ensemble = (
        (normal(sizes[0], seed=each), normal(sizes[1], seed=each + 1) + 9) for each in (seed, seed + 50)
    )
    low, high = auroc_ratio_interval(student, ensemble, seed, 100, is_view=False)
    assert (low, high) == (1, 1)
    mixed = tuple(scores % 2 for scores in ensemble)
    low, high = auroc_ratio_interval(student, mixed, seed, 100, is_view=False)  # its AUROC may be 0: no upper end
    assert not math.isnan(low)
    assert low <= high


def test_samples_without_the_figure_are_left_out():
    student, ensemble = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])
    low, high = spearman_interval(student, ensemble, seed=0)
    assert (low, high) == pytest.approx((-1, 1))
    assert spearman(student, ensemble) == pytest.approx(0.5)
    assert all(math.isnan(end) for end in spearman_interval(torch.ones(3), ensemble, seed=0))
    assert ratio_interval(torch.ones(4), torch.zeros(4), seed=0) == (math.inf, math.inf)
    assert all(math.isnan(end) for end in ratio_interval(torch.zeros(4), torch.zeros(4), seed=0))


def test_wrong_rows_are_refused():
    with pytest.raises(ValueError, match="paired rows"):
        ratio_interval(torch.ones(3), torch.ones(4), 0)
    with pytest.raises(ValueError, match=r"needs rows and samples, got \[3, 0\] rows"):
        bootstrap_interval(lambda *rows: 0.0, [3, 0], 0)
    scores = (torch.ones(3), torch.ones(4))
    with pytest.raises(ValueError, match="4 unknown rows are no views of 3 known ones"):
        auroc_ratio_interval(scores, scores, 0, is_view=True)


@pytest.mark.parametrize("levels", [3, 1000])
def test_auroc_by_counting_is_auroc_with_ties(levels):
    rng = np.random.default_rng(levels)
    known, unknown = rng.integers(levels, size=180), rng.integers(levels, size=120)
    expected = auroc(torch.from_numpy(known), torch.from_numpy(unknown))
    assert auroc_of_ranks(known, unknown) == pytest.approx(expected, abs=1e-12)
