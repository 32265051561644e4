"""Uncertainty scores and diversity measures by name: registered where they are written, and known nowhere else.

A score is a number a row: its mean over test rows stands in metrics.json and in the report's tables, and where it
`detects`, so does how well it tells unknown rows from test rows. A diversity measure is one number of an ensemble on
labelled rows. The order of registration is their order in files and tables.

    @uncertainty_score("margin", "margin of the two likeliest classes", outputs="logits", of_one=True)
    def margin(logits_NMC): ...

Shapes: N rows, M members or heads, C outputs of each (`logits`: C classes, `gaussian`: mean and log variance).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Literal

import torch
from torch import Tensor

from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members

Outputs = Literal["logits", "gaussian"]
Scores = Mapping[str, Tensor]
ScoreFunction = Callable[..., Tensor]
MeasureFunction = Callable[[Tensor, Tensor], float | None]


@dataclass(frozen=True)
class UncertaintyScore:
    """One measure of a row's uncertainty, higher = more uncertain.

    Attributes:
        name: in metrics.json.
        heading: in the report's table of all figures.
        short: beside numbers.
        outputs: what it is computed from.
        of_one: whether one member or head alone has it; else it is about disagreement.
        unit: what its figures are shown as.
        detects: whether it is used to tell unknown rows from test rows.
        function: outputs [N, M, C] -> float64 [N]; M > 1 unless `of_one`.
        takes_members: whether it takes `members` too, which says which members a row has and their weights. Without,
            it is left out where rows lack some, or weights differ.
    """

    name: str
    heading: str
    short: str
    outputs: Outputs
    of_one: bool
    unit: Literal["number", "share", "target's"]
    detects: bool
    function: ScoreFunction
    takes_members: bool


@dataclass(frozen=True)
class DiversityMeasure:
    """One measure of how members differ on labelled rows.

    Attributes:
        name: in metrics.json, under "diversity".
        heading: in the report.
        outputs: what it is computed from.
        function: outputs [N, M, C] and labels [N] -> a number; None where there is nothing to measure.
    """

    name: str
    heading: str
    outputs: Outputs
    function: MeasureFunction


SCORES: dict[str, UncertaintyScore] = {}
MEASURES: dict[str, DiversityMeasure] = {}


def uncertainty_score(
    name: str,
    heading: str,
    *,
    outputs: Outputs,
    short: str | None = None,
    of_one: bool = False,
    unit: Literal["number", "share", "target's"] = "number",
    detects: bool = False,
) -> Callable[[ScoreFunction], ScoreFunction]:
    """Register the function below as a score; see `UncertaintyScore`."""

    def register(function: ScoreFunction) -> ScoreFunction:
        _refuse_taken(name, SCORES)
        takes_members = "members" in signature(function).parameters
        SCORES[name] = UncertaintyScore(
            name, heading, short or heading, outputs, of_one, unit, detects, function, takes_members
        )
        return function

    return register


def diversity_measure(name: str, heading: str, *, outputs: Outputs) -> Callable[[MeasureFunction], MeasureFunction]:
    """Register the function below as a diversity measure; see `DiversityMeasure`."""

    def register(function: MeasureFunction) -> MeasureFunction:
        _refuse_taken(name, MEASURES)
        MEASURES[name] = DiversityMeasure(name, heading, outputs, function)
        return function

    return register


def score_names(outputs: Outputs) -> list[str]:
    """Scores of such outputs, those that one member lacks among them."""
    return [score.name for score in SCORES.values() if score.outputs == outputs]


class LazyScores(Mapping[str, Tensor]):
    """Scores by name, each computed when it is first asked for: who predicts needs three of them, a report all."""

    def __init__(self, names: Sequence[str], compute: Callable[[str], Tensor]) -> None:
        """Computes nothing yet.

        Args:
            names: of the scores that there are.
            compute: a name -> float64 [N].
        """
        self._names = tuple(names)
        self._compute = compute
        self._known: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names  # a mapping's own would compute it

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def scores_of(
    outputs_NMC: Tensor, outputs: Outputs, rows_at_once: int | None = None, members: Members = ALL_MEMBERS
) -> Scores:
    """Every score of some outputs by name, each float64 [N]; one member lacks those of disagreement.

    Args:
        outputs_NMC: of members or heads.
        outputs: what they are.
        rows_at_once: rows that are worked on together; None for all.
        members: which members a row has, and their weights.
    """
    is_one = outputs_NMC.shape[1] == 1
    is_weighted = members.weights_BM is not None
    names = [name for name in score_names(outputs) if SCORES[name].of_one or not is_one]
    names = [name for name in names if SCORES[name].takes_members or not is_weighted]

    def compute(name: str) -> Tensor:
        score = SCORES[name].function
        if rows_at_once is None:
            return _score(score, outputs_NMC, members)
        chunks = zip(outputs_NMC.split(rows_at_once), members.split(rows_at_once), strict=False)
        return torch.cat([_score(score, *chunk) for chunk in chunks])

    return LazyScores(names, compute)


def _score(function: ScoreFunction, outputs_NMC: Tensor, members: Members) -> Tensor:
    return function(outputs_NMC) if members.weights_BM is None else function(outputs_NMC, members)


def mean_scores(scores: Scores, outputs: Outputs) -> dict[str, float | None]:
    """Mean over rows of every score of such outputs; None for those that are not there."""
    return {name: scores[name].mean().item() if name in scores else None for name in score_names(outputs)}


def detectors(outputs: Outputs) -> list[str]:
    """Scores that are used to tell unknown rows from test rows."""
    return [score.name for score in SCORES.values() if score.outputs == outputs and score.detects]


def diversity_figures(outputs_NMC: Tensor, labels_N: Tensor, outputs: Outputs) -> dict[str, float | None]:
    """Every diversity measure of some outputs by name; None where undefined."""
    return {
        measure.name: measure.function(outputs_NMC, labels_N)
        for measure in MEASURES.values()
        if measure.outputs == outputs
    }


def _refuse_taken(name: str, registry: Mapping[str, object]) -> None:
    if name in registry:
        raise ValueError(f"{name} is registered already; choose another name")
