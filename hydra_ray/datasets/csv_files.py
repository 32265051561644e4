"""Rows in CSV files: read whole, once a process, because text cannot be read from the middle.

A source holds paths; a worker reads the files itself. For more rows than memory takes, store Parquet.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from hydra_ray.datasets.content import FileContent, contents_of, require_unchanged, unchanged
from hydra_ray.datasets.tables import TableSource, Wanted
from hydra_ray.errors import UserError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class TextFiles:
    """CSV files of one split, as they were when it was opened."""

    contents: tuple[FileContent, ...]
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

    @property
    def contents(self) -> tuple[FileContent, ...]:
        """See `TableSource.contents`."""
        return self.files.contents

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`."""
        require_unchanged(self.files.filesystem, self.contents, self.place)

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
    files = TextFiles(contents_of(filesystem, paths, wanted.place), filesystem)
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
    paths = [each.path for each in files.contents]
    with unchanged(files.filesystem, files.contents, place):
        texts = [_content(files.filesystem, path) for path in paths]
    tables = [_parsed(text, f"{place}: {path.rsplit('/', 1)[-1]}") for text, path in zip(texts, paths, strict=True)]
    for path, table in zip(paths, tables, strict=True):
        if table.column_names != tables[0].column_names:
            raise UserError(f"{place}: {path} has other columns than {paths[0]}; keep one export")
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
