"""metrics.json from answers: ensemble, single member and students side by side on the same rows.

Pure arithmetic on outputs; who answered, and where, is not known here (`cluster/evaluate.py`). Which figures there are,
the task says; their places in metrics.json are those of every task.

N rows, M members or heads, C outputs of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

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
from hydra_ray.tasks import Prediction, Task

SCHEMA = 1
ENSEMBLE, MEMBER = "ensemble", "member"


@dataclass(frozen=True)
class Answers:
    """What all predictors say about all splits.

    Attributes:
        task: what was asked.
        predictions: predictor -> split -> prediction; `ensemble` and students; splits `validation`, `test` and
            `unknown-<name>`.
        labels: split -> labels [N], for validation and test.
        views_of_test: unknown splits whose row i is a view of test row i.
    """

    task: Task
    predictions: Mapping[str, Mapping[str, Prediction]]
    labels: Mapping[str, Tensor]
    views_of_test: frozenset[str] = frozenset()

    @property
    def ensemble(self) -> Mapping[str, Prediction]:
        """The ensemble's predictions."""
        return self.predictions[ENSEMBLE]

    @property
    def unknown(self) -> list[str]:
        """Unknown splits."""
        return [split for split in self.ensemble if split.startswith("unknown-")]

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
    return _finite(
        {
            "schema": SCHEMA,
            "task": answers.task.name,
            "num_members": _outputs(answers.ensemble["test"]).shape[1],
            "test": {MEMBER: _member_test(answers)} | {name: _test(answers, name) for name in answers.predictions},
            "diversity": _diversity(answers),
            "unknown": {short(split): _unknown(answers, split) for split in answers.unknown},
            "fidelity": {name: fidelity_figures(answers, name, num_samples, seed) for name in answers.students},
            "cost": cost,
            "seconds": seconds,
        }
    )


def row_scores(answers: Answers) -> dict[str, dict[str, RowScores]]:
    """Predictor -> split -> what the pictures are drawn from."""
    splits = ["test", *answers.unknown]
    return {
        name: {split: answers.task.figures.row_scores(found[split], answers.labels.get(split)) for split in splits}
        for name, found in answers.predictions.items()
    }


def short(split: str) -> str:
    """Name of an unknown set as the user gave it."""
    return split.removeprefix("unknown-")


def _test(answers: Answers, name: str) -> Figures:
    found, labels = answers.predictions[name], answers.labels
    return answers.task.figures.test_figures(found["test"], labels["test"], found["validation"], labels["validation"])


def _member_test(answers: Answers) -> Figures:
    """Mean over members alone."""
    labels_N, outputs_NMC = answers.labels["test"], _outputs(answers.ensemble["test"])
    return _means(
        [answers.task.figures.single_figures(member_N1C, labels_N) for member_N1C in outputs_NMC.split(1, dim=1)]
    )


def _diversity(answers: Answers) -> Figures:
    """How the members differ on test rows."""
    return answers.task.figures.diversity(_outputs(answers.ensemble["test"]), answers.labels["test"])


def _unknown(answers: Answers, split: str) -> dict[str, Figures]:
    found = {MEMBER: _member_unknown(answers.task, answers.ensemble, split)}
    for name, predictions in answers.predictions.items():
        found[name] = _detection(answers.task, predictions["test"].scores, predictions[split].scores)
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


def _member_unknown(task: Task, ensemble: Mapping[str, Prediction], split: str) -> Figures:
    """Mean over members alone."""
    test, unknown = (_outputs(ensemble[name]).split(1, dim=1) for name in ("test", split))
    return _means(
        [
            _detection(task, task.figures.scores(known), task.figures.scores(other))
            for known, other in zip(test, unknown, strict=True)
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
    task, student, ensemble = answers.task, answers.predictions[name], answers.ensemble
    labels, unknown = answers.labels["test"], [short(split) for split in answers.unknown]
    heads = student["test"].outputs_NMC
    paired = None if heads is None or heads.shape[1] == 1 else (heads, _outputs(ensemble["test"]))
    figures: dict[str, Any] = {
        **task.figures.fidelity(student["test"], ensemble["test"], labels, paired),
        **score_fidelity(_scores_by_set(student), _scores_by_set(ensemble), unknown, task.figures.knowledge),
    }
    if num_samples:
        draws = seed_of(seed, "bootstrap", "test")  # of all figures and students alike, so that they can be compared
        figures["interval_95"] = {
            **task.figures.fidelity_intervals(student["test"], ensemble["test"], labels, num_samples, draws),
            **_score_intervals(answers, name, num_samples, seed),
        }
    return figures


def _scores_by_set(predictions: Mapping[str, Prediction]) -> dict[str, Scores]:
    return {short(split): found.scores for split, found in predictions.items()}


def _score_intervals(answers: Answers, name: str, num_samples: int, seed: int) -> dict[str, dict[str, Interval]]:
    """95 % bootstrap intervals over rows, student and ensemble resampled together: [low, high] for each figure."""
    knowledge, student, ensemble = answers.task.figures.knowledge, answers.predictions[name], answers.ensemble
    if knowledge not in student["test"].scores or knowledge not in ensemble["test"].scores:
        return {}
    sets = [split for split in ensemble if split != "validation"]
    pairs = {split: (student[split].scores[knowledge], ensemble[split].scores[knowledge]) for split in sets}
    seeds = {split: seed_of(seed, "bootstrap", split) for split in sets}

    def auroc_interval(split: str) -> Interval:
        both, is_view = seed_of(seed, "bootstrap", f"test and {split}"), split in answers.views_of_test
        own, others = zip(pairs["test"], pairs[split], strict=True)
        return auroc_ratio_interval(own, others, both, num_samples, is_view=is_view)

    return {
        f"{knowledge}_ratio": {
            short(split): ratio_interval(*pair, seeds[split], num_samples) for split, pair in pairs.items()
        },
        f"spearman_{knowledge}": {
            short(split): spearman_interval(*pair, seeds[split], num_samples) for split, pair in pairs.items()
        },
        "auroc_ratio": {short(split): auroc_interval(split) for split in answers.unknown},
    }


def _outputs(found: Prediction) -> Tensor:
    assert found.outputs_NMC is not None
    return found.outputs_NMC


def _finite(value: Any) -> Any:
    """NaN and infinities as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
