"""Diversity measures against literal versions that count over rows and pairs of members."""

import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from hydra_ray.metrics import diversity, diversity_figures

quick = settings(deadline=None, max_examples=30)
EXACT = {"rel": 1e-10, "abs": 1e-10}


@st.composite
def votes(draw):
    """Predicted classes [N, M], right more often than not, and labels [N]."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num_rows, num_members, num_classes = (
        draw(st.integers(1, 30)),
        draw(st.integers(1, 5)),
        draw(st.integers(2, 4)),
    )
    labels = rng.integers(num_classes, size=num_rows)
    right = rng.random((num_rows, num_members)) < draw(st.sampled_from([0.0, 0.5, 0.9, 1.0]))
    predicted = np.where(right, labels[:, None], rng.integers(num_classes, size=right.shape))
    return torch.from_numpy(predicted), torch.from_numpy(labels)


def figures_of(predicted, labels):
    """Every registered measure, from logits that are highest where a member votes."""
    return diversity_figures(torch.nn.functional.one_hot(predicted).double(), labels, "logits")


def pair_counts(predicted, labels):
    """(n11, n00, n10, n01) for each pair of members."""
    for i, j in combinations(range(len(predicted[0])), 2):
        outcomes = Counter((row[i] == y, row[j] == y) for row, y in zip(predicted, labels, strict=True))
        yield (
            outcomes[True, True],
            outcomes[False, False],
            outcomes[True, False],
            outcomes[False, True],
        )


def mean(values):
    values = [value for value in values if value is not None]
    return pytest.approx(sum(values) / len(values), **EXACT) if values else None


def ratio(numerator, denominator):
    return numerator / denominator if denominator else None


@quick
@given(votes())
def test_pair_measures(batch):
    predicted, labels = batch[0].tolist(), batch[1].tolist()
    counts = list(pair_counts(predicted, labels))
    n = len(labels)
    assert diversity.q_statistic(*batch) == mean(ratio(a * b - c * d, a * b + c * d) for a, b, c, d in counts)
    assert diversity.correlation(*batch) == mean(
        ratio(a * b - c * d, math.sqrt((a + c) * (d + b) * (a + d) * (c + b))) for a, b, c, d in counts
    )
    assert diversity.disagreement(*batch) == mean((c + d) / n for _, _, c, d in counts)
    assert diversity.double_fault(*batch) == mean(b / n for _, b, _, _ in counts)


@quick
@given(votes())
def test_cohen_kappa(batch):
    columns = list(zip(*batch[0].tolist(), strict=True))
    kappas = []
    for first, second in combinations(columns, 2):
        n = len(first)
        observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
        chance = sum(first.count(c) * second.count(c) for c in set(first)) / n**2
        kappas.append(ratio(observed - chance, 1 - chance))
    assert diversity.cohen_kappa(batch[0]) == mean(kappas)


def test_cohen_kappa_agrees_with_scikit_learn():
    predicted = torch.from_numpy(np.random.default_rng(0).integers(3, size=(100, 2)))
    expected = cohen_kappa_score(predicted[:, 0].numpy(), predicted[:, 1].numpy())
    assert diversity.cohen_kappa(predicted) == pytest.approx(expected, **EXACT)


@quick
@given(votes())
def test_fleiss_kappa(batch):
    rows = batch[0].tolist()
    num_members = len(rows[0])
    if num_members == 1:
        assert diversity.fleiss_kappa(batch[0]) is None
        return
    agreement = sum(mean_agreement(row) for row in rows) / len(rows)
    everything = [c for row in rows for c in row]
    chance = sum((everything.count(c) / len(everything)) ** 2 for c in set(everything))
    expected = ratio(agreement - chance, 1 - chance)
    actual = diversity.fleiss_kappa(batch[0])
    assert actual == (None if expected is None else pytest.approx(expected, **EXACT))


def mean_agreement(row):
    pairs = list(combinations(row, 2))
    return sum(a == b for a, b in pairs) / len(pairs)


def test_fleiss_kappa_of_the_textbook_example():
    # Fleiss 1971 as given in Wikipedia: 10 subjects, 14 raters, 5 classes, kappa = 0.210.
    counts = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    predicted = torch.tensor([[c for c, n in enumerate(row) for _ in range(n)] for row in counts])
    assert diversity.fleiss_kappa(predicted) == pytest.approx(0.210, abs=5e-4)


@quick
@given(votes())
def test_measures_from_the_number_of_right_members(batch):
    rows = [sum(vote == y for vote in row) for row, y in zip(batch[0].tolist(), batch[1].tolist(), strict=True)]
    members = batch[0].shape[1]
    figures = figures_of(*batch)
    if members == 1:
        assert set(figures.values()) == {None}
        return
    entropy = sum(min(right, members - right) / (members - math.ceil(members / 2)) for right in rows)
    assert figures["entropy"] == pytest.approx(entropy / len(rows), **EXACT)
    kohavi_wolpert = sum(right * (members - right) for right in rows) / members**2 / len(rows)
    assert figures["kohavi_wolpert_variance"] == pytest.approx(kohavi_wolpert, **EXACT)
    wrong = [members - right for right in rows]
    shares = {i: wrong.count(i) / len(wrong) for i in range(members + 1)}
    one = sum(i * share / members for i, share in shares.items())
    two = sum(i * (i - 1) * share / (members * (members - 1)) for i, share in shares.items())
    expected = None if one == 0 else pytest.approx(1 - two / one, **EXACT)
    assert figures["generalised_diversity"] == expected


def test_kohavi_wolpert_variance_follows_from_disagreement():
    # Kuncheva & Whitaker 2003: KW = (L - 1) / (2 L) * mean pairwise disagreement.
    predicted, labels = torch.randint(3, (200, 5)), torch.randint(3, (200,))
    expected = 4 / 10 * (diversity.disagreement(predicted, labels) or 0)
    assert diversity.kohavi_wolpert_variance(predicted, labels) == pytest.approx(expected, **EXACT)


def test_members_always_right_leave_most_undefined():
    labels = torch.tensor([0, 1, 2, 1])
    figures = figures_of(labels.unsqueeze(1).expand(4, 3), labels)
    undefined = {name for name, value in figures.items() if value is None}
    assert undefined == {"q_statistic", "correlation", "generalised_diversity"}
    assert figures["cohen_kappa"] == figures["fleiss_kappa"] == pytest.approx(1)
    assert figures["disagreement"] == figures["double_fault"] == figures["entropy"] == 0


def test_one_and_the_same_prediction_has_no_kappa():
    predicted = torch.zeros(5, 3, dtype=torch.int64)
    assert diversity.cohen_kappa(predicted) is None
    assert diversity.fleiss_kappa(predicted) is None


def test_two_different_wrong_classes_are_no_binary_disagreement():
    assert diversity.disagreement(torch.tensor([[1, 2]]), torch.tensor([0])) == 0
    assert diversity.double_fault(torch.tensor([[1, 2]]), torch.tensor([0])) == 1


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\[N, M\], got shape \[3\]"):
        diversity.fleiss_kappa(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"2 rows of predictions, but labels of shape \[3\]"):
        diversity.entropy(torch.zeros(2, 3), torch.zeros(3))
