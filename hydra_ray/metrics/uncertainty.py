"""Measures of uncertainty, one number a row, from the logits of an ensemble, a student, or a Dirichlet.

Pure functions of tensors. Not here: averages and detection figures (`classification.py`), comparison of a student
with its ensemble (`fidelity.py`), measures that need labels (`diversity.py`).

Shapes: N rows, M members or heads, C classes; `logits_NMC` come from M members, `logits_NC` from one
Dirichlet output. p_m are the members' probabilities, p their mean: the mixture is a mean of probabilities,
never of logits. All work is in float64 and all results are: knowledge uncertainty is a small difference, and
float32 noise would reorder rows. Every measure is "higher = more uncertain", in nats unless said otherwise;
sums over member pairs never build [N, M, M]. Measures of disagreement are 0 for one member. `members` says which
members a row has, and their weights (`member_weights.py`); without it, all of them count alike.
What is registered (`registry.py`) stands in metrics.json and in the report by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members
from hydra_ray.metrics.registry import Scores, scores_of, uncertainty_score

CHUNK_ELEMENTS = 2**24
"""Rows are worked on in chunks of about this many float64 logits (128 MiB), however many rows there are."""

MAX_LOG_CONCENTRATION = 680.0
"""exp(680) leaves room in float64 for a sum over 1e12 classes."""


class Uncertainty(NamedTuple):
    """The decomposition of a row's uncertainty, each [N], nats: total = data + knowledge."""

    total: Tensor
    data: Tensor
    knowledge: Tensor


def mixture_log_probs(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Log of the mean over members of their probabilities, ln mean_m softmax(logits_m): float64 [N, C].

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    if members.weights_BM is None:
        return map_rows(_mixture_log_probs, logits_NMC)
    return map_rows(
        lambda logits, weights: _mixture_log_probs(logits, Members(weights, None)), logits_NMC, members.weights_BM
    )


def uncertainty(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Uncertainty:
    """Total, data and knowledge uncertainty of an ensemble (Malinin & Gales 2018, Prior Networks, eq. 16).

    total = H[p]; data = mean_m H[p_m]; knowledge, the mutual information of label and member, is their
    difference, computed as mean_m KL(p_m || p), which loses no digits where members nearly agree, and never
    below 0. Its bias for a finite M is downwards, of order 1 / M.

    Returns:
        Three float64 [N], nats. Knowledge is 0 for M = 1 and at most ln min(M, C).

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    parts = (score(logits_NMC, members) for score in (entropy, data_uncertainty, mutual_information))
    return Uncertainty(*parts)


@uncertainty_score("mutual_information", "mutual information (nats)", outputs="logits", short="MI", detects=True)
def mutual_information(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Knowledge uncertainty; see `uncertainty`."""
    mean_log_probs_N1C = _mixture_log_probs(logits_NMC, members).unsqueeze(1)
    return members.mean(_kl(_log_probs(logits_NMC), mean_log_probs_N1C)).clamp(min=0)


@uncertainty_score("expected_pairwise_kl", "expected pairwise KL (nats)", outputs="logits", short="pairwise KL")
def expected_pairwise_kl(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Mean of KL(p_i || p_j) over the M (M - 1) ordered pairs of different members: float64 [N], nats.

    As sum_ij p_i.(ln p_i - ln p_j) = M sum_i (p_i - p).(ln p_i - mean_j ln p_j), no pair is ever formed. (The
    reference code of Malinin et al. sums over all M^2 pairs and does not divide; this is the unbiased mean.) Pairs of
    members with weights weigh w_i w_j. 0 for M = 1.

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    log_probs_NMC = _log_probs(logits_NMC)
    probs_NMC = log_probs_NMC.exp()
    probs_apart_NMC = probs_NMC - members.mean(probs_NMC).unsqueeze(1)
    logs_apart_NMC = log_probs_NMC - members.mean(log_probs_NMC).unsqueeze(1)
    covariance_N = members.mean((probs_apart_NMC * logs_apart_NMC).sum(dim=2))
    return (covariance_N / members.pair_weight(log_probs_NMC.shape[1])).clamp(min=0)


@uncertainty_score(
    "reverse_mutual_information", "reverse mutual information (nats)", outputs="logits", short="reverse MI"
)
def reverse_mutual_information(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Mean over members of KL(p || p_m): float64 [N], nats ("MKL" in Ryabinin et al. 2021).

    It equals EPKL' - MI, where EPKL' averages over all M^2 ordered pairs, i and j equal included, so that
    EPKL' = (M - 1) / M * `expected_pairwise_kl`. 0 for M = 1.

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    log_probs_NMC = _log_probs(logits_NMC)
    mean_log_probs_N1C = _mixture_log_probs(logits_NMC, members).unsqueeze(1)
    return members.mean(_kl(mean_log_probs_N1C, log_probs_NMC)).clamp(min=0)


@uncertainty_score("variation_ratio", "variation ratio", outputs="logits")
def variation_ratio(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """1 - share of members that vote for the most voted class: float64 [N] in [0, 1). 0 for M = 1.

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    return 1 - _vote_shares(logits_NMC, members).amax(dim=-1)


@uncertainty_score("disagreement", "disagreement", outputs="logits", unit="share")
def disagreement(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Share of the member pairs whose most probable classes differ: float64 [N] in [0, 1]. 0 for M = 1.

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    differing_N = 1 - _vote_shares(logits_NMC, members).square().sum(dim=-1)  # of all pairs, i and j equal included
    return (differing_N / members.pair_weight(logits_NMC.shape[1])).clamp(min=0)


@uncertainty_score(
    "entropy", "entropy, total uncertainty (nats)", outputs="logits", short="entropy", of_one=True, detects=True
)
def entropy(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Total uncertainty; see `uncertainty`."""
    return _entropy(_mixture_log_probs(logits_NMC, members))


@uncertainty_score(
    "data_uncertainty", "data uncertainty (nats)", outputs="logits", short="data uncertainty", of_one=True
)
def data_uncertainty(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    """Data uncertainty; see `uncertainty`."""
    return members.mean(_entropy(_log_probs(logits_NMC)))


def scores(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Scores:
    """All registered scores of logits by name, each float64 [N]; rows are worked on in chunks.

    One member gives those that are not about disagreement alone: it cannot disagree with itself.

    Raises:
        ValueError: the logits are not [N, M, C].
    """
    _check_shape(logits_NMC)
    is_compiling = torch.compiler.is_compiling()
    return scores_of(logits_NMC, "logits", None if is_compiling else _rows_per_chunk(logits_NMC), members)


def dirichlet_log_probs(logits_NC: Tensor, offset: float = 0.0) -> Tensor:
    """Log of the mean prediction alpha / alpha_0 of Dirichlets, alpha = exp(logits) + offset: float64 [N, C].

    Raises:
        ValueError: the logits are not [N, C], or the offset is negative.
    """
    return F.log_softmax(_log_concentration(logits_NC, offset), dim=-1)


def dirichlet_uncertainty(logits_NC: Tensor, offset: float = 0.0) -> Uncertainty:
    """Total, data and knowledge uncertainty of Dirichlets in closed form (EnD2, Malinin et al. 2020, code).

    With alpha = exp(logits) + offset, p = alpha / alpha_0 and psi = digamma: total = H[p];
    data = sum_c p_c (psi(alpha_0 + 1) - psi(alpha_c + 1)); knowledge is their difference, never below 0.

    Args:
        logits_NC: log-concentrations.
        offset: 0 for EnD2. `losses.proxy_dirichlet_rkl` trains with 1; its authors evaluate with 0 by
            default.

    Returns:
        Three float64 [N], nats.

    Raises:
        ValueError: the logits are not [N, C], or the offset is negative.
    """
    log_alpha_NC = _log_concentration(logits_NC, offset)
    log_total_N1 = torch.logsumexp(log_alpha_NC, dim=-1, keepdim=True)
    log_probs_NC = log_alpha_NC - log_total_N1
    psi_NC = torch.digamma(log_alpha_NC.exp() + 1)
    psi_total_N1 = torch.digamma(log_total_N1.exp() + 1)
    # psi(x + 1) - ln x is small where x is large, so little is lost in this difference of differences.
    apart_NC = (psi_NC - log_alpha_NC) - (psi_total_N1 - log_total_N1)
    probs_NC = log_probs_NC.exp()
    return Uncertainty(
        total=_entropy(log_probs_NC),
        data=(probs_NC * (psi_total_N1 - psi_NC)).sum(dim=-1),
        knowledge=(probs_NC * apart_NC).sum(dim=-1).clamp(min=0),
    )


def dirichlet_scores(logits_NC: Tensor, offset: float = 0.0) -> Scores:
    """The measures of `scores` that a Dirichlet has, by the same names, each float64 [N], nats.

    Draws from a Dirichlet stand for members, so the expected pairwise KL is (C - 1) / alpha_0, and the
    reverse mutual information that minus the mutual information (Malinin et al. 2020, authors' code).

    Raises:
        ValueError: the logits are not [N, C], or the offset is negative.
    """
    total_N, data_N, knowledge_N = dirichlet_uncertainty(logits_NC, offset)
    log_precision_N = torch.logsumexp(_log_concentration(logits_NC, offset), dim=-1)
    pairwise_N = (logits_NC.shape[-1] - 1) * torch.exp(-log_precision_N)
    return {
        "entropy": total_N,
        "data_uncertainty": data_N,
        "mutual_information": knowledge_N,
        "expected_pairwise_kl": pairwise_N,
        "reverse_mutual_information": (pairwise_N - knowledge_N).clamp(min=0),
    }


def map_rows(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Apply a function of rows chunk by chunk and join the results, so that memory does not grow with N.

    Args:
        function: takes one chunk of rows of every tensor and returns one entry a row.
        tensors: equal first dimension N; the largest decides the size of the chunks.

    Returns:
        What `function` gives for all rows at once, [N, ...].
    """
    if torch.compiler.is_compiling():  # a graph is for any number of rows, and chunks are not
        return function(*tensors)
    rows = min(_rows_per_chunk(tensor) for tensor in tensors)
    return torch.cat([function(*chunk) for chunk in zip(*(t.split(rows) for t in tensors), strict=True)])


def _rows_per_chunk(tensor: Tensor) -> int:
    return max(1, CHUNK_ELEMENTS // max(1, math.prod(tensor.shape[1:])))


def _check_shape(logits_NMC: Tensor) -> None:
    if logits_NMC.ndim != 3 or 0 in logits_NMC.shape[1:]:
        raise ValueError(f"needs logits [N, M, C], got shape {list(logits_NMC.shape)}")


def _log_probs(logits_NMC: Tensor) -> Tensor:
    _check_shape(logits_NMC)
    return F.log_softmax(logits_NMC.double(), dim=-1)


def _mixture_log_probs(logits_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
    return members.log_mean(_log_probs(logits_NMC))


def _entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(dim=-1)


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(dim=-1)


def _vote_shares(logits_NMC: Tensor, members: Members) -> Tensor:
    """Weight of the members that find each class most probable, float64 [N, C]; a row's shares add up to 1."""
    _check_shape(logits_NMC)
    votes_NM = logits_NMC.argmax(dim=-1)
    weights_NM = members.weights_BM
    if weights_NM is None:
        weights_NM = torch.full_like(votes_NM, 1, dtype=torch.float64)
    shares_NC = logits_NMC.new_zeros(logits_NMC.shape[0], logits_NMC.shape[2], dtype=torch.float64)
    return shares_NC.scatter_add_(1, votes_NM, weights_NM) / weights_NM.sum(dim=1, keepdim=True)


def _log_concentration(logits_NC: Tensor, offset: float) -> Tensor:
    if logits_NC.ndim != 2 or offset < 0:
        raise ValueError(f"needs logits [N, C] and an offset >= 0, got shape {list(logits_NC.shape)} and {offset}")
    logits_NC = logits_NC.double().clamp(-MAX_LOG_CONCENTRATION, MAX_LOG_CONCENTRATION)
    return torch.logaddexp(logits_NC, logits_NC.new_tensor(offset).log())
