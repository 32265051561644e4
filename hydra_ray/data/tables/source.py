"""What sources of tables share, whatever file they lie in: rows, labels and flags from batches of columns.

A table source says how its batches are got (`parquet.py`, `csv_files.py`); here its columns are settled when it is
opened, and batches become inputs and labels.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.broken_images import BrokenImage, broken_images
from hydra_ray.data.content import FileContent
from hydra_ray.data.images import (
    ANY_IMAGE,
    ROWS_LOOKED_AT,
    ImageOptions,
    ImageRules,
    by_number,
    decode_images,
    image_shape,
)
from hydra_ray.data.rows import Bools, Floats, Ints, Rows, positions
from hydra_ray.data.tables.columns import Columns, ReadByColumns, check_named_columns, find_columns, hub_class_names
from hydra_ray.data.tables.decoding import decode_inputs, decode_targets, image_files
from hydra_ray.data.tables.facts import Facts
from hydra_ray.data.tables.following import follow_columns
from hydra_ray.data.tables.label_column import has_few_classes
from hydra_ray.data.tables.labels import classes_of
from hydra_ray.data.tables.numbers import offset_for
from hydra_ray.data.tables.options import ANY_TABLE, TableOptions
from hydra_ray.data.tables.shard_columns import are_of_shards, class_names_of, is_shards
from hydra_ray.errors import UserError

_UNSETTLED = Columns((), "numbers", is_struct=False, label=None)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a table's files."""

    name: str
    """Of the source, without folders above it."""
    place: str
    """Key and path as messages name them."""
    options: TableOptions = ANY_TABLE
    """What the configuration says of tables."""
    needs_label: bool = True
    """False for a further set, whose labels nobody uses."""
    train: Columns | None = None
    """Those of the training rows, which further files follow; None for the training rows' own file, and where these
    lie in no table."""
    images: ImageOptions = ANY_IMAGE
    """What the configuration says of image files."""


@dataclass(frozen=True)
class TableSource(ReadByColumns, ABC):
    """A split in a table with named columns; see `Source`."""

    name: str
    place: str
    """Key and path as messages name them."""
    columns: Columns = field(default=_UNSETTLED, kw_only=True)
    input_shape: tuple[int, ...] = field(default=(), kw_only=True)
    dtype: np.dtype[Any] = field(default=np.dtype(np.float32), kw_only=True)
    column_names: tuple[str, ...] = field(default=(), kw_only=True)
    """All columns of the files, read or not."""
    images: ImageOptions = field(default=ANY_IMAGE, kw_only=True)
    """What image files are held to."""
    broken: tuple[BrokenImage, ...] = field(default=(), kw_only=True)
    """Rows that are no image we can use, which belong to no split."""

    @property
    @abstractmethod
    def num_rows(self) -> int:
        """See `Source.num_rows`."""

    @abstractmethod
    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Rows that overlap [start, stop) in order, with the position of the first of each batch."""

    def whole_batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """As `batches`.

        Raises:
            UserError: the files end before `stop`, whatever their footers say.
        """
        reached = start
        for first, batch in self.batches(start, stop, columns):
            reached = first + batch.num_rows
            if batch.num_rows:
                yield first, batch
        if reached < stop:
            raise UserError(f"{self.place}: is damaged: rows {reached} to {stop - 1} are missing; fetch it again")

    @property
    def notes(self) -> list[str]:
        """What else is to be said of how the files were read."""
        return []

    @property
    def file_names(self) -> list[str]:
        """Of the files with rows, without the folders above."""
        return [file.path.rsplit("/", 1)[-1] for file in self.contents]

    @property
    @abstractmethod
    def contents(self) -> tuple[FileContent, ...]:
        """The files with rows, in order."""

    @abstractmethod
    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`."""

    def fingerprint(self) -> dict[str, Any]:
        """The content of all files, and which columns of them are read and how; neither paths nor times."""
        files = [file.digest for file in self.contents]
        found = {"num_rows": self.num_rows, "files": files, **self.columns.key()}
        if self.images.size is not None:
            found["image_size"] = list(self.images.size)
        if self.broken:
            found["broken"] = [row for row, _ in self.broken]
        return found

    def row_name(self, row: int) -> str:
        """How messages name a row."""
        return by_number(row)

    def rows_looked_at(self) -> list[int]:
        """Positions of the rows from which the size and colour of images are taken."""
        return list(range(min(self.num_rows, ROWS_LOOKED_AT + len(self.broken))))

    def place_of(self, row: int) -> str:
        """Key, path and, where there are several, the file of a row, as messages name them."""
        return self.place

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """See `Source.read`; rows that are not kept are not decoded."""
        row_id = positions(start, stop, keep, self.num_rows)
        labels = self._empty_labels(len(row_id)) if self.columns.label else None
        rows = Rows(row_id, np.empty((len(row_id), *self.input_shape), self.dtype), labels)
        done = 0
        for batch in self.batches_of(row_id, self.columns.to_read):
            self._fill(rows, slice(done, done + batch.num_rows), batch)
            done += batch.num_rows
        return rows

    def batches_of(self, row_id: Ints, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows at these positions, which ascend, and no others; no batch is empty."""
        if not len(row_id):
            return
        for first, batch in self.whole_batches(int(row_id[0]), int(row_id[-1]) + 1, columns):
            low, high = np.searchsorted(row_id, [first, first + batch.num_rows])
            if low < high:
                yield batch.take(pa.array(row_id[low:high] - first))

    def read_labels(self) -> Ints | Floats | None:
        """See `Source.read_labels`."""
        label = self.columns.label
        if label is None:
            return None
        labels = self._empty_labels(self.num_rows)
        for first, batch in self.whole_batches(0, self.num_rows, [label]):
            row_id = np.arange(first, first + batch.num_rows)
            labels[row_id] = self._labels(batch, label, row_id)
        return labels

    def read_column(self, column: str) -> npt.NDArray[Any]:
        """The values of one column as they are stored, whatever they are: [num_rows]."""
        parts = [batch.column(column) for _, batch in self.whole_batches(0, self.num_rows, [column])]
        return np.concatenate([part.to_numpy(zero_copy_only=False) for part in parts])

    def read_flags(self, column: str) -> Bools:
        """A column of booleans, null as false: bool [num_rows]."""
        parts = [batch.column(column) for _, batch in self.whole_batches(0, self.num_rows, [column])]
        return np.concatenate([part.fill_null(False).to_numpy(zero_copy_only=False) for part in parts])

    def shaped(self) -> Self:
        """The same source with the shape and type of its rows, which are found from the first of them."""
        if self.columns.kind == "encoded":
            return replace(self, input_shape=self._image_shape(), dtype=np.dtype(np.uint8))
        _, batch = next(self.whole_batches(0, 1, self.columns.to_read))
        row = decode_inputs(batch.slice(0, 1), self.columns, np.zeros(1, np.int64), None, self.place)
        return replace(self, input_shape=row.shape[1:], dtype=row.dtype)

    def _image_shape(self) -> tuple[int, ...]:
        broken = {row for row, _ in self.broken}
        usable = [row for row in self.rows_looked_at() if row not in broken]
        if not usable:
            raise UserError(f"{self.place}: {self.row_name(0)} and all others are no images; {self.broken[0][1]}")
        return image_shape(list(self.image_files(usable)), self.image_rules(self.place))

    def image_files(self, rows: Sequence[int]) -> Iterator[tuple[int, bytes | None]]:
        """Image files of rows in ascending order, each with its position."""
        batches = self.batches_of(np.asarray(rows), self.columns.inputs_to_read)
        files = (file for batch in batches for file in image_files(batch, self.columns))
        yield from zip(rows, files, strict=True)

    def image_rules(self, place: str) -> ImageRules:
        """What image files are held to, and how messages name them."""
        return ImageRules(place, self.images, self.row_name, ", or leave such rows out with data.skip_broken=true")

    def without_broken(self) -> Self:
        """The same source that knows which of its rows are no image we can use."""
        digests = [file.digest for file in self.contents]
        files = self.image_files(range(self.num_rows))
        found = broken_images(files, self.image_rules(self.place), digests, self.columns.inputs[0])
        return replace(self, broken=found)

    def _empty_labels(self, num_rows: int) -> Any:
        return np.empty(num_rows, np.int64 if self.task == "classification" else np.float32)

    def _labels(self, batch: pa.RecordBatch, label: str, row_id: Ints) -> Ints | Floats:
        if self.task == "classification":
            assert self.columns.classes is not None
            return self.columns.classes.numbers(batch.column(label), row_id, f"{self.place}: column {label}")
        if are_of_shards(self.column_names):  # rows under views have no target
            return batch.column(label).cast(pa.float32()).fill_null(math.nan).to_numpy(zero_copy_only=False)
        return decode_targets(batch, self.columns, row_id, self.place)

    def _fill(self, rows: Rows, where: slice, batch: pa.RecordBatch) -> None:
        row_id = rows.row_id[where]
        place = self.place_of(int(row_id[0]))
        if self.columns.kind == "encoded":
            files = image_files(batch, self.columns)
            rows.inputs[where] = decode_images(files, row_id, self.input_shape, self.image_rules(place))
        else:
            rows.inputs[where] = decode_inputs(batch, self.columns, row_id, self.input_shape, place)
        if rows.labels is not None and self.columns.label is not None:
            rows.labels[where] = self._labels(batch, self.columns.label, row_id)


SourceT = TypeVar("SourceT", bound=TableSource)


def settled(source: SourceT, schema: pa.Schema, wanted: Wanted) -> SourceT:
    """An opened table with its columns, classes, input shape and type.

    Reads the columns that decisions need, and one row of inputs.

    Args:
        source: Whose `batches` can be read.
        schema: Of its first file.
        wanted: What is asked for.

    Raises:
        UserError: see `find_columns` and `follow_columns`.
    """
    facts = Facts(schema, lambda names: source.whole_batches(0, source.num_rows, names))
    if wanted.train is not None:
        columns = follow_columns(wanted.train, facts, wanted.options, wanted.place, needs_label=wanted.needs_label)
    else:
        if wanted.needs_label:
            check_named_columns(schema, wanted.options, wanted.place)
        columns = find_columns(facts, wanted.options, wanted.place, needs_label=wanted.needs_label)
        columns = _with_classes(columns, facts, schema, wanted.place)
        _check_target(columns, facts, wanted.place)
    source = replace(source, columns=columns, images=wanted.images, column_names=tuple(schema.names))
    _check_width(schema.field(columns.inputs[0]).type, columns, wanted.place)
    _check_size(columns, wanted)
    if columns.kind == "encoded" and wanted.images.skip_broken:
        source = source.without_broken()
    return source.shaped()


def _check_size(columns: Columns, wanted: Wanted) -> None:
    """Refuse a size for rows that are no image files, of a set for training; further sets may lie in another way."""
    size = wanted.images.size
    if size is not None and columns.kind != "encoded" and wanted.needs_label:
        found = "arrays" if columns.kind == "tensor" else "columns of numbers"
        raise UserError(
            f"data.image_size={size[0]}: {wanted.place} holds {found}, no image files to resize; leave it out"
        )


def _check_width(kind: pa.DataType, columns: Columns, place: str) -> None:
    """Refuse arrays without numbers by their type, as pyarrow reads no such column."""
    size = kind.list_size if pat.is_fixed_size_list(kind) else 1
    if columns.kind == "tensor" and not (size and math.prod(getattr(kind, "shape", [1]))):
        raise UserError(f"{place}: column {columns.inputs[0]}: rows have no numbers; store at least one in each")


def _with_classes(columns: Columns, facts: Facts, schema: pa.Schema, place: str) -> Columns:
    """With the classes that occur in the column of labels."""
    label = columns.label
    if columns.task == "regression":
        return columns
    if label is None:
        names = class_names_of(schema) if is_shards(schema) else None
        return columns if names is None else replace(columns, classes=classes_of((), names, place))
    facts.look_at([label], labels=[label])
    found = facts.of(label)
    names = hub_class_names(schema).get(label)
    if names is None and not has_few_classes(found):
        raise UserError(
            f"{place}: column {label} has {len(found.texts)} different labels in {found.num_rows} rows; name the "
            "column of classes in data.label, or for a regression the target in data.target"
        )
    return replace(columns, classes=classes_of(found.texts, names, f"{place}: column {label}"))


def _check_target(columns: Columns, facts: Facts, place: str) -> None:
    """Refuse a target that float32 does not hold: predictions and figures are in the target's own unit."""
    label = columns.label
    if label is None or columns.task == "classification":
        return
    low = facts.of(label).low
    high = facts.of(label).high
    if low is None or high is None or low == high:
        return
    try:
        offset = offset_for(low, high, centre=False)
    except ValueError as error:
        raise UserError(f"data.target={label}: {place}: {error}; store it in other units") from None
    if offset:
        raise UserError(
            f"data.target={label}: {place} has targets from {low:.12g} to {high:.12g}, whose differences are lost in "
            f"float32; store the column less {offset:.12g}"
        )
