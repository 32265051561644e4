"""What a report is made of, and how to read a figure out of it.

Plain data: no file, no run folder and no Ray. Who computes the figures is not here (`metrics/`),
nor how they are shown.

Shapes: N rows of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydra_ray.config import Goal
from hydra_ray.data import TEST, SplitId
from hydra_ray.evaluation import Plane, figure
from hydra_ray.metrics import RowScores
from hydra_ray.tasks import Task, task_named

MEMBER = "member"
ENSEMBLE = "ensemble"


@dataclass(frozen=True)
class SearchResult:
    """The search for one kind of student.

    Attributes:
        trials: rows of trials.parquet; objectives are None where a trial failed.
        goal: what they are compared by.
        keys: what was searched.
        taken: name of the trial whose keys are taken.
        budget: the most multiply-adds of a trial that may be taken, over a member's; None for any.
    """

    trials: Sequence[Mapping[str, Any]]
    goal: Goal
    keys: Sequence[str]
    taken: str
    budget: float | None = None

    @property
    def ranked(self) -> list[Mapping[str, Any]]:
        """Trials with objectives, the best in the first of them first."""
        rated = [trial for trial in self.trials if all(figure(trial, name) is not None for name in self.objectives)]
        return sorted(rated, key=lambda trial: self.goal.badness([trial[name] for name in self.objectives]))

    @property
    def objectives(self) -> tuple[str, ...]:
        """What trials are compared by."""
        return self.goal.objectives

    @property
    def front(self) -> list[Mapping[str, Any]]:
        """Those of `ranked` that no other is better than in all objectives."""
        return [trial for trial in self.ranked if trial["on_front"]]

    @property
    def best(self) -> Mapping[str, Any]:
        """The trial whose keys are taken."""
        return next(trial for trial in self.trials if trial["trial"] == self.taken)


@dataclass(frozen=True)
class ReportInputs:
    """The whole input of the report.

    Attributes:
        run_name: the run folder's name.
        config: the resolved configuration tree.
        metrics: the content of metrics.json; any figure may be None or absent.
        scores: predictor (ensemble and students) -> test or unknown split -> scores of its rows.
        epochs: the run's epoch events, in order; `stage` and then `member` or `student` say whose they are.
        searches: kind of student -> its search.
        facts: versions, hardware, commit, date: name -> text.
        plane: answers over the whole input space; None where inputs have more than two features.
        notes: what to know of the figures, a sentence each.
    """

    run_name: str
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    scores: Mapping[str, Mapping[SplitId, RowScores]]
    epochs: Sequence[Mapping[str, Any]]
    searches: Mapping[str, SearchResult]
    facts: Mapping[str, str]
    plane: Plane | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check what every picture relies on.

        Raises:
            ValueError: scores of test rows do not say how wrong the rows are.
        """
        unlabelled = [name for name, splits in self.scores.items() if TEST in splits and splits[TEST].error is None]
        if unlabelled:
            raise ValueError(f"scores of test rows need `error`: {', '.join(unlabelled)}")


def task_of(metrics: Mapping[str, Any]) -> Task:
    """The task of a metrics.json."""
    return task_named(metrics.get("task", "classification"))


def predictors(metrics: Mapping[str, Any]) -> list[str]:
    """`member`, `ensemble`, then the students as they stand in metrics.json."""
    test = metrics.get("test", {})
    return [name for name in (MEMBER, ENSEMBLE) if name in test] + students(metrics)


def students(metrics: Mapping[str, Any]) -> list[str]:
    """Predictors that are neither member nor ensemble."""
    return [name for name in metrics.get("test", {}) if name not in (MEMBER, ENSEMBLE)]


def unknown_sets(metrics: Mapping[str, Any]) -> list[str]:
    """Names of the unknown sets."""
    return list(metrics.get("unknown", {}))


def compared(inputs: ReportInputs) -> list[str]:
    """Predictors with scores of the test rows, the ensemble first."""
    present = [name for name in predictors(inputs.metrics) if name in inputs.scores]
    return [name for name in present if TEST in inputs.scores[name]]


def test_rows(inputs: ReportInputs, predictor: str) -> RowScores:
    """Scores of the test rows; their labels are known."""
    return inputs.scores[predictor][TEST]


def row_knowledge(inputs: ReportInputs, predictor: str, split: SplitId) -> np.ndarray | None:
    """[N] knowledge uncertainty; None for single heads and for splits without scores."""
    scores = inputs.scores.get(predictor, {}).get(split)
    return None if scores is None else scores.knowledge


def with_knowledge(inputs: ReportInputs) -> list[str]:
    """Predictors whose knowledge uncertainty on test rows is there, the ensemble first."""
    return [name for name in compared(inputs) if row_knowledge(inputs, name, TEST) is not None]
