"""Rows in Parquet files: opened from their footers, read a slice at a time.

A source holds paths and row counts. A read opens the files that overlap the slice, decodes the rows asked
for, and holds no more than a few hundred encoded rows beside them. Which columns are meant is decided in
`columns.py`.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from hydra_ray.datasets.columns import Columns, find_columns
from hydra_ray.datasets.decoding import decode_inputs, decode_labels
from hydra_ray.datasets.rows import Bools, Ints, Rows, positions
from hydra_ray.errors import UserError

_ROWS_AT_ONCE = 512
_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True)
class DataFile:
    """One file of a source."""

    path: str
    first_row: int
    """Position of its first row in the source."""
    group_rows: tuple[int, ...]
    """Rows of each row group."""

    @property
    def num_rows(self) -> int:
        """Rows in all."""
        return sum(self.group_rows)


@dataclass(frozen=True)
class ParquetSource:
    """A split in one or more Parquet files; see `Source`."""

    name: str
    place: str
    """Key and path as messages name them."""
    filesystem: pafs.FileSystem
    files: tuple[DataFile, ...]
    columns: Columns
    input_shape: tuple[int, ...]
    dtype: np.dtype[Any]
    num_bytes: int
    digest: str

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return self.files[-1].first_row + self.files[-1].num_rows

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """From the hub's metadata."""
        return self.columns.class_names

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """See `Source.read`; rows that are not kept are not decoded."""
        row_id = positions(start, stop, keep, self.num_rows)
        labels = np.empty(len(row_id), np.int64) if self.columns.label else None
        rows = Rows(row_id, np.empty((len(row_id), *self.input_shape), self.dtype), labels)
        if len(rows):
            for first, batch in self._batches(int(row_id[0]), int(row_id[-1]) + 1, self.columns.to_read):
                low, high = np.searchsorted(row_id, [first, first + batch.num_rows])
                if low < high:
                    self._fill(rows, slice(low, high), batch.take(pa.array(row_id[low:high] - first)))
        return rows

    def read_labels(self) -> Ints | None:
        """See `Source.read_labels`."""
        label = self.columns.label
        if label is None:
            return None
        return np.concatenate([decode_labels(batch, label) for _, batch in self._batches(0, self.num_rows, [label])])

    def fingerprint(self) -> dict[str, Any]:
        """Name, size, rows, a digest of schema and row groups, and a checksum of the labels.

        Neither folder nor modification time, so that a copy is the same data.
        """
        labels = self.read_labels()
        return {
            "name": self.name,
            "bytes": self.num_bytes,
            "num_rows": self.num_rows,
            "digest": self.digest,
            "labels": None if labels is None else zlib.crc32(labels.tobytes()),
        }

    def _fill(self, rows: Rows, where: slice, batch: pa.RecordBatch) -> None:
        row_id = rows.row_id[where]
        rows.inputs[where] = decode_inputs(batch, self.columns, row_id, self.input_shape, self.place)
        if rows.labels is not None and self.columns.label is not None:
            rows.labels[where] = decode_labels(batch, self.columns.label)

    def _batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Encoded rows that overlap [start, stop), with the position of the first of each batch."""
        for file in self.files:
            first, groups = _overlapping(file, start, stop)
            if not groups:
                continue
            with pq.ParquetFile(file.path, filesystem=self.filesystem, buffer_size=_BUFFER_BYTES) as opened:
                for batch in opened.iter_batches(_ROWS_AT_ONCE, groups, list(columns), use_threads=False):
                    if first + batch.num_rows > start and first < stop:
                        yield first, batch
                    first += batch.num_rows
                    if first >= stop:
                        return


def open_parquet(filesystem: pafs.FileSystem, paths: Sequence[str], *, name: str, place: str) -> ParquetSource:
    """A source over the rows of Parquet files, in the order given.

    Args:
        filesystem: Where the files are.
        paths: At least one.
        name: Of the source, without folders above it.
        place: The configuration key and path that messages name.

    Raises:
        UserError: a file that is not Parquet or has other columns than the first, columns that cannot be told
            apart, or no rows.
    """
    schemas, metadata = zip(*(_footer(filesystem, path, place) for path in paths), strict=True)
    columns = find_columns(schemas[0], place)
    for path, schema in zip(paths, schemas, strict=True):
        _check_same(columns, schemas[0], schema, f"{place}: {_name(path)}")
    files = _files(paths, metadata)
    if not files:
        raise UserError(f"{place}: holds no rows; use one that does")
    sizes = filesystem.get_file_info(list(paths))
    unshaped = ParquetSource(
        name=name,
        place=place,
        filesystem=filesystem,
        files=files,
        columns=columns,
        input_shape=(),
        dtype=np.dtype(np.uint8),
        num_bytes=sum(each.size for each in sizes),
        digest=_digest(schemas, metadata),
    )
    return _shaped(unshaped)


def _shaped(source: ParquetSource) -> ParquetSource:
    """The source with the shape and type of its first row."""
    _, batch = next(source._batches(0, 1, source.columns.to_read))
    row = decode_inputs(batch.slice(0, 1), source.columns, np.zeros(1, np.int64), None, source.place)
    return replace(source, input_shape=row.shape[1:], dtype=row.dtype)


def _footer(filesystem: pafs.FileSystem, path: str, place: str) -> tuple[pa.Schema, pq.FileMetaData]:
    try:
        with pq.ParquetFile(path, filesystem=filesystem) as file:
            return file.schema_arrow, file.metadata
    except (pa.ArrowInvalid, OSError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{place}: {_name(path)} is no readable Parquet file ({reason}); fetch it again") from error


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def _check_same(columns: Columns, expected: pa.Schema, found: pa.Schema, place: str) -> None:
    for name in [*columns.inputs, *([columns.label] if columns.label else [])]:
        kind = expected.field(name).type
        if name not in found.names or found.field(name).type != kind:
            raise UserError(f"{place} lacks the column {name} ({kind}) of the first file; fetch one export again")


def _files(paths: Sequence[str], metadata: Sequence[pq.FileMetaData]) -> tuple[DataFile, ...]:
    files: list[DataFile] = []
    first = 0
    for path, each in zip(paths, metadata, strict=True):
        if each.num_rows:
            rows = tuple(each.row_group(group).num_rows for group in range(each.num_row_groups))
            files.append(DataFile(path, first, rows))
            first += each.num_rows
    return tuple(files)


def _digest(schemas: Sequence[pa.Schema], metadata: Sequence[pq.FileMetaData]) -> str:
    """Of the schema without metadata, and of rows and bytes of each row group and column."""
    digest = hashlib.sha256(schemas[0].remove_metadata().to_string().encode())
    for each in metadata:
        for index in range(each.num_row_groups):
            group = each.row_group(index)
            sizes = [group.column(column).total_compressed_size for column in range(group.num_columns)]
            digest.update(repr((group.num_rows, sizes)).encode())
    return digest.hexdigest()[:16]


def _overlapping(file: DataFile, start: int, stop: int) -> tuple[int, list[int]]:
    """The file's row groups that overlap [start, stop), and the position of the first one's first row."""
    ends = file.first_row + np.cumsum(file.group_rows)
    starts = ends - np.asarray(file.group_rows)
    groups = np.flatnonzero((ends > start) & (starts < stop))
    return (int(starts[groups[0]]) if len(groups) else file.first_row), groups.tolist()
