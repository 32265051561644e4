"""Members that are missing or have weights: a mask is what leaving them out is, a weight what showing them twice is."""

import pytest
import torch
from scipy.stats import norm

from hydra_ray.metrics import ALL_MEMBERS, Members, mixture_log_probs, scores
from hydra_ray.metrics.gaussian import moments_of, row_mixture_nll, with_weights
from hydra_ray.metrics.registry import SCORES, uncertainty_score
from hydra_ray.metrics.regression import (
    central_interval,
    mixture_cdf,
    regression_figures,
    row_crps,
    row_squared_error,
    variance_scores,
)
from hydra_ray.tasks import task_named

N, M, C = 40, 5, 3
OF_PAIRS = ("expected_pairwise_kl", "disagreement")


@pytest.fixture
def logits():
    return 3 * torch.randn(N, M, C, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def gaussians():
    return torch.randn(N, M, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def masked(kept: list[int]) -> Members:
    mask_NM = torch.zeros(N, M, dtype=torch.bool)
    mask_NM[:, kept] = True
    return Members.of(mask_NM)


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4], [1, 3], [2]])
def test_scores_of_a_mask_are_those_of_the_members_that_are_there(logits, gaussians, kept):
    for found, expected in (
        (scores(logits, masked(kept)), scores(logits[:, kept])),
        (variance_scores(gaussians, masked(kept)), variance_scores(gaussians[:, kept])),
    ):
        for name in expected:
            torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11)
        assert set(expected) <= set(found)
    if len(kept) == 1:
        assert float(scores(logits, masked(kept))["mutual_information"].max()) == 0
        assert float(scores(logits, masked(kept))["expected_pairwise_kl"].max()) == 0


def test_a_weight_of_two_is_a_member_shown_twice(logits, gaussians):
    twice = [0, 1, 1, 2, 3, 3, 4]
    members = Members.weighted([1, 2, 1, 2, 1], logits)
    torch.testing.assert_close(mixture_log_probs(logits, members), mixture_log_probs(logits[:, twice]))
    found = scores(logits, members)
    expected = scores(logits[:, twice])
    for name in set(expected) - set(OF_PAIRS):  # pairs of one member with itself are no pairs
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-11)
    mixture = with_weights(gaussians, members)
    shown_twice = gaussians[:, twice]
    targets_N = torch.linspace(-2, 2, N, dtype=torch.float64)
    for measure in (row_crps, row_squared_error, row_mixture_nll, mixture_cdf):
        torch.testing.assert_close(measure(mixture, targets_N), measure(shown_twice, targets_N), rtol=1e-9, atol=1e-11)
    for found, expected in (
        (moments_of(mixture), moments_of(shown_twice)),
        (central_interval(mixture), central_interval(shown_twice)),
    ):
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_pairs_weigh_the_product_of_their_members(logits):
    weights_M = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15], dtype=torch.float64)
    log_probs_NMC = torch.log_softmax(logits.double(), dim=-1)
    kl_NMM = (log_probs_NMC.exp().unsqueeze(2) * (log_probs_NMC.unsqueeze(2) - log_probs_NMC.unsqueeze(1))).sum(dim=-1)
    votes_NM = logits.argmax(dim=-1)
    differs_NMM = (votes_NM.unsqueeze(2) != votes_NM.unsqueeze(1)).double()
    of_pairs_MM = weights_M.unsqueeze(1) * weights_M * (1 - torch.eye(M, dtype=torch.float64))
    found = scores(logits, Members.weighted(weights_M.tolist(), logits))
    for name, values_NMM in zip(OF_PAIRS, (kl_NMM, differs_NMM), strict=True):
        torch.testing.assert_close(found[name], (values_NMM * of_pairs_MM).sum(dim=(1, 2)) / of_pairs_MM.sum())


def test_a_weighted_mixture_of_gaussians_has_its_distribution_function(gaussians):
    weights_M = [0.5, 0.0, 0.2, 0.2, 0.1]
    mixture = with_weights(gaussians, Members.weighted(weights_M, gaussians))
    at_N = torch.linspace(-1, 1, N, dtype=torch.float64)
    deviation_NM = (gaussians[..., 1] / 2).exp()
    each_NM = norm.cdf(at_N[:, None], gaussians[..., 0], deviation_NM)
    assert mixture_cdf(mixture, at_N).numpy() == pytest.approx(each_NM @ weights_M)
    low_N, high_N = central_interval(mixture, 0.9)
    torch.testing.assert_close(mixture_cdf(mixture, low_N), torch.full((N,), 0.05, dtype=torch.float64))
    torch.testing.assert_close(mixture_cdf(mixture, high_N), torch.full((N,), 0.95, dtype=torch.float64))
    figures = regression_figures(mixture, at_N, variance_scores(gaussians, Members.weighted(weights_M, gaussians)))
    assert figures["nll"] == pytest.approx(row_mixture_nll(mixture, at_N).mean().item())


def test_rows_that_nobody_answered_do_not_count_and_stay_finite(logits):
    mask_NM = torch.ones(N, M)
    mask_NM[3] = 0
    members = Members.of(mask_NM)
    assert members.counts_B is not None
    assert members.counts_B.logical_not().nonzero().flatten().tolist() == [3]
    assert all(torch.isfinite(values).all() for values in scores(logits, members).values())


def test_a_score_that_knows_no_members_is_left_out_where_some_are_missing(logits):
    @uncertainty_score("margin_for_a_test", "margin", outputs="logits", of_one=True)
    def margin(logits):
        return logits.double().mean(dim=(1, 2))

    try:
        assert "margin_for_a_test" in scores(logits)
        assert "margin_for_a_test" in scores(logits, ALL_MEMBERS)
        assert "margin_for_a_test" not in scores(logits, masked([0, 1]))
    finally:
        del SCORES["margin_for_a_test"]


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_task_predicts_with_the_members_that_a_row_has(task, logits, gaussians):
    outputs_NMC = logits if task == "classification" else gaussians
    found = task_named(task).of_members(outputs_NMC, masked([0, 4]))
    expected = task_named(task).of_members(outputs_NMC[:, [0, 4]])
    torch.testing.assert_close(
        found.scores[task_named(task).figures.total], expected.scores[task_named(task).figures.total]
    )
    assert found.answered_by_all is not None
    assert not found.answered_by_all.any()
    assert expected.answered_by_all is None
