"""Metrics against literal versions written from the definitions, with loops and plain Python numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from hydra_ray.metrics import SCORES, uncertainty
from hydra_ray.metrics import classification as metrics

quick = settings(deadline=None, max_examples=30)
EXACT = {"rel": 1e-10, "abs": 1e-10}


@st.composite
def predictions(draw, min_rows=1):
    """Log-probabilities [N, C] and labels [N]; few distinct rows make ties in confidence."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows, num_classes = draw(st.integers(min_rows, 40)), draw(st.integers(2, 5))
    distinct = rng.normal(size=(draw(st.integers(1, num_rows)), num_classes)) * draw(st.sampled_from([0.5, 3.0]))
    logits = distinct[rng.integers(len(distinct), size=num_rows)]
    log_probs = torch.from_numpy(logits).log_softmax(-1)
    return log_probs, torch.from_numpy(rng.integers(num_classes, size=num_rows))


@st.composite
def scores(draw):
    """Scores of known and unknown rows, on a coarse grid so that there are ties."""
    grid = st.integers(0, 6).map(lambda k: k / 4 - 0.5)
    known, unknown = (draw(st.lists(grid, min_size=1, max_size=25)) for _ in range(2))
    return torch.tensor(known, dtype=torch.float64), torch.tensor(unknown, dtype=torch.float64)


def rows_of(log_probs_NC, labels_N):
    """Probabilities, label, confidence and error of each row."""
    for logs, label in zip(log_probs_NC.tolist(), labels_N.tolist(), strict=True):
        yield [math.exp(a) for a in logs], label, math.exp(max(logs)), float(logs.index(max(logs)) != label)


def sorted_with_shared_errors(log_probs_NC, labels_N):
    """(confidence, error) from the most confident; equal confidences share their mean error."""
    pairs = [(confidence, error) for _, _, confidence, error in rows_of(log_probs_NC, labels_N)]
    shared = []
    for confidence, _ in pairs:
        tied = [error for other, error in pairs if other == confidence]
        shared.append((confidence, sum(tied) / len(tied)))
    return sorted(shared, key=lambda pair: -pair[0])


@quick
@given(predictions())
def test_nll_brier_and_accuracy(batch):
    rows = list(rows_of(*batch))
    nll = -sum(math.log(p[y]) for p, y, _, _ in rows) / len(rows)
    brier = sum((a - (c == y)) ** 2 for p, y, _, _ in rows for c, a in enumerate(p)) / len(rows)
    assert metrics.nll(*batch) == pytest.approx(nll, **EXACT)
    assert metrics.brier(*batch) == pytest.approx(brier, **EXACT)
    assert metrics.accuracy(*batch) == pytest.approx(1 - sum(r[3] for r in rows) / len(rows), **EXACT)


def test_scikit_learn_agrees():
    log_probs_NC, labels_N = torch.randn(500, 4, dtype=torch.float64).log_softmax(-1), torch.arange(500) % 4
    probs, labels = log_probs_NC.exp().numpy(), labels_N.numpy()
    assert metrics.nll(log_probs_NC, labels_N) == pytest.approx(log_loss(labels, probs), **EXACT)
    brier = brier_score_loss(labels, probs, scale_by_half=False)
    assert metrics.brier(log_probs_NC, labels_N) == pytest.approx(brier, **EXACT)


@quick
@given(predictions(), st.sampled_from([1, 4, 15]))
def test_ece(batch, num_bins):
    rows = list(rows_of(*batch))
    expected = 0.0
    for i in range(num_bins):
        inside = [r for r in rows if i / num_bins < r[2] <= (i + 1) / num_bins or (i == 0 and r[2] == 0)]
        if inside:
            accuracy = sum(1 - r[3] for r in inside) / len(inside)
            confidence = sum(r[2] for r in inside) / len(inside)
            expected += len(inside) / len(rows) * abs(accuracy - confidence)
    assert metrics.ece(*batch, num_bins) == pytest.approx(expected, **EXACT)


def test_ece_defaults_to_fifteen_right_closed_bins():
    # 0.6 = 9 / 15 closes the ninth bin and 0.61 opens the tenth; ten bins would put both into the seventh.
    probs_NC = torch.tensor([[0.6, 0.4], [0.61, 0.39]], dtype=torch.float64)
    assert metrics.ece(probs_NC.log(), torch.tensor([0, 1])) == pytest.approx((0.4 + 0.61) / 2)
    assert metrics.ece(probs_NC.log(), torch.tensor([0, 1]), 1) == pytest.approx(abs(0.5 - 0.605))
    certain = torch.tensor([[0.0, -800.0]] * 4, dtype=torch.float64)
    assert metrics.ece(certain, torch.tensor([0, 0, 1, 1])) == pytest.approx(0.5)


@quick
@given(predictions(), st.sampled_from([1, 4, 15]))
def test_equal_mass_ece(batch, num_bins):
    rows = sorted_with_shared_errors(*batch)
    size, longer = divmod(len(rows), num_bins)
    expected, start = 0.0, 0
    for i in range(num_bins):
        end = start + size + (i < longer)
        expected += abs(sum(1 - error - confidence for confidence, error in rows[start:end])) / len(rows)
        start = end
    assert metrics.equal_mass_ece(*batch, num_bins) == pytest.approx(expected, **EXACT)


def literal_aurc(errors):
    return sum(sum(errors[:k]) / k for k in range(1, len(errors) + 1)) / len(errors)


@quick
@given(predictions())
def test_aurc_and_excess_aurc(batch):
    aurc = literal_aurc([error for _, error in sorted_with_shared_errors(*batch)])
    best = literal_aurc(sorted(row[3] for row in rows_of(*batch)))
    assert metrics.aurc(*batch) == pytest.approx(aurc, **EXACT)
    assert metrics.e_aurc(*batch) == pytest.approx(aurc - best, **EXACT)


def area_under_remaining_error(errors_most_confident_first):
    """Trapezoids under the error over ALL rows while the least confident go, one by one, to an oracle."""
    n = len(errors_most_confident_first)
    curve = [sum(errors_most_confident_first[: n - k]) / n for k in range(n + 1)]
    return sum((a + b) / 2 / n for a, b in pairwise(curve))


@quick
@given(predictions())
def test_prr(batch):
    errors = [error for _, error in sorted_with_shared_errors(*batch)]
    share = sum(errors) / len(errors)
    if round(sum(errors)) in (0, len(errors)):
        assert metrics.prr(*batch) is None
        return
    random = area_under_remaining_error([share] * len(errors))
    oracle = area_under_remaining_error(sorted(row[3] for row in rows_of(*batch)))
    expected = (random - area_under_remaining_error(errors)) / (random - oracle)
    assert metrics.prr(*batch) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@quick
@given(predictions(min_rows=2), st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=40, max_size=40))
def test_prr_by_an_uncertainty(batch, pool):
    """Against a loop over rows that are rejected one by one, the mean of all orders of rows that tie."""
    log_probs, labels = batch
    wrong = (log_probs.argmax(1) != labels).double().tolist()
    scores = [pool[row % len(pool)] for row in range(len(wrong))]
    found = metrics.prr(log_probs, labels, torch.tensor(scores, dtype=torch.float64))
    if sum(wrong) in (0, len(wrong)):
        assert found is None
        return
    ordered = []
    for level in sorted(set(scores)):
        tied = [error for error, score in zip(wrong, scores, strict=True) if score == level]
        ordered += [sum(tied) / len(tied)] * len(tied)
    random = area_under_remaining_error([sum(wrong) / len(wrong)] * len(wrong))
    oracle = area_under_remaining_error(sorted(wrong))
    expected = (random - area_under_remaining_error(ordered)) / (random - oracle)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_selective_prediction_of_an_oracle_and_of_its_opposite():
    confidence = torch.tensor([0.9, 0.8, 0.7, 0.6], dtype=torch.float64)
    log_probs_NC = torch.stack([confidence, 1 - confidence], 1).log()
    oracle, opposite = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 1, 0, 0])
    assert metrics.e_aurc(log_probs_NC, oracle) == pytest.approx(0)
    assert metrics.prr(log_probs_NC, oracle) == pytest.approx(1)
    assert metrics.prr(log_probs_NC, opposite) == pytest.approx(-1)
    assert metrics.aurc(log_probs_NC, oracle) == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


@quick
@given(predictions(min_rows=2), st.integers(0, 100))
def test_no_figure_depends_on_the_order_of_the_rows(batch, seed):
    order = torch.randperm(len(batch[1]), generator=torch.Generator().manual_seed(seed))
    shuffled = metrics.quality_figures(batch[0][order], batch[1][order])
    for name, value in metrics.quality_figures(*batch).items():
        assert shuffled[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-9)), name


@quick
@given(scores())
def test_auroc_counts_ties_as_half(batch):
    known, unknown = (part.tolist() for part in batch)
    wins = sum((u > k) + (u == k) / 2 for u in unknown for k in known)
    assert metrics.auroc(*batch) == pytest.approx(wins / len(known) / len(unknown), **EXACT)


def literal_average_precision(negatives, positives):
    """Sum over falling thresholds of the gain in recall times the precision there."""
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(negatives + positives), reverse=True):
        caught = sum(p >= threshold for p in positives)
        flagged = caught + sum(n >= threshold for n in negatives)
        recall = caught / len(positives)
        total += (recall - recall_before) * caught / flagged
        recall_before = recall
    return total


@quick
@given(scores())
def test_aupr_both_ways(batch):
    known, unknown = (part.tolist() for part in batch)
    assert metrics.aupr(*batch) == pytest.approx(literal_average_precision(known, unknown), **EXACT)
    flipped = literal_average_precision([-u for u in unknown], [-k for k in known])
    assert metrics.aupr_in(*batch) == pytest.approx(flipped, **EXACT)


@quick
@given(scores())
def test_fpr95_is_the_share_of_known_rows_flagged_when_95_percent_of_unknown_are_caught(batch):
    known, unknown = (part.tolist() for part in batch)
    for threshold in sorted(set(known + unknown), reverse=True):
        if sum(u >= threshold for u in unknown) / len(unknown) >= 0.95:
            expected = sum(k >= threshold for k in known) / len(known)
            break
    assert metrics.fpr95(*batch) == pytest.approx(expected, **EXACT)


def test_fpr95_takes_unknown_rows_as_positive():
    # One unknown row in ten hides among the known; the other way round one would find 0.
    known, unknown = torch.arange(10.0), torch.cat([torch.full((9,), 50.0), torch.tensor([-1.0])])
    assert metrics.fpr95(known, unknown) == 1.0
    assert metrics.fpr95(-unknown, -known) == pytest.approx(0.1)


def test_aupr_is_not_auroc():
    known, unknown = torch.arange(90.0), torch.full((10,), 44.5)
    assert metrics.auroc(known, unknown) == pytest.approx(0.5)
    assert metrics.aupr(known, unknown) == pytest.approx(10 / 55)


@pytest.mark.parametrize("scale", [1e-15, 1.0, 1e3])
def test_scores_of_any_size_are_ranked_exactly(scale):
    # torchmetrics would squash scores outside [0, 1] by a sigmoid and so tie the large ones.
    known, unknown = scale * torch.arange(0, 40, 2).double(), scale * torch.arange(1, 41, 2).double()
    assert metrics.auroc(known, unknown) == pytest.approx(210 / 400, **EXACT)


def test_temperature_is_found_again():
    torch.manual_seed(0)
    logits_NC = 2 * torch.randn(4000, 5, dtype=torch.float64)
    labels_N = torch.multinomial((logits_NC / 1.7).softmax(-1), 1)[:, 0]
    temperature = metrics.fit_temperature(logits_NC, labels_N)
    assert temperature == pytest.approx(1.7, rel=0.05)
    assert metrics.fit_temperature(logits_NC.log_softmax(-1), labels_N) == pytest.approx(temperature)
    at_best = metrics.calibrated_nll(logits_NC, labels_N, temperature)
    for factor in (0.999, 1.001):
        assert metrics.calibrated_nll(logits_NC, labels_N, factor * temperature) > at_best


@quick
@given(predictions(min_rows=3), st.sampled_from([0.01, 1.0, 30.0, 300.0]))
def test_no_temperature_of_a_grid_beats_the_fitted_one(batch, scale):
    batch = (scale * batch[0], batch[1])
    fitted = metrics.calibrated_nll(*batch, metrics.fit_temperature(*batch))
    grid = [metrics.calibrated_nll(*batch, t) for t in np.geomspace(0.01, 100, 60)]
    assert fitted <= min(grid) * (1 + 1e-7) + 1e-7


def test_temperature_stays_in_its_range_and_works_without_gradients():
    log_probs_NC = torch.tensor([[0.9, 0.1], [0.8, 0.2]]).log()
    with torch.no_grad():
        cold = metrics.fit_temperature(log_probs_NC, torch.tensor([0, 0]))
        hot = metrics.fit_temperature(log_probs_NC, torch.tensor([1, 1]))
    assert 0.01 <= cold < 0.1
    assert hot == pytest.approx(100)


QUALITY = {"nll", "brier", "accuracy", "ece", "ece_equal_mass", "aurc", "e_aurc", "prr"}
OF_SEVERAL = {score.name for score in SCORES.values() if score.outputs == "logits" and not score.of_one}
OF_SEVERAL |= {"prr_mutual_information"}
FIGURES = QUALITY | {"entropy", "data_uncertainty", "prr_entropy"} | OF_SEVERAL


def test_classification_figures_are_those_of_the_mixture():
    torch.manual_seed(0)
    logits_NMC, labels_N = torch.randn(50, 4, 3), torch.arange(50) % 3
    figures = metrics.classification_figures(logits_NMC, labels_N)
    mean_probs_NC = logits_NMC.double().softmax(-1).mean(1)
    assert set(figures) == FIGURES
    assert all(isinstance(value, float) for value in figures.values())
    assert figures["nll"] == pytest.approx(-mean_probs_NC[range(50), labels_N].log().mean().item())
    knowledge = uncertainty.uncertainty(logits_NMC).knowledge.mean().item()
    assert figures["mutual_information"] == pytest.approx(knowledge)


def test_one_member_has_no_figures_of_diversity():
    logits_NMC, labels_N = torch.randn(50, 1, 3), torch.arange(50) % 3
    figures = metrics.classification_figures(logits_NMC, labels_N)
    assert set(figures) == FIGURES
    assert {name for name, value in figures.items() if value is None} == OF_SEVERAL


def test_dirichlet_figures_have_the_same_names():
    logits_NC, labels_N = torch.randn(50, 3), torch.arange(50) % 3
    figures = metrics.predictive_figures(
        uncertainty.dirichlet_log_probs(logits_NC), labels_N, uncertainty.dirichlet_scores(logits_NC)
    )
    assert set(figures) == FIGURES
    assert {name for name, value in figures.items() if value is None} == {"variation_ratio", "disagreement"}


def test_detection_figures_are_named_after_measure_and_score():
    test, unknown = {"entropy": torch.tensor([0.0, 1.0])}, {"entropy": torch.tensor([2.0, 3.0])}
    figures = metrics.detection_figures(test, unknown)
    assert figures == {"auroc_entropy": 1, "aupr_entropy": 1, "aupr_in_entropy": 1, "fpr95_entropy": 0}
    with pytest.raises(ValueError, match="scores differ"):
        metrics.detection_figures(test, {"mutual_information": torch.ones(1)})


def test_extreme_log_probs_give_finite_figures():
    sure, opposite, unsure = [1e3, -1e3], [-1e3, 1e3], [0.0, 0.0]
    logits_NMC = torch.tensor([[sure, opposite], [sure, sure], [unsure, unsure]])
    labels_N = torch.tensor([0, 1, 0])
    figures = metrics.classification_figures(logits_NMC, labels_N)
    assert all(value is not None and math.isfinite(value) for value in figures.values())
    log_probs_NC = uncertainty.mixture_log_probs(logits_NMC)
    assert math.isfinite(
        metrics.calibrated_nll(log_probs_NC, labels_N, metrics.fit_temperature(log_probs_NC, labels_N))
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"\[2, 3\] and \[3\]"):
        metrics.nll(torch.zeros(2, 3), torch.zeros(3))
    with pytest.raises(ValueError, match="at least one row"):
        metrics.ece(torch.zeros(0, 3), torch.zeros(0))
    with pytest.raises(ValueError, match="got 0 and 2"):
        metrics.auroc(torch.zeros(0), torch.zeros(2))
    with pytest.raises(ValueError, match="NaN"):
        metrics.aupr(torch.zeros(2), torch.tensor([math.nan]))
