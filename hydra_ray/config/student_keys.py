"""What matters to a kind of student: its keys of `distill`, what of a search's space is its own, what it is judged by.

Plain functions of the configuration, for keys of results and for the search; what the kinds are is in `objectives.py`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hydra_ray.config.sections import StudentKind, TuneConfig

_HEADS_ONLY = {"num_heads", "head_init_noise", "diversity_weight", "mean_head", "heads_per_step"}
_SOFT_ONLY = {"temperature", "final_temperature", "label_weight"}
OF_OTHERS: dict[StudentKind, set[str]] = {
    "hydra": {"dirichlet"},
    "kd": {"dirichlet"} | _HEADS_ONLY,
    "end2": _HEADS_ONLY | _SOFT_ONLY,
    "proxy_end2": _HEADS_ONLY | _SOFT_ONLY,
}
"""Keys of `distill` that matter to other kinds alone."""
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
    """The part of `tune.space` that changes a student of this kind; empty where there is nothing to search."""
    return {key: domain for key, domain in tune.space.items() if key not in OF_OTHERS[kind]}


def goal_of(kind: StudentKind, tune: TuneConfig) -> Goal:
    """`tune.objective`, or `FALLBACK` for a kind that does not have it.

    `validation_member_kl` is of heads that imitate members, a ratio of knowledge uncertainty of whoever has
    that: all but `kd`.
    """
    has_none = kind == "kd" and tune.objective.endswith("_ratio")
    if has_none or (kind != "hydra" and tune.objective == "validation_member_kl"):
        return Goal(FALLBACK, "min")
    return Goal(tune.objective, tune.mode)
