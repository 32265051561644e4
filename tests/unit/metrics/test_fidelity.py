"""Fidelity of a student to its ensemble against literal versions, and the bootstrap."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data import TEST, unknown_split
from hydra_ray.evaluation.metrics_json import Answers, fidelity_figures
from hydra_ray.losses import classification as losses
from hydra_ray.metrics import classification as metrics
from hydra_ray.metrics import fidelity, uncertainty
from hydra_ray.tasks import CLASSIFICATION

quick = settings(deadline=None, max_examples=30)
EXACT = {"rel": 1e-10, "abs": 1e-10}


@st.composite
def pairs(draw, min_heads=1):
    """Student logits [N, H, C] and ensemble logits [N, M, C] with M >= H."""
    num_rows, num_classes = draw(st.integers(2, 6)), draw(st.integers(2, 4))
    num_heads = draw(st.integers(min_heads, 4))
    num_members = draw(st.integers(num_heads, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return tuple(torch.from_numpy(2 * rng.normal(size=(num_rows, k, num_classes))) for k in (num_heads, num_members))


def softmax(logits):
    exps = [math.exp(z) for z in logits]
    return [e / sum(exps) for e in exps]


@quick
@given(pairs())
def test_member_kl_pairs_head_m_with_member_m(pair):
    student, ensemble = pair
    terms = [
        sum(a * math.log(a / b) for a, b in zip(softmax(member), softmax(head), strict=True))
        for heads, members in zip(student.tolist(), ensemble.tolist(), strict=True)
        for head, member in zip(heads, members, strict=False)
    ]
    assert fidelity.member_kl(*pair) == pytest.approx(sum(terms) / len(terms), **EXACT)
    at_one = losses.hydra_loss(student, ensemble[:, : student.shape[1]], 1.0).mean().item()
    assert fidelity.member_kl(*pair) == pytest.approx(at_one, **EXACT)


@quick
@given(pairs())
def test_member_agreement(pair):
    hits = [
        head.index(max(head)) == member.index(max(member))
        for heads, members in zip(pair[0].tolist(), pair[1].tolist(), strict=True)
        for head, member in zip(heads, members, strict=False)
    ]
    expected = pytest.approx(sum(hits) / len(hits), **EXACT) if pair[0].shape[1] > 1 else None
    assert fidelity.member_agreement(*pair) == expected


def literal_ranks(values):
    """1-based ranks, the mean rank where values are equal."""
    return [sum(other < v for other in values) + (values.count(v) + 1) / 2 for v in values]


@quick
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20))
def test_spearman_is_the_correlation_of_ranks(rows):
    first, second = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    actual = fidelity.spearman(first, second)
    if len(set(first.tolist())) == 1 or len(set(second.tolist())) == 1:
        assert actual is None
        return
    a, b = np.array(literal_ranks(first.tolist())), np.array(literal_ranks(second.tolist()))
    a, b = a - a.mean(), b - b.mean()
    assert actual == pytest.approx(sum(a * b) / math.sqrt(sum(a * a) * sum(b * b)), **EXACT)


def predictors(num_heads=3, num_members=5):
    torch.manual_seed(0)
    ensemble = {"test": torch.randn(40, num_members, 4), "noise": 3 * torch.randn(30, num_members, 4)}
    student = {
        name: logits[:, :num_heads] + 0.3 * torch.randn(len(logits), num_heads, 4) for name, logits in ensemble.items()
    }
    return student, ensemble, torch.arange(40) % 4


def figures_of(student, ensemble, labels, unknown=("noise",)):
    """The student's entry in metrics.json."""
    split = {"test": TEST} | {name: unknown_split(name) for name in unknown}
    found = {
        name: {split[each]: CLASSIFICATION.of_members(logits[each]) for each in split}
        for name, logits in (("ensemble", ensemble), ("hydra", student))
    }
    return fidelity_figures(Answers(CLASSIFICATION, found, {TEST: labels}), "hydra")


def test_fidelity_figures_follow_their_definitions():
    student, ensemble, labels = predictors()
    figures = figures_of(student, ensemble, labels)

    def nll(logits):
        return -logits.double().softmax(-1).mean(1).log()[range(40), labels].mean().item()

    def knowledge(logits):
        return uncertainty.uncertainty(logits).knowledge

    def auroc(logits):
        return metrics.auroc(knowledge(logits["test"]), knowledge(logits["noise"]))

    def pairwise(logits):
        return uncertainty.expected_pairwise_kl(logits).mean().item()

    assert figures["nll_ratio"] == pytest.approx(nll(student["test"]) / nll(ensemble["test"]))
    assert figures["auroc_ratio"] == {"noise": pytest.approx(auroc(student) / auroc(ensemble))}
    assert figures["pairwise_kl_ratio"] == pytest.approx(pairwise(student["test"]) / pairwise(ensemble["test"]))
    assert list(figures["mutual_information_ratio"]) == ["test", "noise"]
    assert list(figures["spearman_mutual_information"]) == ["test", "noise"]
    for name in ("test", "noise"):
        ours, theirs = knowledge(student[name]), knowledge(ensemble[name])
        assert figures["mutual_information_ratio"][name] == pytest.approx((ours.mean() / theirs.mean()).item())
        assert figures["spearman_mutual_information"][name] == fidelity.spearman(ours, theirs)


def test_the_names_are_those_of_the_schema():
    figures = figures_of(*predictors(), unknown=())
    assert set(figures) == {
        "nll_ratio",
        "auroc_ratio",
        "spearman_mutual_information",
        "mutual_information_ratio",
        "pairwise_kl_ratio",
        "member_agreement",
        "member_kl",
    }
    assert figures["auroc_ratio"] == {}


def test_an_exact_copy_keeps_everything():
    _, ensemble, labels = predictors()
    figures = figures_of(ensemble, ensemble, labels)
    ones = [figures["nll_ratio"], figures["pairwise_kl_ratio"], figures["member_agreement"]]
    by_set = ("auroc_ratio", "spearman_mutual_information", "mutual_information_ratio")
    assert [*ones, *(value for name in by_set for value in figures[name].values())] == pytest.approx([1] * 8)
    assert figures["member_kl"] == pytest.approx(0, abs=1e-14)


def test_one_head_has_an_nll_ratio_alone():
    figures = figures_of(*predictors(num_heads=1))
    assert figures.pop("nll_ratio") > 0
    assert figures == {
        "auroc_ratio": {"noise": None},
        "spearman_mutual_information": {"test": None, "noise": None},
        "mutual_information_ratio": {"test": None, "noise": None},
        "pairwise_kl_ratio": None,
        "member_agreement": None,
        "member_kl": None,
    }


def test_a_dirichlet_student_has_scores_to_compare():
    student, ensemble, _ = predictors()
    figures = fidelity.score_fidelity(
        {name: uncertainty.dirichlet_scores(logits[:, 0]) for name, logits in student.items()},
        {name: uncertainty.scores(logits) for name, logits in ensemble.items()},
        ["noise"],
    )
    assert figures["auroc_ratio"]["noise"] is not None
    assert figures["mutual_information_ratio"]["test"] is not None


def test_ratios_to_nothing_are_undefined():
    assert fidelity.ratio_of_means(torch.ones(3), torch.zeros(3)) is None
    assert fidelity.auroc_ratio(torch.ones(2), torch.ones(2), torch.ones(2), torch.zeros(2)) is None


def test_extreme_logits_give_finite_figures():
    extreme = torch.tensor([[[1e3, -1e3], [-1e3, 1e3]], [[1e3, -1e3], [1e3, -1e3]]])
    assert math.isfinite(fidelity.member_kl(extreme, extreme.flip(1)))


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"3 heads, but only 2 members"):
        fidelity.member_kl(torch.zeros(4, 3, 5), torch.zeros(4, 2, 5))
    with pytest.raises(ValueError, match=r"\[4, 2, 5\] and ensemble \[3, 2, 5\]"):
        fidelity.member_agreement(torch.zeros(4, 2, 5), torch.zeros(3, 2, 5))
