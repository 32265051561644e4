"""The area under the ROC curve of two classes, and the interval of a difference of two, against literal versions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hydra_ray.metrics.classification import by_label, classification_figures, log_odds, quality_figures, roc_auc
from hydra_ray.metrics.intervals import auroc_difference_interval
from hydra_ray.tasks import CLASSIFICATION


def log_probs_of(odds):
    odds = torch.as_tensor(odds, dtype=torch.float64)
    return torch.stack([torch.zeros_like(odds), odds], 1).log_softmax(1)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 1)), min_size=2, max_size=30))
def test_it_is_the_share_of_pairs_in_order_and_half_of_those_that_are_equal(rows):
    odds, labels = map(list, zip(*rows, strict=True))
    found = roc_auc(log_probs_of(odds), torch.tensor(labels))
    zeros, ones = ([odd for odd, label in rows if label == value] for value in (0, 1))
    if not zeros or not ones:
        assert found is None
        return
    pairs = [(one > zero) + (one == zero) / 2 for one in ones for zero in zeros]
    assert found == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


def test_probabilities_that_round_to_one_are_no_ties():
    log_probs_N2 = log_probs_of([45.0, 50.0, 55.0])
    assert log_probs_N2[:, 1].exp().tolist() == [1.0, 1.0, 1.0]
    assert roc_auc(log_probs_N2, torch.tensor([0, 1, 1])) == 1


def test_figures_of_two_classes_have_it_and_of_more_have_not():
    logits_NMC = torch.randn(20, 3, 2, generator=torch.Generator().manual_seed(0))
    labels_N = torch.arange(20) % 2
    probabilities = logits_NMC.double().softmax(-1).mean(1)[:, 1]
    found = classification_figures(logits_NMC, labels_N)["roc_auc"]
    assert found == pytest.approx(roc_auc_score(labels_N.numpy(), probabilities.numpy()))
    assert "roc_auc" not in quality_figures(torch.randn(20, 3).log_softmax(1), labels_N)


def predictions(seed, noise):
    rng = np.random.default_rng(seed)
    labels_N = torch.arange(400) % 2
    return log_probs_of(labels_N.numpy() + noise * rng.normal(size=400)), labels_N


def test_the_interval_of_a_difference_resamples_both_on_the_same_rows_of_each_class():
    (student, labels_N), (ensemble, _) = predictions(0, 1.0), predictions(1, 0.8)
    each = [by_label(log_odds(log_probs), labels_N) for log_probs in (student, ensemble)]
    low, high = auroc_difference_interval(each[0], each[1], 3, 1000)
    difference = roc_auc(student, labels_N) - roc_auc(ensemble, labels_N)
    assert low < difference < high
    rng = np.random.default_rng(5)
    odds = [log_odds(log_probs).numpy() for log_probs in (student, ensemble)]
    labels = labels_N.numpy()
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([rng.choice(np.flatnonzero(labels == value), 200) for value in (0, 1)])
        drawn.append(np.subtract(*(roc_auc_score(labels[rows], each[rows]) for each in odds)))
    assert (low, high) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.008)
    assert auroc_difference_interval(each[0], each[0], 3, 100) == (0, 0)


def test_a_students_fidelity_says_what_it_lost_with_an_interval():
    generator = torch.Generator().manual_seed(0)
    members = torch.randn(60, 3, 2, generator=generator)
    heads = members + 0.5 * torch.randn(60, 3, 2, generator=generator)
    labels_N = (members.mean(1).argmax(1) + (torch.rand(60, generator=generator) < 0.2)) % 2
    student, ensemble = (CLASSIFICATION.of_members(each) for each in (heads, members))
    found = CLASSIFICATION.figures.fidelity(student, ensemble, labels_N, None)["roc_auc_difference"]
    expected = roc_auc(student.distribution, labels_N) - roc_auc(ensemble.distribution, labels_N)
    assert found == pytest.approx(expected)
    intervals = CLASSIFICATION.figures.fidelity_intervals(student, ensemble, labels_N, 200, 0)
    low, high = intervals["roc_auc_difference"]
    assert low <= found <= high
    one_class = CLASSIFICATION.figures.fidelity(student, ensemble, torch.ones(60, dtype=torch.long), None)
    assert "roc_auc_difference" not in one_class
