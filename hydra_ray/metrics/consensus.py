"""How the answers of M members become one: by mean, votes, weights or a small stacker (Liu et al. 2019, 1908.11091).

What has parameters is fitted on validation rows. Float64; ties between classes are decided by the members' mean
probabilities, so that the order of members matters to none.

Shapes: N rows, M members, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

UNDECIDED = -1
"""In place of a class, where a rule has no answer."""
_EM_STEPS = 2000
_EM_GAIN = 1e-10  # nats a row
_NEWTON_STEPS = 500


class Voters(NamedTuple):
    """What members say of labelled rows."""

    logits_NMC: Tensor
    mean_NC: Tensor
    """Log of the ensemble's probabilities, the mean of the members'."""
    labels_N: Tensor

    @property
    def log_probs(self) -> Tensor:
        """Log-probabilities of each member: float64 [N, M, C]."""
        return self.logits_NMC.double().log_softmax(-1)

    @property
    def votes(self) -> Tensor:
        """How many members say each class: [N, C]."""
        num_classes = self.logits_NMC.shape[-1]
        return F.one_hot(self.logits_NMC.argmax(-1), num_classes).sum(1)


class Consensus(NamedTuple):
    """What a rule says of rows."""

    classes_N: Tensor
    log_probs_NC: Tensor | None = None
    """None where it only names a class."""


@dataclass(frozen=True)
class Rule:
    """One way to make one answer of many.

    Attributes:
        heading: in the table.
        answer: validation rows, on which its parameters are fitted, and the rows asked about -> its answers.
    """

    heading: str
    answer: Callable[[Voters, Voters], Consensus]


def consensus_figures(rule: str, validation: Voters, test: Voters) -> dict[str, float | None]:
    """What a rule of `RULES` is worth on test rows.

    Returns:
        `accuracy`, undecided rows counting as wrong; `undecided`, their share; `nll` (nats), None where the rule gives
        no probabilities.
    """
    found = RULES[rule].answer(validation, test)
    nll = None
    if found.log_probs_NC is not None:
        nll = F.nll_loss(found.log_probs_NC, test.labels_N.long()).item()
    return {
        "accuracy": (found.classes_N == test.labels_N).double().mean().item(),
        "nll": nll,
        "undecided": (found.classes_N == UNDECIDED).double().mean().item(),
    }


def fit_weights(log_probs_NMC: Tensor, labels_N: Tensor) -> Tensor:
    """Weights of the members in the mixture with the largest likelihood: [M], on the simplex.

    By expectation maximisation from equal weights, which never lowers the likelihood; it has one maximum, as ln sum_m
    w_m p_m(y) is concave in w.
    """
    places_NM1 = labels_N.long()[:, None, None].expand(-1, log_probs_NMC.shape[1], 1)
    of_label_NM = log_probs_NMC.gather(-1, places_NM1).squeeze(-1)
    weights_M = torch.full(of_label_NM.shape[1:], 1 / of_label_NM.shape[1], dtype=torch.float64)
    before = -torch.inf
    for _ in range(_EM_STEPS):
        joint_NM = of_label_NM + weights_M.log()
        likelihood = joint_NM.logsumexp(1).mean().item()
        if likelihood - before < _EM_GAIN:
            break
        before = likelihood
        weights_M = joint_NM.softmax(1).mean(0)
    return weights_M


def fit_stacker(log_probs_NMC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """A factor for each member [M] and a bias for each class [C] of ln p(c) = sum_m a_m ln p_m(c) + b_c + constant.

    A logarithmic opinion pool (Heskes 1998) with free factors: multinomial logistic regression, convex. As a normal
    prior of unit variance draws a to 1 / M and b to 0, rows that all members get right leave it finite.
    """
    num_members = log_probs_NMC.shape[1]
    start_M = torch.full((num_members,), 1 / num_members, dtype=torch.float64)
    factors_M = start_M.clone().requires_grad_()
    bias_C = torch.zeros(log_probs_NMC.shape[2], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [factors_M, bias_C],
        max_iter=_NEWTON_STEPS,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        prior = 0.5 * ((factors_M - start_M).square().sum() + bias_C.square().sum())
        found = F.nll_loss(stacked(log_probs_NMC, factors_M, bias_C), labels_N.long()) + prior / len(labels_N)
        found.backward()
        return found

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]  # torch wants a float, and takes a tensor
    return factors_M.detach(), bias_C.detach()


def stacked(log_probs_NMC: Tensor, factors_M: Tensor, bias_C: Tensor) -> Tensor:
    """Log-probabilities of the stacker: [N, C]."""
    return (torch.einsum("nmc,m->nc", log_probs_NMC, factors_M) + bias_C).log_softmax(-1)


def _mean(validation: Voters, rows: Voters) -> Consensus:
    return Consensus(rows.mean_NC.argmax(-1), rows.mean_NC.double())


def _plurality(validation: Voters, rows: Voters) -> Consensus:
    return Consensus(_most_votes(rows))


def _majority(validation: Voters, rows: Voters) -> Consensus:
    has_most_N = rows.votes.max(-1).values * 2 > rows.logits_NMC.shape[1]
    return Consensus(torch.where(has_most_N, _most_votes(rows), UNDECIDED))


def _most_votes(rows: Voters) -> Tensor:
    tied_NC = rows.votes == rows.votes.max(-1, keepdim=True).values
    return torch.where(tied_NC, rows.mean_NC.double(), -torch.inf).argmax(-1)


def _weighted(validation: Voters, rows: Voters) -> Consensus:
    weights_M = fit_weights(validation.log_probs, validation.labels_N)
    log_probs_NC = (rows.log_probs + weights_M.log()[:, None]).logsumexp(1)
    return Consensus(log_probs_NC.argmax(-1), log_probs_NC)


def _learned(validation: Voters, rows: Voters) -> Consensus:
    log_probs_NC = stacked(rows.log_probs, *fit_stacker(validation.log_probs, validation.labels_N))
    return Consensus(log_probs_NC.argmax(-1), log_probs_NC)


RULES: Mapping[str, Rule] = {
    "mean": Rule("mean of probabilities", _mean),
    "plurality": Rule("plurality vote", _plurality),
    "majority": Rule("majority vote", _majority),
    "weighted": Rule("weighted mean", _weighted),
    "learned": Rule("learned (stacker)", _learned),
}
"""In the order in which reports list them."""
