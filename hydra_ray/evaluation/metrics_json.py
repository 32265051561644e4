"""metrics.json from answers: ensemble, single member and students side by side on the same rows.

Pure arithmetic on outputs; who answered, and where, is not known here (`cluster/evaluate.py`). Which figures there are,
the task says; their places in metrics.json are those of every task.

N rows, M members or heads, C outputs of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from hydra_ray.data import TEST, VALIDATION, SplitId
from hydra_ray.inference import Thresholds, answering_of
from hydra_ray.metrics import (
    Figures,
    Interval,
    RowScores,
    Scores,
    auroc_ratio_interval,
    detection_figures,
    detectors,
    ratio_interval,
    score_fidelity,
    spearman_interval,
)
from hydra_ray.randomness import seed_of
from hydra_ray.storage import as_json
from hydra_ray.tasks import Prediction, Task

SCHEMA = 1
ENSEMBLE = "ensemble"
MEMBER = "member"


@dataclass(frozen=True)
class StudentVersion:
    """A student with or without its calibration of disagreement.

    Attributes:
        name: of the predictor in metrics.json.
        kind: which student.
        calibrated: whether its disagreement is rescaled.
    """

    name: str
    kind: str
    calibrated: bool


@dataclass(frozen=True)
class Answers:
    """What all predictors say about all splits.

    Attributes:
        task: what was asked.
        predictions: predictor -> split -> prediction; `ensemble` and students; validation, test and unknown splits.
        labels: split -> labels [N], for validation and test.
        views_of_test: unknown splits whose row i is a view of test row i.
        versions: of the students among the predictors.
        thresholds: of the students that have any, by predictor.
        heads_of: numbers of the members that heads imitate, in their order; None for the first ones.
    """

    task: Task
    predictions: Mapping[str, Mapping[SplitId, Prediction]]
    labels: Mapping[SplitId, Tensor]
    views_of_test: frozenset[SplitId] = frozenset()
    versions: Sequence[StudentVersion] = ()
    thresholds: Mapping[str, Thresholds] = field(default_factory=dict)
    heads_of: Sequence[int] | None = None

    @property
    def ensemble(self) -> Mapping[SplitId, Prediction]:
        """The ensemble's predictions."""
        return self.predictions[ENSEMBLE]

    @property
    def unknown(self) -> list[SplitId]:
        """Unknown splits."""
        return [split for split in self.ensemble if split.role == "unknown"]

    @property
    def students(self) -> list[str]:
        """Everything but the ensemble."""
        return [name for name in self.predictions if name != ENSEMBLE]


def metrics_of(
    answers: Answers, cost: Mapping[str, Any], seconds: Mapping[str, float], *, num_samples: int = 0, seed: int = 0
) -> dict[str, Any]:
    """The content of metrics.json; undefined figures are None.

    Args:
        answers: of the ensemble and the students.
        cost: predictor -> its cost.
        seconds: stage -> how long the work behind its results took, see `work_seconds.py`.
        num_samples: bootstrap samples behind the intervals of fidelity; 0 leaves them out.
        seed: the run's, which the samples follow from.
    """
    return as_json(
        {
            "schema": SCHEMA,
            "task": answers.task.name,
            "num_members": _outputs(answers.ensemble[TEST]).shape[1],
            "test": {MEMBER: _member_test(answers)} | {name: _test(answers, name) for name in answers.predictions},
            "diversity": _diversity(answers),
            "unknown": {split.label: _unknown(answers, split) for split in answers.unknown},
            "fidelity": {name: fidelity_figures(answers, name, num_samples, seed) for name in answers.students},
            "decisions": {name: _decisions(answers, name) for name in answers.thresholds},
            "cost": cost,
            "seconds": seconds,
        }
    )


def row_scores(answers: Answers) -> dict[str, dict[SplitId, RowScores]]:
    """Predictor -> split -> what the pictures are drawn from."""
    splits = [TEST, *answers.unknown]
    return {
        name: {split: answers.task.figures.row_scores(found[split], answers.labels.get(split)) for split in splits}
        for name, found in answers.predictions.items()
    }


def _test(answers: Answers, name: str) -> Figures:
    found = answers.predictions[name]
    labels = answers.labels
    return answers.task.figures.test_figures(found[TEST], labels[TEST], found[VALIDATION], labels[VALIDATION])


def _member_test(answers: Answers) -> Figures:
    """Mean over members alone, each on the rows that it answered."""
    labels_N = answers.labels[TEST]
    return _means(
        [
            answers.task.figures.single_figures(member_N1C, labels_N[rows_N])
            for member_N1C, rows_N in _each_member(answers.ensemble[TEST])
        ]
    )


def _diversity(answers: Answers) -> Figures:
    """How the members differ on the test rows that all of them answered."""
    rows_N = _answered_by_all(answers.ensemble[TEST])
    outputs_NMC = _outputs(answers.ensemble[TEST])[rows_N]
    return answers.task.figures.diversity(outputs_NMC, answers.labels[TEST][rows_N]) if len(outputs_NMC) else {}


def _decisions(answers: Answers, name: str) -> dict[str, Any]:
    """What a student's thresholds do on test rows."""
    found = answers.predictions[name][TEST]
    return answering_of(answers.task).measured(found, answers.labels[TEST].numpy(), answers.thresholds[name])


def _unknown(answers: Answers, split: SplitId) -> dict[str, Figures]:
    found = {MEMBER: _member_unknown(answers.task, answers.ensemble, split)}
    for name, predictions in answers.predictions.items():
        found[name] = _detection(answers.task, predictions[TEST].scores, predictions[split].scores)
    return found


def _detection(task: Task, known: Scores, unknown: Scores) -> Figures:
    """Of every score that detects; knowledge and total uncertainty do."""
    wanted = detectors(task.figures.outputs)
    names = [name for name in wanted if name in known]
    figures: Figures = dict(
        detection_figures({name: known[name] for name in names}, {name: unknown[name] for name in names})
    )
    keys = [f"{figure}_{name}" for name in wanted for figure in ("auroc", "aupr", "aupr_in", "fpr95")]
    return {key: figures.get(key) for key in keys}


def _member_unknown(task: Task, ensemble: Mapping[SplitId, Prediction], split: SplitId) -> Figures:
    """Mean over members alone."""
    test, unknown = (_each_member(ensemble[name]) for name in (TEST, split))
    return _means(
        [
            _detection(task, task.figures.scores(known), task.figures.scores(other))
            for (known, _), (other, _) in zip(test, unknown, strict=True)
        ]
    )


def _means(each: Sequence[Figures]) -> Figures:
    """Mean of every figure over those who have it; None where nobody has."""
    known = {key: [value for figures in each if (value := figures[key]) is not None] for key in each[0]}
    return {key: math.fsum(values) / len(values) if values else None for key, values in known.items()}


def fidelity_figures(answers: Answers, name: str, num_samples: int = 0, seed: int = 0) -> dict[str, Any]:
    """One student's entry under "fidelity" in metrics.json; None where it has not what a figure needs.

    Args:
        answers: of the ensemble and the student.
        name: of the student.
        num_samples: bootstrap samples behind the intervals; 0 leaves them out.
        seed: the run's, which the samples follow from.
    """
    task = answers.task
    student = answers.predictions[name]
    ensemble = answers.ensemble
    labels = answers.labels[TEST]
    unknown = [split.label for split in answers.unknown]
    heads = student[TEST].outputs_NMC
    rows_N = _answered_by_all(ensemble[TEST])
    paired = None
    if heads is not None and heads.shape[1] > 1 and (rows_N is Ellipsis or rows_N.any()):
        members_NMC = _outputs(ensemble[TEST])[rows_N]
        paired = (heads[rows_N], members_NMC if answers.heads_of is None else members_NMC[:, answers.heads_of])
    figures: dict[str, Any] = {
        **task.figures.fidelity(student[TEST], ensemble[TEST], labels, paired),
        **score_fidelity(_scores_by_set(student), _scores_by_set(ensemble), unknown, task.figures.knowledge),
    }
    if num_samples:
        draws = seed_of(seed, "bootstrap", TEST.name)  # of all figures and students alike, so that they can be compared
        figures["interval_95"] = {
            **task.figures.fidelity_intervals(student[TEST], ensemble[TEST], labels, num_samples, draws),
            **_score_intervals(answers, name, num_samples, seed),
        }
    return figures


def _scores_by_set(predictions: Mapping[SplitId, Prediction]) -> dict[str, Scores]:
    return {split.label: found.scores for split, found in predictions.items()}


def _score_intervals(answers: Answers, name: str, num_samples: int, seed: int) -> dict[str, dict[str, Interval]]:
    """95 % bootstrap intervals over rows, student and ensemble resampled together: [low, high] for each figure."""
    knowledge = answers.task.figures.knowledge
    student = answers.predictions[name]
    ensemble = answers.ensemble
    if knowledge not in student[TEST].scores or knowledge not in ensemble[TEST].scores:
        return {}
    sets = [split for split in ensemble if split != VALIDATION]
    pairs = {split: (student[split].scores[knowledge], ensemble[split].scores[knowledge]) for split in sets}
    seeds = {split: seed_of(seed, "bootstrap", split.name) for split in sets}

    def auroc_interval(split: SplitId) -> Interval:
        both = seed_of(seed, "bootstrap", f"{TEST.name} and {split.name}")
        is_view = split in answers.views_of_test
        own, others = zip(pairs[TEST], pairs[split], strict=True)
        return auroc_ratio_interval(own, others, both, num_samples, is_view=is_view)

    return {
        f"{knowledge}_ratio": {
            split.label: ratio_interval(*pair, seeds[split], num_samples) for split, pair in pairs.items()
        },
        f"spearman_{knowledge}": {
            split.label: spearman_interval(*pair, seeds[split], num_samples) for split, pair in pairs.items()
        },
        "auroc_ratio": {split.label: auroc_interval(split) for split in answers.unknown},
    }


def _answered_by_all(found: Prediction) -> Any:
    """Index of the rows that every member answered; what compares members with each other is of these alone."""
    rows_N = found.answered_by_all
    return Ellipsis if rows_N is None else rows_N


def _each_member(found: Prediction) -> list[tuple[Tensor, Any]]:
    """For each member its outputs [n, 1, C] on the rows that it answered, and the index of these rows."""
    weights_NM = found.members.weights_BM
    parts = _outputs(found).split(1, dim=1)
    if weights_NM is None:
        return [(part, Ellipsis) for part in parts]
    answered = [weights_NM[:, place] > 0 for place in range(len(parts))]
    return [(part[rows_N], rows_N) for part, rows_N in zip(parts, answered, strict=True) if rows_N.any()]


def _outputs(found: Prediction) -> Tensor:
    assert found.outputs_NMC is not None
    return found.outputs_NMC
