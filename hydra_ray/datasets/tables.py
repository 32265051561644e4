"""What sources of tables share, whatever file they lie in: rows, labels and flags from batches of columns.

A table source says how its batches are got (`parquet.py`, `csv_files.py`); here they become inputs and labels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hydra_ray.datasets.columns import Columns, find_columns
from hydra_ray.datasets.content import FileContent
from hydra_ray.datasets.decoding import decode_inputs, decode_labels, decode_targets
from hydra_ray.datasets.rows import Bools, Floats, Ints, Rows, Task, positions


@dataclass(frozen=True)
class Wanted:
    """What is asked of a table's files."""

    name: str
    """Of the source, without folders above it."""
    place: str
    """Key and path as messages name them."""
    target: str | None = None
    """The column that a regression predicts."""
    needs_target: bool = True
    """False for a further set, whose labels nobody uses."""

    def columns_of(self, schema: pa.Schema) -> Columns:
        """Inputs and labels in a file of this schema; see `find_columns`."""
        return find_columns(schema, self.place, self.target, needs_target=self.needs_target)


@dataclass(frozen=True)
class TableSource(ABC):
    """A split in a table with named columns; see `Source`."""

    name: str
    place: str
    """Key and path as messages name them."""
    columns: Columns
    input_shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """See `Source.num_rows`."""

    @abstractmethod
    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows that overlap [start, stop) in order, with the position of the first of each batch."""

    @property
    @abstractmethod
    def contents(self) -> tuple[FileContent, ...]:
        """The files with rows, in order."""

    @abstractmethod
    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`."""

    def fingerprint(self) -> dict[str, Any]:
        """The content of all files, and which columns of them are read; neither paths nor times."""
        return {
            "num_rows": self.num_rows,
            "files": [file.digest for file in self.contents],
            "inputs": list(self.columns.inputs),
            "label": self.columns.label,
        }

    @property
    def task(self) -> Task:
        """Regression where a target is named."""
        return self.columns.task

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """From the hub's metadata."""
        return self.columns.class_names

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the columns of numbers."""
        return self.columns.feature_names

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """See `Source.read`; rows that are not kept are not decoded."""
        row_id = positions(start, stop, keep, self.num_rows)
        labels = self._empty_labels(len(row_id)) if self.columns.label else None
        rows = Rows(row_id, np.empty((len(row_id), *self.input_shape), self.dtype), labels)
        if len(rows):
            for first, batch in self.batches(int(row_id[0]), int(row_id[-1]) + 1, self.columns.to_read):
                low, high = np.searchsorted(row_id, [first, first + batch.num_rows])
                if low < high:
                    self._fill(rows, slice(low, high), batch.take(pa.array(row_id[low:high] - first)))
        return rows

    def read_labels(self) -> Ints | Floats | None:
        """See `Source.read_labels`."""
        label = self.columns.label
        if label is None:
            return None
        labels = self._empty_labels(self.num_rows)
        for first, batch in self.batches(0, self.num_rows, [label]):
            row_id = np.arange(first, first + batch.num_rows)
            labels[row_id] = self._labels(batch, label, row_id)
        return labels

    def read_flags(self, column: str) -> Bools:
        """A column of booleans, null as false: bool [num_rows]."""
        parts = [batch.column(column) for _, batch in self.batches(0, self.num_rows, [column])]
        return np.concatenate([part.fill_null(False).to_numpy(zero_copy_only=False) for part in parts])

    def first_row(self) -> npt.NDArray[Any]:
        """Inputs of the row at position 0, [1, ...], which shape and type are taken from."""
        _, batch = next(self.batches(0, 1, self.columns.to_read))
        return decode_inputs(batch.slice(0, 1), self.columns, np.zeros(1, np.int64), None, self.place)

    def _empty_labels(self, num_rows: int) -> Any:
        return np.empty(num_rows, np.int64 if self.task == "classification" else np.float32)

    def _labels(self, batch: pa.RecordBatch, label: str, row_id: Ints) -> Ints | Floats:
        if self.task == "classification":
            return decode_labels(batch, label)
        return decode_targets(batch, label, row_id, self.place)

    def _fill(self, rows: Rows, where: slice, batch: pa.RecordBatch) -> None:
        row_id = rows.row_id[where]
        rows.inputs[where] = decode_inputs(batch, self.columns, row_id, self.input_shape, self.place)
        if rows.labels is not None and self.columns.label is not None:
            rows.labels[where] = self._labels(batch, self.columns.label, row_id)
