"""Rows in CSV files: read whole, once a process, because text cannot be read from the middle.

A source holds paths; a worker reads the files itself. For more rows than memory takes, store Parquet.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from hydra_ray.datasets.tables import TableSource, Wanted
from hydra_ray.errors import UserError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class TextFiles:
    """CSV files of one split, as they were when it was opened."""

    paths: tuple[str, ...]
    checksums: tuple[int, ...]
    """CRC-32 of each file's bytes."""
    filesystem: pafs.FileSystem = field(compare=False)


@dataclass(frozen=True)
class CsvSource(TableSource):
    """A split in one or more CSV files with a header line; see `Source`."""

    files: TextFiles
    count: int

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return self.count

    def fingerprint(self) -> dict[str, Any]:
        """Name, rows, checksums of the files' bytes and the column that is the label; not the folder."""
        files = list(self.files.checksums)
        return {"name": self.name, "num_rows": self.num_rows, "files": files, "label": self.columns.label}

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `TableSource.batches`."""
        table = _load(self.files, self.place).select(list(columns)).slice(start, stop - start)
        first = start
        for batch in table.to_batches():
            yield first, batch
            first += batch.num_rows


def open_csv(filesystem: pafs.FileSystem, paths: Sequence[str], wanted: Wanted) -> CsvSource:
    """A source over the rows of CSV files, in the order given; a comma, semicolon or tab separates columns.

    Args:
        filesystem: Where the files are.
        paths: At least one.
        wanted: What is asked for, and the names that messages use.

    Raises:
        UserError: text that is no table, files with other columns than the first, columns that cannot be told apart,
            or no rows.
    """
    checksums = [zlib.crc32(_content(filesystem, path)) for path in paths]
    files = TextFiles(tuple(paths), tuple(checksums), filesystem)
    table = _load(files, wanted.place)
    if not table.num_rows:
        raise UserError(f"{wanted.place}: holds no rows; use one that does")
    columns = wanted.columns_of(table.schema)
    unshaped = CsvSource(wanted.name, wanted.place, columns, (), np.dtype(np.float32), files, table.num_rows)
    row = unshaped.first_row()
    return replace(unshaped, input_shape=row.shape[1:], dtype=row.dtype)


@lru_cache(maxsize=4)
def _load(files: TextFiles, place: str) -> pa.Table:
    """All rows; refused where the files are no longer those that were opened."""
    tables = []
    for path, checksum in zip(files.paths, files.checksums, strict=True):
        content = _content(files.filesystem, path)
        if zlib.crc32(content) != checksum:
            raise UserError(f"{place}: {path} has changed since the run began, or is another on this machine")
        tables.append(_parsed(content, f"{place}: {path.rsplit('/', 1)[-1]}"))
    for path, table in zip(files.paths, tables, strict=True):
        if table.column_names != tables[0].column_names:
            raise UserError(f"{place}: {path} has other columns than {files.paths[0]}; keep one export")
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path, compression=None) as stream:
        return stream.read()


def _parsed(content: bytes, place: str) -> pa.Table:
    """The table in a file's bytes; types are found from all of its rows."""
    header = content.split(b"\n", 1)[0].decode(errors="replace")
    delimiter = max(_DELIMITERS, key=header.count)
    reading = pacsv.ReadOptions(block_size=len(content) + 1, use_threads=False)
    try:
        return pacsv.read_csv(pa.BufferReader(content), reading, pacsv.ParseOptions(delimiter=delimiter))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{place} is no table ({' '.join(str(error).split())}); mend it") from error
