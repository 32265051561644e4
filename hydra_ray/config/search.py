"""What the search over a kind of student draws from, what its trials are compared by, where the best one's keys go.

Plain functions of the configuration; how trials are drawn and judged is in `training/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from hydra_ray.config.sections import TuneConfig
from hydra_ray.config.students import STUDENTS, StudentKind

FALLBACK = "validation_nll"
"""What trials are compared by where a kind has not what `tune.objective` measures."""


class Goal(NamedTuple):
    """The figure that trials of a kind are compared by, and whether less or more of it is better."""

    objective: str
    mode: str

    def badness(self, value: float) -> float:
        """What is least for the best value: of a ratio, which is best at 1, |ln ratio| (infinite where it is <= 0)."""
        if self.objective.endswith("_ratio"):
            return abs(math.log(value)) if value > 0 else math.inf
        return value if self.mode == "min" else -value


def space_of(kind: StudentKind, tune: TuneConfig) -> dict[str, Any]:
    """The part of `tune.space` that a student of this kind reads; empty where there is nothing to search."""
    keys = STUDENTS[kind].searched_keys()
    return {key: domain for key, domain in tune.space.items() if key in keys}


def goal_of(kind: StudentKind, tune: TuneConfig) -> Goal:
    """`tune.objective`, or `FALLBACK` for a kind that does not have it.

    `validation_member_kl` is of heads that imitate members, a ratio of knowledge uncertainty of whoever has that.
    """
    student = STUDENTS[kind]
    needs_heads = tune.objective == "validation_member_kl"
    needs_knowledge = tune.objective.endswith("_ratio")
    if (needs_heads and not student.imitates_members) or (needs_knowledge and not student.knows_disagreement):
        return Goal(FALLBACK, "min")
    return Goal(tune.objective, tune.mode)


def overlay_of(kind: StudentKind, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of a trial as an overlay: a kind's own keys in its entry of `students`, the others in `distill`."""
    own = STUDENTS[kind].own_keys()
    overlay: dict[str, Any] = {"distill": {key: value for key, value in parameters.items() if key not in own}}
    of_kind = {key: value for key, value in parameters.items() if key in own}
    return {**overlay, "students": {kind: of_kind}} if of_kind else overlay
