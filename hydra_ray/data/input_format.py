"""What rows a network takes, as it stands in its folder: images of a shape, or a table's columns by name.

How rows as people have them are brought into that form is in `inference/inputs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from hydra_ray.data.data_set import DataSet
from hydra_ray.data.rows import Source
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.source import TableSource


@dataclass(frozen=True)
class InputFormat:
    """The rows that a network was trained on.

    Attributes:
        shape: of one row, (H, W, channels) or (D,).
        features: the names of the D features in order; None for images, and where the source has no names.
        columns: how the features are read from columns of a table; None where they were never in one.

    Where columns lack numbers there are more features than columns, see `tables/reading.py`.
    """

    shape: tuple[int, ...]
    features: tuple[str, ...] | None = None
    columns: Columns | None = None

    @classmethod
    def of(cls, data: DataSet) -> Self:
        """Of a data set's training rows."""
        source: Source = data.splits["train"].source
        columns = source.columns if isinstance(source, TableSource) and source.columns.kind == "numbers" else None
        return cls(data.input_shape, source.feature_names, columns)

    @property
    def names(self) -> tuple[str, ...] | None:
        """Of the columns of a table that holds such rows; None where they have no names."""
        return self.features if self.columns is None else self.columns.inputs

    @property
    def categories(self) -> tuple[int, ...]:
        """Of each feature how many codes it has, 0 for a number; () where none is a category."""
        return () if self.columns is None else self.columns.categories

    @property
    def is_plain(self) -> bool:
        """Whether an array of a table's own columns is one of numbers alone, as many as there are features."""
        return self.columns is None or self.columns.reading.is_plain

    @property
    def is_image(self) -> bool:
        """Whether rows are pixels."""
        return len(self.shape) == 3

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, which `from_json` reads."""
        found: dict[str, Any] = {"shape": list(self.shape)}
        if self.features is not None:
            found["features"] = list(self.features)
        if self.columns is not None:
            found["columns"] = self.columns.reading.to_json()
        return found

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The format that `to_json` was called on.

        Raises:
            KeyError, TypeError: it is none.
        """
        features = None if content.get("features") is None else tuple(content["features"])
        columns = None
        if "columns" in content and features is not None:
            reading = Reading.from_json(content["columns"])
            names = features[: len(features) - len(reading.medians)]
            columns = Columns(names, "numbers", is_struct=False, label=None, reading=reading)
        return cls(tuple(content["shape"]), features, columns)
