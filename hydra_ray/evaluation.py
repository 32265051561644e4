"""metrics.json from answers: ensemble, single member and students side by side on the same rows.

Pure arithmetic on logits; who answered, and where, is not known here (`cluster/evaluate.py`).

N rows, M members or heads, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_ray.fidelity import fidelity_figures
from hydra_ray.metrics import (
    calibrated_nll,
    classification_figures,
    detection_figures,
    fit_temperature,
    member_figures,
)
from hydra_ray.report.evidence import RowScores
from hydra_ray.uncertainty import mixture_log_probs, scores

SCHEMA = 1
ENSEMBLE, MEMBER = "ensemble", "member"
_DETECTORS = ("mutual_information", "entropy")


@dataclass(frozen=True)
class Answers:
    """What all predictors say about all splits.

    Attributes:
        logits: predictor -> split -> float [N, M, C]; `ensemble` and students; splits `validation`, `test`
            and `unknown-<name>`.
        labels: split -> int64 [N], for validation and test.
    """

    logits: Mapping[str, Mapping[str, Tensor]]
    labels: Mapping[str, Tensor]

    @property
    def unknown(self) -> list[str]:
        """Unknown splits."""
        return [split for split in self.logits[ENSEMBLE] if split.startswith("unknown-")]

    @property
    def students(self) -> list[str]:
        """Everything but the ensemble."""
        return [name for name in self.logits if name != ENSEMBLE]


def metrics_of(answers: Answers, cost: Mapping[str, Any], seconds: Mapping[str, float]) -> dict[str, Any]:
    """The content of metrics.json, as design.md section 6 has it; undefined figures are None."""
    ensemble = answers.logits[ENSEMBLE]
    return _finite(
        {
            "schema": SCHEMA,
            "task": "classification",
            "num_members": ensemble["test"].shape[1],
            "test": {MEMBER: _member_test(answers)} | {name: _test(answers, name) for name in answers.logits},
            "unknown": {short(split): _unknown(answers, split) for split in answers.unknown},
            "fidelity": {name: _fidelity(answers, name) for name in answers.students},
            "cost": cost,
            "seconds": seconds,
        }
    )


def row_scores(answers: Answers) -> dict[str, dict[str, RowScores]]:
    """Predictor -> split -> what the pictures are drawn from."""
    splits = ["test", *answers.unknown]
    return {
        name: {split: _row_scores(logits[split], answers.labels.get(split)) for split in splits}
        for name, logits in answers.logits.items()
    }


def short(split: str) -> str:
    """Name of an unknown set as the user gave it."""
    return split.removeprefix("unknown-")


def _test(answers: Answers, name: str) -> dict[str, Any]:
    logits = answers.logits[name]
    figures: dict[str, Any] = dict(classification_figures(logits["test"], answers.labels["test"]))
    temperature = fit_temperature(mixture_log_probs(logits["validation"]), answers.labels["validation"])
    figures["calibrated_nll"] = calibrated_nll(
        mixture_log_probs(logits["test"]), answers.labels["test"], temperature
    )
    return figures


def _member_test(answers: Answers) -> dict[str, Any]:
    logits = answers.logits[ENSEMBLE]
    return dict(member_figures(logits["test"], answers.labels["test"]))


def _unknown(answers: Answers, split: str) -> dict[str, Any]:
    found: dict[str, Any] = {MEMBER: _member_unknown(answers.logits[ENSEMBLE], split)}
    for name, logits in answers.logits.items():
        found[name] = _detection(logits["test"], logits[split])
    return found


def _detection(test_NMC: Tensor, unknown_NMC: Tensor) -> dict[str, float | None]:
    known, unknown = scores(test_NMC), scores(unknown_NMC)
    names = [name for name in _DETECTORS if name in known]
    figures: dict[str, float | None] = dict(
        detection_figures({name: known[name] for name in names}, {name: unknown[name] for name in names})
    )
    return {
        key: figures.get(key)
        for key in (f"{f}_{d}" for d in _DETECTORS for f in ("auroc", "aupr", "aupr_in", "fpr95"))
    }


def _member_unknown(ensemble: Mapping[str, Tensor], split: str) -> dict[str, float | None]:
    pairs = zip(ensemble["test"].split(1, dim=1), ensemble[split].split(1, dim=1), strict=True)
    each = [_detection(test, unknown) for test, unknown in pairs]
    columns = {key: [figures[key] for figures in each] for key in each[0]}
    return {
        key: None if None in column else math.fsum(v for v in column if v is not None) / len(column)
        for key, column in columns.items()
    }


def _fidelity(answers: Answers, name: str) -> dict[str, Any]:
    def by_set(logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {short(split): logits[split] for split in ["test", *answers.unknown]}

    unknown = [short(split) for split in answers.unknown]
    return dict(
        fidelity_figures(
            by_set(answers.logits[name]), by_set(answers.logits[ENSEMBLE]), answers.labels["test"], unknown
        )
    )


def _row_scores(logits_NMC: Tensor, labels_N: Tensor | None) -> RowScores:
    confidence_N, predicted_N = mixture_log_probs(logits_NMC).exp().max(dim=1)
    found = scores(logits_NMC)
    knowledge = found.get("mutual_information")
    return RowScores(
        confidence=confidence_N.numpy(),
        correct=None if labels_N is None else (predicted_N == labels_N).numpy(),
        entropy=found["entropy"].numpy(),
        data_uncertainty=found["data_uncertainty"].numpy(),
        mutual_information=None if knowledge is None else knowledge.numpy(),
    )


def _finite(value: Any) -> Any:
    """NaN and infinities as None: JSON has neither."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_float(logits: Any) -> Tensor:
    """Stored logits (numpy float16 or float32) as float32 on the CPU."""
    return torch.tensor(logits, dtype=torch.float32)
