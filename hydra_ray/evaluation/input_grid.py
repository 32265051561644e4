"""What predictors say over the whole space of inputs, where that has one or two features and can be drawn.

A grid that reaches beyond the training rows, so that a picture shows what members and students make of places nobody
showed them. Plain arrays; who is asked is not known here, nor how it is drawn (`report/input_grid_figures.py`).

D features (1 or 2), G points of a grid, N training rows, K members or heads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hydra_ray.data import Rows
from hydra_ray.metrics import RowScores

_MARGIN = 0.35
_TICKS = {1: 401, 2: 141}
_MANY_ROWS = 1500


@dataclass(frozen=True)
class Plane:
    """The answers of all predictors on a grid.

    Attributes:
        names: of the features.
        class_names: in order; none in a regression.
        ticks: the grid's values along each feature; the points are their product, the last feature fastest.
        rows_ND: training rows, at most some 1,500 of them.
        labels_N: theirs.
        scores: predictor -> scores of the G points.
        answers: predictor -> [G, K, C] probabilities of each member or head; in a regression [G, K, 2], mean and
            log variance of each Gaussian of its mixture.
    """

    names: tuple[str, ...]
    class_names: tuple[str, ...]
    ticks: tuple[np.ndarray, ...]
    rows_ND: np.ndarray
    labels_N: np.ndarray
    scores: Mapping[str, RowScores]
    answers: Mapping[str, np.ndarray]

    @property
    def has_classes(self) -> bool:
        """Whether labels are classes; else they are targets."""
        return bool(self.class_names)

    def as_grid(self, values_G: np.ndarray) -> np.ndarray:
        """Values of the points, an axis for each feature."""
        return values_G.reshape([len(each) for each in self.ticks])


def grid_ticks(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Values along each feature, float32: its range in the training rows, and beyond it on each side.

    Args:
        low: smallest value of each feature, [D].
        high: largest value.
    """
    reach = _MARGIN * np.where(high > low, high.astype(np.float64) - low, 1)
    ends = zip(low - reach, high + reach, strict=True)
    return tuple(np.linspace(first, last, _TICKS[len(low)], dtype=np.float32) for first, last in ends)


def grid_points(ticks: Sequence[np.ndarray]) -> np.ndarray:
    """All points of a grid: float32 [G, D]."""
    return np.stack([axis.ravel() for axis in np.meshgrid(*ticks, indexing="ij")], axis=1)


def shown_rows(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Training rows that a picture has room for, at even distances, and their labels."""
    step = max(1, -(-len(rows) // _MANY_ROWS))
    assert rows.labels is not None, "training rows have labels"
    return rows.inputs[::step], rows.labels[::step]
