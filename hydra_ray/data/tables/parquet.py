"""Rows in Parquet files: opened from their footers, read a slice at a time.

A source holds paths, row counts and what was in the files (`content.py`). A read opens the files that overlap the
slice, decodes the rows asked for, and holds no more than a few hundred encoded rows beside them. Which columns are
meant is decided in `columns.py`, how they become inputs and labels in `tables.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hydra_ray.data.content import FileContent, contents_of, require_unchanged, unchanged
from hydra_ray.data.tables.column_types import batch_without_views, schema_without_views
from hydra_ray.data.tables.columns import hub_class_names
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.source import TableSource, Wanted, settled
from hydra_ray.errors import UserError, reason_of

DAMAGED = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError, OverflowError, MemoryError)
"""What pyarrow raises for files of which a byte has changed."""
_ROWS_AT_ONCE = 512
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file of a source."""

    content: FileContent
    first_row: int
    """Position of its first row in the source."""
    group_rows: tuple[int, ...]
    """Rows of each row group."""

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return sum(self.group_rows)


@dataclass(frozen=True)
class ParquetSource(TableSource):
    """A split in one or more Parquet files; see `Source`."""

    filesystem: pafs.FileSystem
    files: tuple[DataFile, ...]

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return self.files[-1].first_row + self.files[-1].num_rows

    def place_of(self, row: int) -> str:
        """See `TableSource.place_of`."""
        if len(self.files) == 1:
            return self.place
        file = next(each for each in reversed(self.files) if each.first_row <= row)
        return f"{self.place}: {_name(file.content.path)}"

    @property
    def contents(self) -> tuple[FileContent, ...]:
        """See `TableSource.contents`."""
        return tuple(file.content for file in self.files)

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`."""
        require_unchanged(self.filesystem, self.contents, self.place)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `TableSource.batches`; only the row groups needed are read."""
        for file in self.files:
            first, groups = _overlapping(file, start, stop)
            if not groups:
                continue
            with unchanged(self.filesystem, [file.content], self.place):
                for batch in self._batches_of(file, groups, columns):
                    if first + batch.num_rows > start and first < stop:
                        yield first, batch
                    first += batch.num_rows
                    if first >= stop:
                        break

    def _batches_of(self, file: DataFile, groups: list[int], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        path = file.content.path
        try:
            with pq.ParquetFile(path, filesystem=self.filesystem, buffer_size=_BUFFER_BYTES) as opened:
                for batch in opened.iter_batches(_ROWS_AT_ONCE, groups, list(columns), use_threads=False):
                    batch.validate(full=True)  # bytes that changed may point outside of a column, or be no text
                    yield batch_without_views(batch)
        except DAMAGED as error:
            require_unchanged(self.filesystem, [file.content], self.place)
            reason = reason_of(error)
            raise UserError(f"{self.place}: {_name(path)} is damaged ({reason}); fetch it again") from error


def open_parquet(filesystem: pafs.FileSystem, paths: Sequence[str], wanted: Wanted) -> ParquetSource:
    """A source over the rows of Parquet files, in the order given.

    Args:
        filesystem: Where the files are.
        paths: At least one.
        wanted: What is asked for, and the names that messages use.

    Raises:
        UserError: a file that is not Parquet or has other columns than the first, columns that cannot be told
            apart, or no rows.
    """
    place = wanted.place
    contents = contents_of(filesystem, paths, place)
    schemas, metadata = zip(*(_footer(filesystem, path, place) for path in paths), strict=True)
    for path, schema in zip(paths[1:], schemas[1:], strict=True):
        _check_same(schemas[0], schema, wanted.options.ignore or (), f"{place}: {_name(path)}")
    files = _files(contents, metadata)
    if not files:
        raise UserError(f"{place}: holds no rows; use one that does")
    unshaped = ParquetSource(
        name=wanted.name,
        place=place,
        filesystem=filesystem,
        files=files,
    )
    return settled(unshaped, schemas[0], wanted)


def open_rows(filesystem: pafs.FileSystem, path: str, place: str) -> tuple[ParquetSource, pa.Schema]:
    """One file's rows, whichever columns are meant, and its columns; a file without rows is a source of none.

    Raises:
        UserError: it is no readable Parquet file.
    """
    (content,) = contents_of(filesystem, [path], place)
    schema, metadata = _footer(filesystem, path, place)
    rows = tuple(metadata.row_group(group).num_rows for group in range(metadata.num_row_groups))
    return ParquetSource(_name(path), place, filesystem=filesystem, files=(DataFile(content, 0, rows),)), schema


def _footer(filesystem: pafs.FileSystem, path: str, place: str) -> tuple[pa.Schema, pq.FileMetaData]:
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            return schema_without_views(file.schema_arrow), file.metadata
    except DAMAGED as error:
        reason = reason_of(error)
        raise UserError(f"{place}: {_name(path)} is no readable Parquet file ({reason}); fetch it again") from error


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _check_same(expected: pa.Schema, found: pa.Schema, ignored: Sequence[str], place: str) -> None:
    """Refuse a part of a split that lacks a column of the first one, or has other class names for it."""
    for field in expected:
        if field.name in ignored:
            continue
        if found.get_all_field_indices(field.name) == [] or found.field(field.name).type != field.type:
            lacking = f"{field.name} ({field.type})"
            raise UserError(f"{place} lacks the column {lacking} of the first file; fetch one export again")
    one = hub_class_names(expected)
    other = hub_class_names(found)
    different = [name for name in one if name in other and one[name] != other[name]]
    if different:
        name = different[0]
        raise UserError(
            f"{place}: the classes of column {name} are {shortened(other[name])}, in the first file "
            f"{shortened(one[name])}; fetch one export again"
        )


def _files(contents: Sequence[FileContent], metadata: Sequence[pq.FileMetaData]) -> tuple[DataFile, ...]:
    files: list[DataFile] = []
    first = 0
    for content, each in zip(contents, metadata, strict=True):
        if each.num_rows:
            rows = tuple(each.row_group(group).num_rows for group in range(each.num_row_groups))
            files.append(DataFile(content, first, rows))
            first += each.num_rows
    return tuple(files)


def _overlapping(file: DataFile, start: int, stop: int) -> tuple[int, list[int]]:
    """The file's row groups that overlap [start, stop), and the position of the first one's first row."""
    ends = file.first_row + np.cumsum(file.group_rows)
    starts = ends - np.asarray(file.group_rows)
    groups = np.flatnonzero((ends > start) & (starts < stop))
    return (int(starts[groups[0]]) if len(groups) else file.first_row), groups.tolist()
