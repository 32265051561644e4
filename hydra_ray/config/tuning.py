"""The section `tune`: what is searched, what trials are compared by, what a student may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from hydra_ray.config.sections import DistillConfig
from hydra_ray.config.students import STUDENTS
from hydra_ray.config.types import Count, Positive, Section, Several, SeveralOrNone, real_ranges

Objective = Literal[
    "validation_nll",
    "validation_accuracy",
    "validation_rmse",
    "validation_member_kl",
    "validation_rank_correlation",
    "validation_mutual_information_ratio",
    "validation_knowledge_variance_ratio",
    "macs",
]


class Budget(Section):
    """What a student may cost."""

    macs_ratio: Positive
    """Its multiply-adds of one row, over those of a member (their mean, where members differ)."""


class TuneConfig(Section):
    """The search over the student, on the same shards: no member runs again."""

    num_trials: SeveralOrNone = 0
    """Trials of each kind of student; 0 leaves the search out."""
    space: dict[str, Any] = {}
    """Key of `distill` or of a kind's own -> list of choices, or `{low:, high:, log: true}`. Each kind of student is
    searched for itself over the keys that it reads; one that reads none of them is not searched."""
    search: Literal["random", "optuna"] = "random"
    """How trials are drawn: `random` from seed, kind and number alone, `optuna` from earlier trials' results too."""
    scheduler: Literal["asha", "none"] = "asha"
    """How trials are stopped early: by comparison with trials of lower number, or not at all."""
    objectives: Annotated[list[Objective], Field(min_length=1)] = ["validation_nll"]
    """The figures that trials are compared by, the one that matters most first; `macs` are the student's multiply-adds.
    A ratio is best at 1 (|ln ratio| is compared). A kind without one of them is compared by `validation_nll` in its
    place: `kd` has no disagreement, and only `hydra` has `validation_member_kl`. Of several, the best trials are those
    that no other is better than in all of them, and the one nearest to the best of each is taken."""
    budget: Budget | None = None
    """Take the trial that is best in the first objective among those that cost no more."""
    epochs: Count | None = None
    """Epochs of one trial, none for the student's own."""
    workers_per_trial: Several = 1
    """1: a trial is a plain function; more: each trial is a Ray Train run of that many workers."""
    max_concurrent: Several | None = None
    """Trials at a time, none to compute it from the cluster's resources."""

    @field_validator("space")
    @classmethod
    def _real_ranges(cls, space: dict[str, Any]) -> dict[str, Any]:
        return real_ranges(space, [DistillConfig, *STUDENTS.values()])

    @field_validator("objectives")
    @classmethod
    def _compare_quality(cls, objectives: list[Objective]) -> list[Objective]:
        if objectives[0] == "macs":
            raise ValueError("the first one says how good a student is: put macs behind a figure of validation rows")
        twice = [name for name in objectives if objectives.count(name) > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands there more than once; name it once")
        return objectives
