"""What whole columns of a table hold, found in one pass each: ranges, gaps, counters, text that is no number.

Facts only; what follows from them is decided in `columns.py`. A column is looked at when somebody asks for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.labels import distinct_texts
from hydra_ray.data.tables.numbers import Offset, exact_values, is_number, is_text, is_whole

_ROWS_AT_ONCE = 65_536

Batches = Callable[[Sequence[str]], Iterator[tuple[int, pa.RecordBatch]]]
"""Column names -> the rows of these columns in order, each batch with the position of its first row."""


@dataclass
class ColumnFacts:
    """Of one column with `num_rows` rows."""

    num_rows: int = 0
    num_missing: int = 0
    first_missing: int | None = None
    """The first row without a value."""
    num_not_numbers: int = 0
    """NaN among floats."""
    low: Offset | None = None
    """Smallest value of a column of numbers, in seconds for times; None where it has none."""
    high: Offset | None = None
    counts_rows: bool = True
    """Whether the column is 0, 1, 2, ... or 1, 2, 3, ... from the first row to the last."""
    is_whole: bool = True
    """Whether every number in it is whole."""
    texts: Counter[str] = field(default_factory=Counter)
    """Of columns of text, labels and row numbers: how often each distinct value is there."""
    first_rows: dict[str, int] = field(default_factory=dict)
    """The first row of each of them."""

    @property
    def has_values(self) -> bool:
        """Whether any row has one."""
        return self.num_missing < self.num_rows

    def add(self, column: Any, first: int, *, is_label: bool) -> None:
        """Take in rows of the column.

        Args:
            column: Arrow values.
            first: position of the first of them.
            is_label: whether its distinct values are wanted too.
        """
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        if len(missing) and self.first_missing is None:
            self.first_missing = first + int(missing[0])
        self.num_missing += len(missing)
        self.num_rows += len(column)
        if is_number(column.type):
            self._add_numbers(column.drop_null(), first, is_complete=not len(missing))
        if is_label or is_text(column.type):
            self._add_texts(column, first)

    def _add_numbers(self, column: Any, first: int, *, is_complete: bool) -> None:
        values, unit = exact_values(column)
        if values.dtype == np.float64:
            is_number_there = ~np.isnan(values)
            self.num_not_numbers += int((~is_number_there).sum())
            values = values[is_number_there]
        self.counts_rows &= is_complete and is_whole(column.type) and self._goes_on(values, first)
        if not len(values):
            return
        with np.errstate(invalid="ignore"):
            self.is_whole &= values.dtype != np.float64 or bool((values == np.trunc(values)).all())
        low, high = (each.item() for each in (values.min(), values.max()))
        if unit != 1:
            low = low * unit
            high = high * unit
        self.low = low if self.low is None else min(low, self.low)
        self.high = high if self.high is None else max(high, self.high)

    def _goes_on(self, values: np.ndarray, first: int) -> bool:
        start = (int(values[0]) if first == 0 else self.low) if len(values) else None
        return start in (0, 1) and bool((values == np.arange(first, first + len(values)) + start).all())

    def _add_texts(self, column: Any, first: int) -> None:
        texts, codes = distinct_texts(column)
        for code, place, count in zip(*np.unique(codes, return_index=True, return_counts=True), strict=True):
            text = texts[code]
            if text is not None:
                self.texts[text] += int(count)
                self.first_rows.setdefault(text, first + int(place))


class Facts:
    """The columns of one source; each is read once, when it is first asked for."""

    def __init__(self, schema: pa.Schema, batches: Batches) -> None:
        """Reads nothing yet.

        Args:
            schema: of the source; names are there once.
            batches: reads columns of it.
        """
        self.schema = schema
        self._batches = batches
        self._known: dict[str, ColumnFacts] = {}

    def of(self, name: str) -> ColumnFacts:
        """Of a column of numbers or text."""
        self.look_at([name])
        return self._known[name]

    def look_at(self, names: Sequence[str], *, labels: Sequence[str] = ()) -> None:
        """Read several columns in one pass.

        Args:
            names: of columns of numbers or text.
            labels: those of them whose distinct values are wanted too.
        """
        wanted = [name for name in names if name not in self._known]
        wanted += [name for name in labels if name not in wanted and not self._has_texts(name)]
        if not wanted:
            return
        found = {name: ColumnFacts() for name in wanted}
        for first, table in _joined(self._batches(wanted)):
            for name, facts in found.items():
                facts.add(table.column(name).combine_chunks(), first, is_label=name in labels)
        self._known |= found

    def parts_of(self, name: str) -> Iterator[Any]:
        """A column's Arrow values in order, in some parts."""
        for _, table in _joined(self._batches([name])):
            yield table.column(name).combine_chunks()

    def list_ranges(self, name: str) -> list[tuple[float, float]]:
        """Smallest and largest value of each place of a column of lists; none where lists differ in length.

        Args:
            name: of a column of lists or tensors of one dimension.
        """
        low = np.full(1, np.inf)
        high = np.full(1, -np.inf)
        for _, table in _joined(self._batches([name])):
            column: Any = table.column(name).combine_chunks()
            values = column.storage.flatten() if isinstance(column, pa.FixedShapeTensorArray) else column.flatten()
            numbers = exact_values(values)[0].astype(np.float64)
            width = len(numbers) // len(column)
            if width * len(column) != len(numbers) or (width != len(low) and np.isfinite(low).all()):
                return []
            low = np.fmin(low, numbers.reshape(len(column), width).min(0))
            high = np.fmax(high, numbers.reshape(len(column), width).max(0))
        return list(zip(low.tolist(), high.tolist(), strict=True))

    def _has_texts(self, name: str) -> bool:
        return name in self._known and (bool(self._known[name].texts) or not self._known[name].has_values)


def can_be_looked_at(kind: pa.DataType) -> bool:
    """Whether a type is one of numbers or text."""
    return is_number(kind) or is_text(kind) or pat.is_null(kind)


def _joined(batches: Iterator[tuple[int, pa.RecordBatch]]) -> Iterator[tuple[int, pa.Table]]:
    """The same rows in fewer and larger parts."""
    parts: list[pa.RecordBatch] = []
    start = num_rows = 0
    for first, batch in batches:
        if not parts:
            start = first
        parts.append(batch)
        num_rows += batch.num_rows
        if num_rows >= _ROWS_AT_ONCE:
            yield start, pa.Table.from_batches(parts)
            parts = []
            num_rows = 0
    if parts:
        yield start, pa.Table.from_batches(parts)
