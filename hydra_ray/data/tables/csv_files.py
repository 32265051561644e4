"""Rows in CSV files: read whole, once a process, because text cannot be read from the middle.

A source holds paths; a worker reads the files itself. For more rows than memory takes, store Parquet. Encodings,
delimiters and headers are found in `csv_text.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from hydra_ray.data.content import FileContent, contents_of, require_unchanged, unchanged
from hydra_ray.data.tables.csv_text import CsvText, column_names, read_text
from hydra_ray.data.tables.source import TableSource, Wanted, settled
from hydra_ray.errors import UserError

_NULLS = ["", "NA", "N/A", "n/a", "#N/A", "#NA", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "1.#QNAN", "-1.#IND"]


@dataclass(frozen=True)
class TextFiles:
    """CSV files of one split, as they were when it was opened."""

    contents: tuple[FileContent, ...]
    header: bool | None
    """Whether first lines hold names; None to find out."""
    filesystem: pafs.FileSystem = field(compare=False)


@dataclass(frozen=True)
class CsvSource(TableSource):
    """A split in one or more CSV files; see `Source`."""

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

    @property
    def notes(self) -> list[str]:
        """See `TableSource.notes`: encodings that are not Unicode, names that are ours."""
        return _load(self.files, self.place)[1]

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`."""
        require_unchanged(self.files.filesystem, self.contents, self.place)

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `TableSource.batches`."""
        table = _load(self.files, self.place)[0].select(list(columns)).slice(start, stop - start)
        first = start
        for batch in table.to_batches():
            yield first, batch
            first += batch.num_rows


def open_csv(filesystem: pafs.FileSystem, paths: Sequence[str], wanted: Wanted) -> CsvSource:
    """A source over the rows of CSV files, in the order given; see `csv_text.py` for what CSV may be.

    Args:
        filesystem: Where the files are.
        paths: At least one.
        wanted: What is asked for, and the names that messages use.

    Raises:
        UserError: text that is no table, files with other columns than the first, columns that cannot be told apart,
            or no rows.
    """
    files = TextFiles(contents_of(filesystem, paths, wanted.place), wanted.options.header, filesystem)
    table, _ = _load(files, wanted.place)
    if not table.num_rows:
        raise UserError(f"{wanted.place}: holds no rows; use one that does")
    return settled(CsvSource(wanted.name, wanted.place, files, table.num_rows), table.schema, wanted)


def open_rows(
    filesystem: pafs.FileSystem, path: str, place: str, *, header: bool | None = None
) -> tuple[CsvSource, pa.Schema]:
    """One file's rows, whichever columns are meant, and its columns.

    Args:
        filesystem: Where it is.
        path: Of the file.
        place: As messages name it.
        header: Whether its first line holds names; None to find out.

    Raises:
        UserError: it is no table.
    """
    files = TextFiles(contents_of(filesystem, [path], place), header, filesystem)
    table, _ = _load(files, place)
    return CsvSource(path.rsplit("/", 1)[-1], place, files, table.num_rows), table.schema


@lru_cache(maxsize=4)
def _load(files: TextFiles, place: str) -> tuple[pa.Table, list[str]]:
    """All rows, and what is to be said of how they were read; refused where the files are no longer those opened."""
    paths = [each.path for each in files.contents]
    places = [_place_of(path, place) for path in paths]
    with unchanged(files.filesystem, files.contents, place):
        contents = [_content(files.filesystem, path) for path in paths]
    texts = [read_text(content, files.header, each) for content, each in zip(contents, places, strict=True)]
    tables = [_parsed(text, each) for text, each in zip(texts, places, strict=True)]
    for path, table in zip(paths, tables, strict=True):
        if table.column_names != tables[0].column_names:
            raise UserError(f"{place}: {path} has other columns than {paths[0]}; keep one export")
    notes = {f"read as {text.encoding}" for text in texts if not text.encoding.startswith("utf")}
    notes |= {"no header line, columns are f0, f1, ..." for text in texts if text.names is not None}
    return _joined(tables), sorted(notes)


def _place_of(path: str, place: str) -> str:
    """Key and file as messages name them, the file's name once."""
    name = path.rsplit("/", 1)[-1]
    return place if place.endswith(name) else f"{place}: {name}"


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    """The rows of all files; where types do not go together a column is text."""
    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException:
        return pa.concat_tables(_with_text(tables)).combine_chunks()


def _with_text(tables: Sequence[pa.Table]) -> list[pa.Table]:
    types = [{table.schema.types[place] for table in tables} for place in range(tables[0].num_columns)]
    found = []
    for table in tables:
        columns = [
            column.cast(pa.string()) if len(types[place]) > 1 else column for place, column in enumerate(table.columns)
        ]
        found.append(pa.table(columns, names=table.column_names))
    return found


def _content(filesystem: pafs.FileSystem, path: str) -> bytes:
    with filesystem.open_input_stream(path, compression=None) as stream:
        return stream.read()


def _parsed(text: CsvText, place: str) -> pa.Table:
    """The table in a text; types are found from all of its rows."""
    names = column_names(text)
    content = text.lines.encode()
    reading = pacsv.ReadOptions(
        block_size=len(content) + 1,
        use_threads=False,
        column_names=[str(number) for number in range(len(names))],
        skip_rows_after_names=0 if text.names else 1,  # not skip_rows, which counts lines, also of a name of two lines
    )
    parsing = pacsv.ParseOptions(delimiter=text.delimiter, newlines_in_values=True)
    converting = pacsv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=True, null_values=_NULLS)
    try:
        table = pacsv.read_csv(pa.BufferReader(content), reading, parsing, converting)
    except (pa.ArrowException, ValueError, OSError) as error:
        raise UserError(f"{place} is no table ({' '.join(str(error).split())}); mend it") from error
    return table.rename_columns(names)
