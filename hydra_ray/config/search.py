"""What the search over a kind of student draws from, what its trials are compared by, where the best one's keys go.

Plain functions of the configuration; how trials are drawn and judged is in `training/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hydra_ray.config.students import STUDENTS, StudentConfig, StudentKind
from hydra_ray.config.tuning import TuneConfig

FALLBACK = "validation_nll"
"""What trials are compared by where a kind has not what one of `tune.objectives` measures."""
MACS = "macs"
"""The objective that is known before a fit: the student's multiply-adds of one row."""
_MORE_IS_BETTER = ("validation_accuracy", "validation_rank_correlation")


class Goal(NamedTuple):
    """The figures that trials of a kind are compared by, the one that matters most first."""

    objectives: tuple[str, ...]

    def badness(self, values: Sequence[float | None]) -> tuple[float, ...]:
        """What is least for the best value of each: of a ratio, which is best at 1, |ln ratio|.

        Infinite for a ratio that is not above 0, and where there is no value yet.
        """
        return tuple(_badness(name, value) for name, value in zip(self.objectives, values, strict=True))


def better(objective: str) -> str:
    """Which way an objective is better, in words."""
    if objective.endswith("_ratio"):
        return "1 is best"
    return "more is better" if objective in _MORE_IS_BETTER else "less is better"


def _badness(objective: str, value: float | None) -> float:
    if value is None:
        return math.inf
    if objective.endswith("_ratio"):
        return abs(math.log(value)) if value > 0 else math.inf
    return -value if objective in _MORE_IS_BETTER else value


def space_of(kind: StudentKind, tune: TuneConfig) -> dict[str, Any]:
    """The part of `tune.space` that a student of this kind reads; empty where there is nothing to search."""
    keys = STUDENTS[kind].searched_keys()
    return {key: domain for key, domain in tune.space.items() if key in keys}


def goal_of(kind: StudentKind, tune: TuneConfig) -> Goal:
    """`tune.objectives`, each that a kind does not have replaced by `FALLBACK`.

    `validation_member_kl` is of heads that imitate members; ratios and rank correlation of knowledge uncertainty are
    of whoever has that.
    """
    found = [name if _has(STUDENTS[kind], name) else FALLBACK for name in tune.objectives]
    return Goal(tuple(dict.fromkeys(found)))


def _has(student: type[StudentConfig], objective: str) -> bool:
    if objective == "validation_member_kl":
        return student.imitates_members
    is_of_knowledge = objective == "validation_rank_correlation" or objective.endswith("_ratio")
    return student.knows_disagreement or not is_of_knowledge


def overlay_of(kind: StudentKind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a trial as an overlay: a kind's own keys in its entry of `students`, the others in `distill`."""
    own = STUDENTS[kind].own_keys()
    overlay: dict[str, Any] = {"distill": {key: value for key, value in parameters.items() if key not in own}}
    of_kind = {key: value for key, value in parameters.items() if key in own}
    return {**overlay, "students": {kind: of_kind}} if of_kind else overlay
