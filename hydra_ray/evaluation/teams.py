"""Which m of the M members make the best team, by their accuracy or by how they differ (Liu et al. 2019, 1908.11091).

All teams of a size are scored at once. What is a mean over pairs of members is a mean of an M x M matrix's entries, and
what does not look so is one too: the share of agreeing pairs is Fleiss' P, that of pairs that are both wrong p(2) of
the generalised diversity, that of pairs of which one is right 2 m / (m - 1) times the Kohavi-Wolpert variance. The
measures are those of `metrics/diversity.py`, which has them for one ensemble.

A team's focal diversity is the mean over its members of the diversity on the rows that this member gets wrong: how the
team answers where one of it fails.

Shapes: N rows, M members, C classes, T teams of m members, F sets of rows; float64. `teams_TM` is 1 where a member is
in a team, `rows_FN` where a row is in a set. Where a measure has nothing to measure it is NaN.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.randomness import numpy_generator, seed_of

_NUMBERS_AT_ONCE = 1 << 24
_DECIMALS = 12  # of scores: rounding must not rank teams that are equal


@dataclass(frozen=True)
class TeamMeasure:
    """One measure of diversity for many teams.

    Attributes:
        heading: in the table.
        sign: 1 where more is more diverse, else -1.
        values: votes on sets of rows and teams -> float64 [F, T].
    """

    heading: str
    sign: int
    values: Callable[[_Votes, Tensor], Tensor]


class _Votes:
    """What members answered on sets of rows: counts of pairs of members, [F, M, M], each a share of its set's rows."""

    def __init__(self, predicted_NM: Tensor, labels_N: Tensor, rows_FN: Tensor) -> None:
        self.weights_FN = rows_FN.double() / rows_FN.double().sum(1, keepdim=True)
        self.right_NM = (predicted_NM == labels_N.unsqueeze(1)).double()
        self._predicted_NM = predicted_NM
        wrong_NM = 1 - self.right_NM
        self.both_right = self._shares(self.right_NM, self.right_NM)
        self.both_wrong = self._shares(wrong_NM, wrong_NM)
        self.first_only = self._shares(self.right_NM, wrong_NM)
        self.second_only = self.first_only.mT
        self.wrong_FM = self.weights_FN @ wrong_NM

    def _shares(self, one_NM: Tensor, other_NM: Tensor) -> Tensor:
        return torch.einsum("fn,ni,nj->fij", self.weights_FN, one_NM, other_NM)

    def agreeing(self) -> Tensor:
        """Share of rows on which two members say the same class: [F, M, M]."""
        same_NMM = (self._predicted_NM.unsqueeze(2) == self._predicted_NM.unsqueeze(1)).double()
        return torch.einsum("fn,nij->fij", self.weights_FN, same_NMM)

    def class_shares(self) -> Tensor:
        """How often each member says each class: [F, M, C]."""
        return torch.einsum("fn,nmc->fmc", self.weights_FN, F.one_hot(self._predicted_NM.long()).double())


def teams_of(num_members: int, size: int, most: int, seed: int) -> tuple[Tensor, bool]:
    """All teams of a size, or a seeded choice of `most` where there are more; and whether they are all.

    Raises:
        ValueError: `size` is below 2 or above `num_members`.
    """
    if not 2 <= size <= num_members:
        raise ValueError(f"teams of {size} out of {num_members} members")
    number = math.comb(num_members, size)
    if number <= most:
        chosen = list(itertools.combinations(range(num_members), size))
    else:
        draws = numpy_generator(seed_of(seed, "teams", size))
        found: set[tuple[int, ...]] = set()
        while len(found) < most:
            found.add(tuple(sorted(draws.permutation(num_members)[:size].tolist())))
        chosen = sorted(found)
    teams_TM = torch.zeros(len(chosen), num_members, dtype=torch.float64)
    return teams_TM.scatter_(1, torch.tensor(chosen), 1.0), number <= most


def score_teams(logits_NMC: Tensor, labels_N: Tensor, teams_TM: Tensor) -> dict[str, Tensor]:
    """Accuracy and NLL of each team's mean probabilities, and every measure on all rows and, as `focal_<name>`, on the
    rows that a member gets wrong: name -> float64 [T]."""
    predicted_NM = logits_NMC.argmax(-1)
    everywhere_1N = torch.ones(1, len(labels_N), dtype=torch.float64)
    wrong_MN = (predicted_NM != labels_N.unsqueeze(1)).double().mT
    on_all = _Votes(predicted_NM, labels_N, everywhere_1N)
    on_wrong = _Votes(predicted_NM, labels_N, wrong_MN)
    found = quality_of_teams(logits_NMC, labels_N, teams_TM)
    for name, measure in MEASURES.items():
        found[name] = measure.values(on_all, teams_TM)[0]
        found[f"focal_{name}"] = _mean_of_members(measure.values(on_wrong, teams_TM).mT, teams_TM)
    return {name: values_T.round(decimals=_DECIMALS) for name, values_T in found.items()}


def places_of(team_M: Tensor) -> list[int]:
    """The numbers of a team's members."""
    return team_M.nonzero().flatten().tolist()


def best_team(scores: Mapping[str, Tensor], criterion: str) -> int:
    """The team that is best by one of `score_teams`; the first of several."""
    values_T = scores[criterion] * _sign_of(criterion)
    return int(values_T.nan_to_num(nan=-torch.inf).argmax())


def _sign_of(criterion: str) -> int:
    if criterion in ("accuracy", "nll"):
        return 1 if criterion == "accuracy" else -1
    return MEASURES[criterion.removeprefix("focal_")].sign


def quality_of_teams(logits_NMC: Tensor, labels_N: Tensor, teams_TM: Tensor) -> dict[str, Tensor]:
    """Accuracy and NLL (nats) of each team's mean probabilities: name -> float64 [T]."""
    probabilities_MNC = logits_NMC.double().softmax(-1).transpose(0, 1)
    size = int(teams_TM[0].sum())
    accuracy: list[Tensor] = []
    nll: list[Tensor] = []
    at_once = max(1, _NUMBERS_AT_ONCE // probabilities_MNC[0].numel())
    for part_TM in teams_TM.split(at_once):
        mean_TNC = torch.einsum("tm,mnc->tnc", part_TM, probabilities_MNC) / size
        accuracy.append((mean_TNC.argmax(-1) == labels_N).double().mean(1))
        of_label_TN = mean_TNC.gather(-1, labels_N.expand(len(part_TM), -1).unsqueeze(-1)).squeeze(-1)
        nll.append(-of_label_TN.log().mean(1))
    return {"accuracy": torch.cat(accuracy), "nll": torch.cat(nll)}


def _mean_of_members(values_TM: Tensor, teams_TM: Tensor) -> Tensor:
    """Mean over a team's members, of those for whom the value is defined: [T]."""
    counts_TM = teams_TM * values_TM.isfinite()
    return (counts_TM * values_TM.nan_to_num()).sum(1) / counts_TM.sum(1)


def _mean_of_pairs(values_FMM: Tensor, teams_TM: Tensor) -> Tensor:
    """Mean over a team's pairs, of those for which the value is defined: [F, T]."""
    is_pair_MM = 1 - torch.eye(values_FMM.shape[-1], dtype=torch.float64)
    counts_FMM = values_FMM.isfinite() * is_pair_MM

    def total(matrix_FMM: Tensor) -> Tensor:
        return torch.einsum("ti,fij,tj->ft", teams_TM, matrix_FMM, teams_TM)

    return total(counts_FMM * values_FMM.nan_to_num()) / total(counts_FMM)


def _q_statistic(votes: _Votes, teams_TM: Tensor) -> Tensor:
    concordant = votes.both_right * votes.both_wrong
    discordant = votes.first_only * votes.second_only
    return _mean_of_pairs(_ratio(concordant - discordant, concordant + discordant), teams_TM)


def _disagreement(votes: _Votes, teams_TM: Tensor) -> Tensor:
    return _mean_of_pairs(votes.first_only + votes.second_only, teams_TM)


def _cohen_kappa(votes: _Votes, teams_TM: Tensor) -> Tensor:
    shares_FMC = votes.class_shares()
    expected = shares_FMC @ shares_FMC.mT
    return _mean_of_pairs(_ratio(votes.agreeing() - expected, 1 - expected), teams_TM)


def _fleiss_kappa(votes: _Votes, teams_TM: Tensor) -> Tensor:
    observed = _mean_of_pairs(votes.agreeing(), teams_TM)
    shares_FTC = torch.einsum("tm,fmc->ftc", teams_TM, votes.class_shares()) / teams_TM.sum(1)[:, None]
    expected = shares_FTC.square().sum(-1)
    return _ratio(observed - expected, 1 - expected)


def _kohavi_wolpert(votes: _Votes, teams_TM: Tensor) -> Tensor:
    size_T = teams_TM.sum(1)
    return _disagreement(votes, teams_TM) * (size_T - 1) / (2 * size_T)


def _generalised_diversity(votes: _Votes, teams_TM: Tensor) -> Tensor:
    one = votes.wrong_FM @ teams_TM.mT / teams_TM.sum(1)
    return 1 - _ratio(_mean_of_pairs(votes.both_wrong, teams_TM), one)


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, torch.nan, numerator / denominator)


MEASURES: Mapping[str, TeamMeasure] = {
    "q_statistic": TeamMeasure("Q statistic", -1, _q_statistic),
    "disagreement": TeamMeasure("one right, one wrong", 1, _disagreement),
    "cohen_kappa": TeamMeasure("Cohen's kappa", -1, _cohen_kappa),
    "fleiss_kappa": TeamMeasure("Fleiss' kappa", -1, _fleiss_kappa),
    "kohavi_wolpert_variance": TeamMeasure("Kohavi-Wolpert variance", 1, _kohavi_wolpert),
    "generalised_diversity": TeamMeasure("generalised diversity", 1, _generalised_diversity),
}
"""The six that EnsembleBench has, by the names they have in metrics.json."""
