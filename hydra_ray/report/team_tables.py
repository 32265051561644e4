"""The best teams of m members as a table: each chosen on validation rows by one criterion, judged on test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from hydra_ray.evaluation.teams import MEASURES, best_team, places_of
from hydra_ray.metrics import spearman
from hydra_ray.report.formats import DASH, decimal, percent
from hydra_ray.report.tables import TextTable

Scores = Mapping[str, Tensor]


@dataclass(frozen=True)
class ScoredTeams:
    """Teams of one size, and what they are worth.

    Attributes:
        teams_TM: who is in each.
        are_all: whether these are all of the size.
        validation: `score_teams` on validation rows.
        test: accuracy and NLL on test rows.
        everybody: accuracy and NLL of all M members on test rows.
    """

    teams_TM: Tensor
    are_all: bool
    validation: Scores
    test: Scores
    everybody: Mapping[str, float]

    @property
    def size(self) -> int:
        """Members of a team."""
        return int(self.teams_TM[0].sum())


def heading_of(criterion: str) -> str:
    """What a criterion is called."""
    if criterion in ("accuracy", "nll"):
        return {"accuracy": "accuracy", "nll": "NLL"}[criterion]
    name = criterion.removeprefix("focal_")
    return MEASURES[name].heading if name == criterion else f"focal: {MEASURES[name].heading}"


def teams_table(scored: ScoredTeams) -> TextTable:
    """A line for the best team by each criterion; below, what there is to compare them with."""
    rows = [_line(scored, criterion) for criterion in scored.validation]
    hindsight = int(scored.test["accuracy"].argmax())
    rows += [
        ("the best in hindsight", *_of_team(scored, hindsight), DASH),
        ("mean of all teams", DASH, *_shown(*(scored.test[name].mean().item() for name in ("accuracy", "nll"))), DASH),
        (f"all {scored.teams_TM.shape[1]} members", DASH, *_shown(*scored.everybody.values()), DASH),
    ]
    number = len(scored.teams_TM)
    which = f"all {number:,}" if scored.are_all else f"a random choice of {number:,}"
    title = f"Teams of {scored.size} out of {scored.teams_TM.shape[1]} members ({which})"
    columns = ("best on validation rows by", "team", "test accuracy", "test NLL", "rho with test accuracy")
    return TextTable(title, columns, tuple(rows))


def rho_with_accuracy(scored: ScoredTeams, criterion: str) -> float | None:
    """Spearman's rank correlation, over teams, of a criterion on validation rows and accuracy on test rows."""
    values_T = scored.validation[criterion]
    defined_T = values_T.isfinite()
    return spearman(values_T[defined_T], scored.test["accuracy"][defined_T]) if defined_T.any() else None


def as_rho(rho: float | None) -> str:
    """A rank correlation as text."""
    return DASH if rho is None else f"{rho:.2f}"


def _line(scored: ScoredTeams, criterion: str) -> tuple[str, ...]:
    best = best_team(scored.validation, criterion)
    return heading_of(criterion), *_of_team(scored, best), as_rho(rho_with_accuracy(scored, criterion))


def _of_team(scored: ScoredTeams, place: int) -> tuple[str, ...]:
    members = " ".join(map(str, places_of(scored.teams_TM[place])))
    return members, *_shown(*(scored.test[name][place].item() for name in ("accuracy", "nll")))


def _shown(accuracy: float, nll: float) -> tuple[str, str]:
    return percent(accuracy), decimal(nll)
