"""Measures of uncertainty against literal versions: one row, one member, one pair at a time."""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import digamma

from hydra_ray.metrics import uncertainty as u
from hydra_ray.metrics.registry import LazyScores

quick = settings(deadline=None, max_examples=30)
EXACT = {"rel": 1e-10, "abs": 1e-10}


@st.composite
def logits(draw, min_members=1):
    shape = (draw(st.integers(1, 4)), draw(st.integers(min_members, 5)), draw(st.integers(2, 5)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.01, 1.0, 4.0]))
    return torch.from_numpy(scale * rng.normal(size=shape))


def probabilities(logits_MC):
    rows = [[math.exp(z) for z in member] for member in logits_MC]
    return [[e / sum(row) for e in row] for row in rows]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def column_means(rows):
    return [mean(column) for column in zip(*rows, strict=True)]


def entropy(p):
    return -sum(a * math.log(a) for a in p)


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def assert_rows(actual_N, function, logits_NMC):
    assert actual_N.dtype == torch.float64
    expected = [function(row) for row in logits_NMC.tolist()]
    assert actual_N.tolist() == pytest.approx(expected, **EXACT)


@quick
@given(logits())
def test_total_data_and_knowledge(logits_NMC):
    actual = u.uncertainty(logits_NMC)
    assert_rows(actual.total, lambda row: entropy(column_means(probabilities(row))), logits_NMC)
    assert_rows(actual.data, lambda row: mean(map(entropy, probabilities(row))), logits_NMC)

    def knowledge(row):
        members = probabilities(row)
        return entropy(column_means(members)) - mean(map(entropy, members))

    assert_rows(actual.knowledge, knowledge, logits_NMC)
    assert (actual.knowledge >= 0).all()


@quick
@given(logits())
def test_mixture_is_the_mean_of_probabilities(logits_NMC):
    for actual, row in zip(u.mixture_log_probs(logits_NMC).exp().tolist(), logits_NMC.tolist(), strict=True):
        assert actual == pytest.approx(column_means(probabilities(row)), **EXACT)


def test_mixture_is_not_the_mean_of_logits():
    logits_NMC = torch.tensor([[[6.0, 0.0], [0.0, 2.0]]])
    assert u.mixture_log_probs(logits_NMC).exp()[0, 0].item() == pytest.approx(0.55836, abs=1e-5)
    assert logits_NMC.mean(1).softmax(-1)[0, 0].item() == pytest.approx(0.88080, abs=1e-5)


@quick
@given(logits(min_members=2))
def test_expected_pairwise_kl_divides_by_the_pairs_of_different_members(logits_NMC):
    def literal(row):
        return mean(kl(p, q) for p, q in permutations(probabilities(row), 2))

    assert_rows(u.expected_pairwise_kl(logits_NMC), literal, logits_NMC)


@quick
@given(logits())
def test_reverse_mutual_information(logits_NMC):
    def literal(row):
        members = probabilities(row)
        return mean(kl(column_means(members), p) for p in members)

    actual_N = u.reverse_mutual_information(logits_NMC)
    assert_rows(actual_N, literal, logits_NMC)
    num_members = logits_NMC.shape[1]
    over_all_pairs_N = u.expected_pairwise_kl(logits_NMC) * (num_members - 1) / num_members
    difference_N = over_all_pairs_N - u.uncertainty(logits_NMC).knowledge
    torch.testing.assert_close(actual_N, difference_N, rtol=1e-10, atol=1e-12)


@quick
@given(logits())
def test_variation_ratio(logits_NMC):
    def literal(row):
        votes = [member.index(max(member)) for member in row]
        return 1 - Counter(votes).most_common(1)[0][1] / len(votes)

    assert_rows(u.variation_ratio(logits_NMC), literal, logits_NMC)


@quick
@given(logits(min_members=2))
def test_disagreement(logits_NMC):
    def literal(row):
        votes = [member.index(max(member)) for member in row]
        return mean(float(a != b) for a, b in permutations(votes, 2))

    assert_rows(u.disagreement(logits_NMC), literal, logits_NMC)


@quick
@given(logits(), st.sampled_from([0.0, 1.0]))
def test_dirichlet_closed_form(logits_NMC, offset):
    logits_NC = logits_NMC[:, 0]
    actual = u.dirichlet_uncertainty(logits_NC, offset)
    scores = u.dirichlet_scores(logits_NC, offset)
    log_probs_NC = u.dirichlet_log_probs(logits_NC, offset)
    for n, row in enumerate(logits_NC.tolist()):
        alpha = [math.exp(z) + offset for z in row]
        p = [a / sum(alpha) for a in alpha]
        data = sum(q * (digamma(sum(alpha) + 1) - digamma(a + 1)) for q, a in zip(p, alpha, strict=True))
        epkl = (len(alpha) - 1) / sum(alpha)
        assert log_probs_NC[n].exp().tolist() == pytest.approx(p, **EXACT)
        assert actual.total[n].item() == pytest.approx(entropy(p), **EXACT)
        assert actual.data[n].item() == pytest.approx(data, **EXACT)
        assert actual.knowledge[n].item() == pytest.approx(entropy(p) - data, **EXACT)
        assert scores["expected_pairwise_kl"][n].item() == pytest.approx(epkl, **EXACT)
        reverse = epkl - (entropy(p) - data)
        assert scores["reverse_mutual_information"][n].item() == pytest.approx(reverse, **EXACT)


def test_dirichlet_closed_form_is_the_limit_of_many_members():
    torch.manual_seed(0)
    alpha = torch.tensor([3.0, 1.5, 0.8], dtype=torch.float64)
    members = torch.distributions.Dirichlet(alpha).sample(torch.Size([20000])).log().unsqueeze(0)
    sampled, exact = u.scores(members), u.dirichlet_scores(alpha.log().unsqueeze(0))
    for name, value in exact.items():
        assert sampled[name].item() == pytest.approx(value.item(), rel=0.05), name


def test_two_certain_members_that_disagree_know_nothing():
    logits_NMC = torch.tensor([[[100.0, 0.0], [0.0, 100.0]]])
    total, data, knowledge = u.uncertainty(logits_NMC)
    assert total.item() == pytest.approx(math.log(2))
    assert data.item() == pytest.approx(0, abs=1e-12)
    assert knowledge.item() == pytest.approx(math.log(2))
    assert u.disagreement(logits_NMC).item() == 1
    assert u.variation_ratio(logits_NMC).item() == 0.5


def test_one_member_has_no_disagreement():
    logits_N1C = torch.randn(7, 1, 4, dtype=torch.float64)
    assert u.uncertainty(logits_N1C).knowledge.eq(0).all()
    measures = (u.expected_pairwise_kl, u.reverse_mutual_information, u.variation_ratio, u.disagreement)
    for measure in measures:
        assert measure(logits_N1C).eq(0).all(), measure.__name__
    assert set(u.scores(logits_N1C)) == {"entropy", "data_uncertainty"}


def test_knowledge_keeps_its_digits_where_members_nearly_agree():
    gap = 1e-6
    logits_NMC = torch.tensor([[[gap, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    # To second order, with p = 1/2 and dp = gap / 4: MI = dp^2 / (8 p (1 - p)), EPKL = dp^2 / (2 p (1 - p)).
    shift = gap / 4
    assert u.uncertainty(logits_NMC).knowledge.item() == pytest.approx(shift**2 / 2, rel=1e-3)
    assert u.expected_pairwise_kl(logits_NMC).item() == pytest.approx(2 * shift**2, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_extreme_logits_give_finite_measures(dtype):
    extreme = torch.tensor([[[1e3, -1e3, 0.0], [-1e3, 1e3, 0.0]], [[-1e3] * 3, [1e3] * 3]]).to(dtype)
    for name, score_N in {**u.scores(extreme), **u.dirichlet_scores(extreme[:, 0])}.items():
        assert score_N.isfinite().all(), name
        assert score_N.ge(0).all(), name
    assert u.mixture_log_probs(extreme).isfinite().all()
    assert u.dirichlet_log_probs(extreme[:, 0], 1.0).isfinite().all()


def test_chunks_change_nothing(monkeypatch):
    logits_NMC = torch.randn(11, 3, 4, dtype=torch.float64)
    whole, mixture = u.scores(logits_NMC), u.mixture_log_probs(logits_NMC)
    monkeypatch.setattr(u, "CHUNK_ELEMENTS", 30)
    for name, score_N in u.scores(logits_NMC).items():
        torch.testing.assert_close(score_N, whole[name], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(u.mixture_log_probs(logits_NMC), mixture, rtol=1e-14, atol=1e-14)


def test_no_rows_give_no_scores():
    assert {len(score_N) for score_N in u.scores(torch.zeros(0, 3, 4)).values()} == {0}


def test_wrong_shapes_are_refused():
    for function in (u.uncertainty, u.scores, u.variation_ratio, u.mixture_log_probs):
        with pytest.raises(ValueError, match=r"\[N, M, C\], got shape \[2, 3\]"):
            function(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"\[N, C\]"):
        u.dirichlet_uncertainty(torch.zeros(2, 3, 4))


def test_a_score_is_computed_when_it_is_asked_for_and_once():
    asked = []

    def compute(name):
        asked.append(name)
        return torch.zeros(2)

    found = LazyScores(["entropy", "disagreement"], compute)
    assert "entropy" in found
    assert list(found) == ["entropy", "disagreement"]
    assert asked == []
    assert found["entropy"] is found["entropy"]
    assert asked == ["entropy"]
    assert found.get("mutual_information") is None
