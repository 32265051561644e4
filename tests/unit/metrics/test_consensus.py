"""One answer of many members: votes against literal counting, fits against their optimality conditions."""

from collections import Counter
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.config.types import ConsensusRule
from hydra_ray.metrics.classification import accuracy, nll
from hydra_ray.metrics.consensus import (
    RULES,
    UNDECIDED,
    Voters,
    consensus_figures,
    fit_stacker,
    fit_weights,
    stacked,
)
from hydra_ray.metrics.uncertainty import mixture_log_probs

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 7), st.integers(2, 5), st.integers(0, 10**6))


def voters(rows, members, classes, seed, skill=1.0):
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=draws)
    logits = 2 * torch.randn(rows, members, classes, generator=draws, dtype=torch.float64)
    logits[torch.arange(rows), :, labels] += skill
    return Voters(logits, mixture_log_probs(logits), labels)


@settings(deadline=None, max_examples=12)
@given(SIZES)
def test_votes_are_what_counting_gives(sizes):
    rows = voters(*sizes)
    plurality = RULES["plurality"].answer(rows, rows).classes_N.tolist()
    majority = RULES["majority"].answer(rows, rows).classes_N.tolist()
    for row, (logits_MC, mean_C) in enumerate(zip(rows.logits_NMC, rows.mean_NC, strict=True)):
        counts = Counter(member.argmax().item() for member in logits_MC)
        most = max(counts.values())
        winner = max((c for c in counts if counts[c] == most), key=lambda c: mean_C[c].item())
        assert plurality[row] == winner
        assert majority[row] == (winner if most > len(logits_MC) / 2 else UNDECIDED)


@settings(deadline=None, max_examples=12)
@given(SIZES, st.randoms())
def test_the_order_of_members_matters_to_no_rule(sizes, random):
    rows = voters(*sizes)
    order = list(range(sizes[1]))
    random.shuffle(order)
    other = rows._replace(logits_NMC=rows.logits_NMC[:, order])
    for name in RULES:
        first, second = consensus_figures(name, rows, rows), consensus_figures(name, other, other)
        assert first == pytest.approx(second, abs=1e-6), name


@settings(deadline=None, max_examples=12)
@given(SIZES)
def test_weights_are_the_best_there_are(sizes):
    """Karush-Kuhn-Tucker: the gradient's entries are 1 where a weight is positive, and no larger where it is 0."""
    rows = voters(*sizes)
    weights_M = fit_weights(rows.log_probs, rows.labels_N)
    assert weights_M.sum().item() == pytest.approx(1)
    assert (weights_M >= 0).all()
    of_label_NM = rows.log_probs[torch.arange(sizes[0]), :, rows.labels_N].exp()
    gradient_M = (of_label_NM / (of_label_NM @ weights_M).unsqueeze(1)).mean(0)
    assert (gradient_M < 1.05).all()
    assert consensus_figures("weighted", rows, rows)["nll"] <= consensus_figures("mean", rows, rows)["nll"] + 1e-9


@settings(deadline=None, max_examples=12)
@given(SIZES)
def test_the_stacker_is_the_best_there_is(sizes):
    """It is convex: where the gradient is 0, nothing is better."""
    rows = voters(*sizes)
    factors_M, bias_C = (each.requires_grad_() for each in fit_stacker(rows.log_probs, rows.labels_N))
    prior = 0.5 * ((factors_M - 1 / sizes[1]).square().sum() + bias_C.square().sum())
    found = torch.nn.functional.nll_loss(stacked(rows.log_probs, factors_M, bias_C), rows.labels_N)
    for gradient in torch.autograd.grad(found + prior / sizes[0], (factors_M, bias_C)):
        assert gradient.abs().max() < 1e-5


def test_rows_that_all_members_get_right_leave_the_stacker_finite():
    rows = voters(50, 3, 4, seed=0, skill=100.0)
    assert all(each.isfinite().all() and each.abs().max() < 10 for each in fit_stacker(rows.log_probs, rows.labels_N))


def test_one_good_member_among_guessing_ones_is_found():
    rows, others = (voters(4000, 4, 3, seed, skill=0.0) for seed in (0, 1))
    for each in (rows, others):
        each.logits_NMC[torch.arange(4000), 2, each.labels_N] += 6
    rows, others = (each._replace(mean_NC=mixture_log_probs(each.logits_NMC)) for each in (rows, others))
    assert fit_weights(rows.log_probs, rows.labels_N).argmax() == 2
    alone = accuracy(others.log_probs[:, 2], others.labels_N)
    for name in ("weighted", "learned"):
        assert consensus_figures(name, rows, others)["accuracy"] > alone - 0.01
    assert consensus_figures("mean", rows, others)["accuracy"] < alone - 0.02
    assert consensus_figures("plurality", rows, others)["accuracy"] < alone - 0.1


def test_figures_of_the_mean_are_the_ensembles_and_votes_have_no_nll():
    rows = voters(300, 4, 3, seed=2)
    found = {name: consensus_figures(name, rows, rows) for name in RULES}
    assert found["mean"]["nll"] == pytest.approx(nll(rows.mean_NC, rows.labels_N))
    assert found["mean"]["accuracy"] == accuracy(rows.mean_NC, rows.labels_N)
    assert found["plurality"]["nll"] is None
    assert found["majority"]["undecided"] > 0
    assert found["plurality"]["undecided"] == 0


def test_recipes_may_name_every_rule_and_no_other():
    assert get_args(ConsensusRule) == tuple(RULES)
