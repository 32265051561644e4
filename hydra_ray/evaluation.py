"""metrics.json from answers: ensemble, single member and students side by side on the same rows.

Pure arithmetic on logits; who answered, and where, is not known here (`cluster/evaluate.py`).

N rows, M members or heads, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_ray.diversity import diversity_figures
from hydra_ray.fidelity import (
    bootstrap_interval,
    bootstrap_ratio_interval,
    member_agreement,
    member_kl,
    score_fidelity,
    spearman,
)
from hydra_ray.metrics import (
    calibrated_nll,
    detection_figures,
    fit_temperature,
    member_figures,
    nll,
    predictive_figures,
    row_nll,
)
from hydra_ray.report.evidence import RowScores
from hydra_ray.students import Prediction
from hydra_ray.uncertainty import Scores, scores

SCHEMA = 1
ENSEMBLE, MEMBER = "ensemble", "member"
_MI = "mutual_information"
_DETECTORS = (_MI, "entropy")


@dataclass(frozen=True)
class Answers:
    """What all predictors say about all splits.

    Attributes:
        predictions: predictor -> split -> prediction; `ensemble` and students; splits `validation`, `test` and
            `unknown-<name>`.
        labels: split -> int64 [N], for validation and test.
    """

    predictions: Mapping[str, Mapping[str, Prediction]]
    labels: Mapping[str, Tensor]

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
    """The content of metrics.json, as design.md section 6 has it; undefined figures are None.

    Args:
        answers: of the ensemble and the students.
        cost: predictor -> its cost.
        seconds: stage -> how long it took.
        num_samples: bootstrap samples behind the intervals of fidelity; 0 leaves them out.
        seed: of the samples.
    """
    return _finite(
        {
            "schema": SCHEMA,
            "task": "classification",
            "num_members": _logits(answers.ensemble["test"]).shape[1],
            "test": {MEMBER: _member_test(answers)} | {name: _test(answers, name) for name in answers.predictions},
            "diversity": _diversity(answers),
            "unknown": {short(split): _unknown(answers, split) for split in answers.unknown},
            "fidelity": {name: _fidelity(answers, name, num_samples, seed) for name in answers.students},
            "cost": cost,
            "seconds": seconds,
        }
    )


def row_scores(answers: Answers) -> dict[str, dict[str, RowScores]]:
    """Predictor -> split -> what the pictures are drawn from."""
    splits = ["test", *answers.unknown]
    return {
        name: {split: _row_scores(found[split], answers.labels.get(split)) for split in splits}
        for name, found in answers.predictions.items()
    }


def short(split: str) -> str:
    """Name of an unknown set as the user gave it."""
    return split.removeprefix("unknown-")


def _test(answers: Answers, name: str) -> dict[str, Any]:
    found, labels = answers.predictions[name], answers.labels
    test, validation = found["test"], found["validation"]
    figures: dict[str, Any] = dict(predictive_figures(test.log_probs_NC, labels["test"], test.scores))
    temperature = fit_temperature(validation.log_probs_NC, labels["validation"])
    figures["calibrated_nll"] = calibrated_nll(test.log_probs_NC, labels["test"], temperature)
    return figures


def _member_test(answers: Answers) -> dict[str, Any]:
    return dict(member_figures(_logits(answers.ensemble["test"]), answers.labels["test"]))


def _diversity(answers: Answers) -> dict[str, Any]:
    """Measures of the ensemble's diversity on test rows (Liu et al. 2019)."""
    return dict(diversity_figures(_logits(answers.ensemble["test"]).argmax(dim=-1), answers.labels["test"]))


def _unknown(answers: Answers, split: str) -> dict[str, Any]:
    found: dict[str, Any] = {MEMBER: _member_unknown(answers.ensemble, split)}
    for name, predictions in answers.predictions.items():
        found[name] = _detection(predictions["test"].scores, predictions[split].scores)
    return found


def _detection(known: Scores, unknown: Scores) -> dict[str, float | None]:
    names = [name for name in _DETECTORS if name in known]
    figures: dict[str, float | None] = dict(
        detection_figures({name: known[name] for name in names}, {name: unknown[name] for name in names})
    )
    wanted = [f"{figure}_{name}" for name in _DETECTORS for figure in ("auroc", "aupr", "aupr_in", "fpr95")]
    return {key: figures.get(key) for key in wanted}


def _member_unknown(ensemble: Mapping[str, Prediction], split: str) -> dict[str, float | None]:
    """Mean over members alone."""
    test, unknown = (_logits(ensemble[name]).split(1, dim=1) for name in ("test", split))
    each = [_detection(scores(known), scores(other)) for known, other in zip(test, unknown, strict=True)]
    columns = {key: [figures[key] for figures in each] for key in each[0]}
    return {key: None if None in column else math.fsum(_known(column)) / len(column) for key, column in columns.items()}


def _known(column: Sequence[float | None]) -> list[float]:
    return [value for value in column if value is not None]


def _fidelity(answers: Answers, name: str, num_samples: int, seed: int) -> dict[str, Any]:
    student, ensemble = answers.predictions[name], answers.ensemble
    labels, unknown = answers.labels["test"], [short(split) for split in answers.unknown]
    heads = student["test"].logits_NMC
    paired = None if heads is None or heads.shape[1] == 1 else (heads, _logits(ensemble["test"]))
    figures = {
        "nll_ratio": nll(student["test"].log_probs_NC, labels) / nll(ensemble["test"].log_probs_NC, labels),
        "member_agreement": member_agreement(*paired) if paired else None,
        "member_kl": member_kl(*paired) if paired else None,
        **score_fidelity(_scores_by_set(student), _scores_by_set(ensemble), unknown),
    }
    if num_samples:
        figures["interval_95"] = fidelity_intervals(student, ensemble, labels, num_samples, seed)
    return figures


def _scores_by_set(predictions: Mapping[str, Prediction]) -> dict[str, Scores]:
    return {short(split): found.scores for split, found in predictions.items()}


def fidelity_intervals(
    student: Mapping[str, Prediction], ensemble: Mapping[str, Prediction], labels_N: Tensor, num_samples: int, seed: int
) -> dict[str, Any]:
    """95 % bootstrap intervals over rows, student and ensemble resampled together: [low, high] for each figure."""
    student_nll_N, ensemble_nll_N = (row_nll(each["test"].log_probs_NC, labels_N) for each in (student, ensemble))
    intervals: dict[str, Any] = {
        "nll_ratio": bootstrap_ratio_interval(student_nll_N, ensemble_nll_N, seed, num_samples)
    }
    if _MI not in student["test"].scores or _MI not in ensemble["test"].scores:
        return intervals
    sets = [split for split in ensemble if split != "validation"]
    mi = {split: (student[split].scores[_MI], ensemble[split].scores[_MI]) for split in sets}
    intervals["mutual_information_ratio"] = {
        short(split): bootstrap_ratio_interval(*pair, seed, num_samples) for split, pair in mi.items()
    }
    intervals["spearman_mutual_information"] = {
        short(split): _spearman_interval(*pair, seed, num_samples) for split, pair in mi.items()
    }
    intervals["auroc_ratio"] = {
        short(split): _auroc_interval(mi["test"], pair, seed, num_samples)
        for split, pair in mi.items()
        if split != "test"
    }
    return intervals


def _spearman_interval(student_N: Tensor, ensemble_N: Tensor, seed: int, num_samples: int) -> tuple[float, float]:
    def statistic(rows: Tensor) -> float:
        found = spearman(student_N[rows], ensemble_N[rows])
        return math.nan if found is None else found

    return bootstrap_interval(statistic, len(student_N), seed, num_samples)


def _auroc_interval(
    test: tuple[Tensor, Tensor], unknown: tuple[Tensor, Tensor], seed: int, num_samples: int
) -> tuple[float, float]:
    """Rows of test and unknown are resampled together; scores are ranked once, not for every sample."""
    ranks = [torch.unique(torch.cat(scores), return_inverse=True)[1] for scores in zip(test, unknown, strict=True)]
    num_rows = len(ranks[0])
    is_unknown_N = torch.arange(num_rows) >= len(test[0])

    def statistic(rows: Tensor) -> float:
        student, ensemble = (auroc_of_ranks(each[rows], is_unknown_N[rows]) for each in ranks)
        return student / ensemble

    return bootstrap_interval(statistic, num_rows, seed, num_samples)


def auroc_of_ranks(ranks_N: Tensor, is_unknown_N: Tensor) -> float:
    """`metrics.auroc` of scores given as whole-number ranks, by counting: P(unknown > known) + P(equal) / 2."""
    size = int(ranks_N.max()) + 1
    known, unknown = (
        torch.bincount(ranks_N[which], minlength=size).double() for which in (~is_unknown_N, is_unknown_N)
    )
    below = known.cumsum(0) - known
    return float((unknown * (below + known / 2)).sum() / (known.sum() * unknown.sum()))


def _row_scores(found: Prediction, labels_N: Tensor | None) -> RowScores:
    confidence_N, predicted_N = found.log_probs_NC.exp().max(dim=1)
    knowledge = found.scores.get(_MI)
    return RowScores(
        confidence=confidence_N.numpy(),
        correct=None if labels_N is None else (predicted_N == labels_N).numpy(),
        entropy=found.scores["entropy"].numpy(),
        data_uncertainty=found.scores["data_uncertainty"].numpy(),
        mutual_information=None if knowledge is None else knowledge.numpy(),
    )


def _logits(found: Prediction) -> Tensor:
    assert found.logits_NMC is not None
    return found.logits_NMC


def _finite(value: Any) -> Any:
    """NaN and infinities as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
