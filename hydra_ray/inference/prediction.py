"""What a student answers: predictions with their uncertainties, as plain numpy arrays of all rows.

N rows, C classes. Uncertainties are entropies in nats, or in a regression variances in squared units of the target:
total = data + knowledge. A student with one head knows nothing of its own ignorance: `knowledge` is None.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa

from hydra_ray.storage import as_json


@dataclass(frozen=True)
class Prediction(ABC):
    """What both tasks answer.

    Attributes:
        total: float64 [N], how uncertain the answer is.
        data: float64 [N], the part that more training rows would leave.
        knowledge: float64 [N], the part on which the ensemble's members would disagree; None for a single head.
    """

    total: np.ndarray
    data: np.ndarray
    knowledge: np.ndarray | None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.total)

    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """Columns of a table, one entry a row."""

    def to_pandas(self) -> Any:
        """The same as a pandas frame."""
        import pandas as pd

        return pd.DataFrame(self.columns())

    def to_arrow(self) -> pa.Table:
        """The same as an Arrow table."""
        return pa.table({name: pa.array(values) for name, values in self.columns().items()})

    def part(self, rows: slice) -> Self:
        """Some of the rows."""
        return replace(
            self,
            **{name: value[rows] for name, value in vars(self).items() if isinstance(value, np.ndarray)},
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Several predictions as one."""
        if len(parts) == 1:
            return parts[0]
        return cls(**{field.name: _joined([getattr(part, field.name) for part in parts]) for field in fields(cls)})

    def _uncertainties(self) -> dict[str, Any]:
        found = {"total_uncertainty": self.total, "data_uncertainty": self.data}
        return found if self.knowledge is None else {**found, "knowledge_uncertainty": self.knowledge}


@dataclass(frozen=True)
class ClassPrediction(Prediction):
    """What a classification answers.

    Attributes:
        classes: name of the most probable class, object [N].
        probabilities: float64 [N, C].
        names: of the C classes in order.
        coverage: of the sets, a share of rows.
        abstain: bool [N], whether the row is too uncertain for the accepted risk; None without thresholds.
        sets: bool [N, C], the classes that may not be excluded at the coverage asked for; None without thresholds.
    """

    classes: np.ndarray
    probabilities: np.ndarray
    names: tuple[str, ...]
    coverage: float
    abstain: np.ndarray | None
    sets: np.ndarray | None

    def class_sets(self) -> list[tuple[str, ...]]:
        """The names of each row's set, the most probable first.

        Raises:
            ValueError: the student has no thresholds.
        """
        places, ends = self._held()
        names = np.array(self.names, object)[places]
        return [tuple(names[start:end]) for start, end in pairwise([0, *ends.tolist()])]

    def columns(self) -> dict[str, Any]:
        """See `Prediction.columns`."""
        probabilities = {f"probability_{name}": self.probabilities[:, c] for c, name in enumerate(self.names)}
        found = {"prediction": self.classes, **probabilities, **self._uncertainties()}
        if self.abstain is not None:
            found["abstain"] = self.abstain
        if self.sets is not None:
            found[self._set_name] = self.class_sets()
        return found

    def to_arrow(self) -> pa.Table:
        """See `Prediction.to_arrow`; probabilities are float32, as the network computes them."""
        names = pa.array(self.names, pa.string())
        found: dict[str, Any] = {"prediction": names.take(pa.array(self.probabilities.argmax(axis=1)))}
        for c, name in enumerate(self.names):
            found[f"probability_{name}"] = pa.array(self.probabilities[:, c].astype(np.float32))
        found |= {name: pa.array(values) for name, values in self._uncertainties().items()}
        if self.abstain is not None:
            found["abstain"] = pa.array(self.abstain)
        if self.sets is not None:
            places, ends = self._held()
            found[self._set_name] = pa.ListArray.from_arrays(
                pa.array(np.concatenate([[0], ends]), pa.int32()), names.take(pa.array(places))
            )
        return pa.table(found)

    @property
    def _set_name(self) -> str:
        return f"set_{self.coverage * 100:g}"

    def _held(self) -> tuple[np.ndarray, np.ndarray]:
        """Places of the classes of all sets, the most probable first, and where each row's set ends among them, [N].

        Raises:
            ValueError: the student has no thresholds.
        """
        if self.sets is None:
            raise ValueError("the student has no thresholds.json, so there are no sets")
        order = np.argsort(-self.probabilities, axis=1, kind="stable")
        is_held = np.take_along_axis(self.sets, order, axis=1)
        return order[is_held], is_held.sum(axis=1).cumsum()


@dataclass(frozen=True)
class RegressionPrediction(Prediction):
    """What a regression answers, in units of the target.

    Attributes:
        mean: float64 [N].
        std: float64 [N], root of the total uncertainty.
        interval: float64 [N, 2], low and high, which hold the truth at the coverage; without thresholds those of the
            heads' mixture.
        coverage: of the intervals, a share of rows.
    """

    mean: np.ndarray
    std: np.ndarray
    interval: np.ndarray
    coverage: float

    def columns(self) -> dict[str, Any]:
        """See `Prediction.columns`."""
        name = f"{self.coverage * 100:g}"
        bounds = {f"low_{name}": self.interval[:, 0], f"high_{name}": self.interval[:, 1]}
        return {"mean": self.mean, "std": self.std, **bounds, **self._uncertainties()}


def to_rows(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Columns as one object a row, as JSON has them; what is not finite is null."""
    plain = [value.tolist() if isinstance(value, np.ndarray) else list(value) for value in columns.values()]
    return [as_json(dict(zip(columns, row, strict=True))) for row in zip(*plain, strict=True)]


def _joined(parts: Sequence[Any]) -> Any:
    """Arrays after each other; what all parts have in common, once."""
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else parts[0]
