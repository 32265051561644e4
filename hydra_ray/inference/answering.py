"""From a student's outputs to answers and decisions: what classification and regression do differently."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor

from hydra_ray.inference import prediction
from hydra_ray.inference.thresholds import COVERAGES, QUANTILES, RISKS, Thresholds
from hydra_ray.metrics import (
    Selection,
    adaptive_scores,
    central_interval,
    conformal_quantile,
    least_ambiguous_scores,
    moments_of,
    select,
    selection_at,
)
from hydra_ray.randomness import seed_of
from hydra_ray.tasks import CLASSIFICATION, REGRESSION, Prediction, Task

Answer = TypeVar("Answer", bound=prediction.Prediction)

TOTAL = "total"
DATA = "data"
KNOWLEDGE = "knowledge"
LEAST_AMBIGUOUS = "least_ambiguous"
ADAPTIVE = "adaptive"
SCALED_RESIDUAL = "scaled_residual"
_OF_CLASSES = {LEAST_AMBIGUOUS: least_ambiguous_scores, ADAPTIVE: adaptive_scores}


class Answering(ABC, Generic[Answer]):
    """One task's answers.

    N rows; labels are numbers of classes, or targets, of rows that all have one.
    """

    task: ClassVar[Task]
    coverage: ClassVar[float]
    """Of sets or intervals, where a caller asks for no other."""
    methods: ClassVar[tuple[str, ...]]
    """Conformal methods, the default one first."""

    def fit(self, found: Prediction, labels_N: np.ndarray, seed: int) -> Thresholds:
        """Thresholds from validation rows.

        Args:
            found: what the student says of them, as it is used.
            labels_N: theirs.
            seed: of the student.
        """
        conformity = self.conformity(found, labels_N)
        return Thresholds(
            num_rows=len(labels_N),
            risks=self.selections(found, labels_N, seed),
            conformal={
                coverage: {method: conformal_quantile(scores_N, coverage) for method, scores_N in conformity.items()}
                for coverage in COVERAGES
            },
            quantiles={
                score: {share: float(np.quantile(values_N, share)) for share in QUANTILES}
                for score, values_N in self.scores(found).items()
            },
        )

    def scores(self, found: Prediction) -> dict[str, np.ndarray]:
        """Total uncertainty, and knowledge uncertainty where there are heads to disagree: [N] each."""
        rows = self.task.figures.row_scores(found, None)
        return {TOTAL: rows.total} | ({} if rows.knowledge is None else {KNOWLEDGE: rows.knowledge})

    @abstractmethod
    def selections(self, found: Prediction, labels_N: np.ndarray, seed: int) -> dict[float, dict[str, Selection]]:
        """Risk -> score -> threshold; empty where no answer is simply wrong."""

    @abstractmethod
    def conformity(self, found: Prediction, labels_N: np.ndarray) -> dict[str, np.ndarray]:
        """Method -> how badly each row's truth fits its prediction, [N]."""

    @abstractmethod
    def measured(self, found: Prediction, labels_N: np.ndarray, thresholds: Thresholds) -> dict[str, Any]:
        """What the thresholds do on other rows, for metrics.json; JSON-able.

        Coverage and risk are of these rows, the bound of the risk is the thresholds' own, of validation rows.
        """

    @abstractmethod
    def quantities(self, found: Prediction) -> dict[str, Tensor]:
        """The prediction itself, float64 [N, ...], by the names that answers have for it; made of tensors alone."""

    @abstractmethod
    def answer(
        self, found: Prediction, names: tuple[str, ...], thresholds: Thresholds | None, risk: float, coverage: float
    ) -> Answer:
        """What callers get.

        Args:
            found: what the student says of N rows.
            names: of the classes; none in a regression.
            thresholds: of the student, where it has any.
            risk: accepted share of wrong answers, one of those fitted.
            coverage: of sets or intervals, one of those fitted.
        """


class ClassificationAnswers(Answering[prediction.ClassPrediction]):
    """Classes, abstention, and sets of classes."""

    task = CLASSIFICATION
    coverage = 0.9
    methods = (LEAST_AMBIGUOUS, ADAPTIVE)

    def selections(self, found: Prediction, labels_N: np.ndarray, seed: int) -> dict[float, dict[str, Selection]]:
        """See `Answering.selections`."""
        if len(labels_N) < 2:
            return {}
        is_wrong_N = _is_wrong(found, labels_N)
        return {
            risk: {
                score: select(values_N, is_wrong_N, risk, seed_of(seed, "threshold rows"))
                for score, values_N in self.scores(found).items()
            }
            for risk in RISKS
        }

    def conformity(self, found: Prediction, labels_N: np.ndarray) -> dict[str, np.ndarray]:
        """See `Answering.conformity`."""
        rows = np.arange(len(labels_N))
        probs_NC = found.distribution.exp().numpy()
        return {method: _OF_CLASSES[method](probs_NC)[rows, labels_N] for method in self.methods}

    def measured(self, found: Prediction, labels_N: np.ndarray, thresholds: Thresholds) -> dict[str, Any]:
        """See `Answering.measured`."""
        is_wrong_N = _is_wrong(found, labels_N)
        values = self.scores(found)
        risks = {
            str(risk): {
                score: {
                    **selection_at(chosen.threshold, values[score], is_wrong_N)._asdict(),
                    "risk_bound": chosen.risk_bound,
                }
                for score, chosen in each.items()
            }
            for risk, each in thresholds.risks.items()
        }
        rows = np.arange(len(labels_N))
        sets: dict[str, Any] = {}
        for coverage in thresholds.conformal:
            held = {method: self._sets(found, thresholds, coverage, method) for method in self.methods}
            sets[str(coverage)] = {
                method: {"coverage": float(held_NC[rows, labels_N].mean()), "size": float(held_NC.sum(axis=1).mean())}
                for method, held_NC in held.items()
            }
        return {"risks": risks, "conformal": sets}

    def quantities(self, found: Prediction) -> dict[str, Tensor]:
        """Probabilities [N, C]."""
        return {"probabilities": found.distribution.exp()}

    def answer(
        self, found: Prediction, names: tuple[str, ...], thresholds: Thresholds | None, risk: float, coverage: float
    ) -> prediction.ClassPrediction:
        """See `Answering.answer`."""
        rows = self.task.figures.row_scores(found, None)
        probabilities = found.distribution.exp().numpy()
        return prediction.ClassPrediction(
            total=rows.total,
            data=rows.data,
            knowledge=rows.knowledge,
            classes=np.array(names, object)[probabilities.argmax(axis=1)],
            probabilities=probabilities,
            names=names,
            coverage=coverage,
            abstain=None if thresholds is None else _is_above(rows.total, thresholds.at_risk(risk, TOTAL)),
            sets=None if thresholds is None else self._sets(found, thresholds, coverage, self.methods[0]),
        )

    def _sets(self, found: Prediction, thresholds: Thresholds, coverage: float, method: str) -> np.ndarray:
        """Classes whose score is at most the quantile, and always the most probable one: bool [N, C]."""
        scores_NC = _OF_CLASSES[method](found.distribution.exp().numpy())
        quantile = thresholds.at_coverage(coverage, method)
        if quantile is None:
            return np.ones_like(scores_NC, bool)
        held_NC = scores_NC <= quantile
        held_NC[np.arange(len(held_NC)), found.distribution.argmax(dim=1).numpy()] = True
        return held_NC


class RegressionAnswers(Answering[prediction.RegressionPrediction]):
    """Means and intervals."""

    task = REGRESSION
    coverage = 0.95
    methods = (SCALED_RESIDUAL,)

    def selections(self, found: Prediction, labels_N: np.ndarray, seed: int) -> dict[float, dict[str, Selection]]:
        """None: no answer is simply wrong."""
        return {}

    def conformity(self, found: Prediction, labels_N: np.ndarray) -> dict[str, np.ndarray]:
        """Residuals in units of the predicted standard deviation (Lei et al. 2018, section 5.2)."""
        mean_N, std_N = _moments(found)
        return {SCALED_RESIDUAL: np.abs(labels_N - mean_N) / std_N}

    def measured(self, found: Prediction, labels_N: np.ndarray, thresholds: Thresholds) -> dict[str, Any]:
        """See `Answering.measured`; the size of an interval is its width, in units of the target."""
        mean_N, std_N = _moments(found)
        measured: dict[str, Any] = {}
        for coverage in thresholds.conformal:
            quantile = thresholds.at_coverage(coverage, SCALED_RESIDUAL)
            if quantile is None:
                measured[str(coverage)] = {SCALED_RESIDUAL: {"coverage": 1.0, "size": None}}
                continue
            is_inside_N = np.abs(labels_N - mean_N) <= quantile * std_N
            size = float((2 * quantile * std_N).mean())
            measured[str(coverage)] = {SCALED_RESIDUAL: {"coverage": float(is_inside_N.mean()), "size": size}}
        return {"conformal": measured}

    def quantities(self, found: Prediction) -> dict[str, Tensor]:
        """Mean and standard deviation of the mixture, [N] each."""
        moments = moments_of(found.distribution)
        return {"mean": moments.mean, "std": moments.total_variance.sqrt()}

    def answer(
        self, found: Prediction, names: tuple[str, ...], thresholds: Thresholds | None, risk: float, coverage: float
    ) -> prediction.RegressionPrediction:
        """See `Answering.answer`."""
        rows = self.task.figures.row_scores(found, None)
        mean_N, std_N = _moments(found)
        return prediction.RegressionPrediction(
            total=rows.total,
            data=rows.data,
            knowledge=rows.knowledge,
            mean=mean_N,
            std=std_N,
            interval=self._interval(found, thresholds, coverage),
            coverage=coverage,
        )

    def _interval(self, found: Prediction, thresholds: Thresholds | None, coverage: float) -> np.ndarray:
        if thresholds is None:
            return np.stack([bound.numpy() for bound in central_interval(found.distribution, coverage)], axis=1)
        mean_N, std_N = _moments(found)
        quantile = thresholds.at_coverage(coverage, SCALED_RESIDUAL)
        half_N = np.full(len(mean_N), np.inf) if quantile is None else quantile * std_N
        return np.stack([mean_N - half_N, mean_N + half_N], axis=1)


_OF_TASKS: dict[str, Answering[Any]] = {each.task.name: each for each in (ClassificationAnswers(), RegressionAnswers())}


def answering_of(task: Task) -> Answering[Any]:
    """The answers of a task."""
    return _OF_TASKS[task.name]


def _is_wrong(found: Prediction, labels_N: np.ndarray) -> np.ndarray:
    return found.distribution.argmax(dim=1).numpy() != labels_N


def _is_above(values_N: np.ndarray, threshold: float | None) -> np.ndarray:
    """Everything is, where no row may be answered."""
    return np.ones(len(values_N), bool) if threshold is None else values_N > threshold


def _moments(found: Prediction) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the mixture, [N] each."""
    quantities = answering_of(REGRESSION).quantities(found)
    return quantities["mean"].numpy(), quantities["std"].numpy()
