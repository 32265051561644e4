"""From a path to the files of rows that a student is to answer, and everything about them that can be refused at once.

How they are cut and read is in `row_files.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.data import InputFormat, shortened
from hydra_ray.data.split_files import is_image, is_parquet, is_text
from hydra_ray.data.tables import csv_files, parquet
from hydra_ray.data.tables.columns import Columns, considered
from hydra_ray.data.tables.facts import can_be_looked_at
from hydra_ray.data.tables.only_inputs import find_arrays
from hydra_ray.data.tables.options import ANY_TABLE
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import UserError, close_to
from hydra_ray.inference.inputs import check_columns
from hydra_ray.inference.row_files import (
    PATH,
    ImageReader,
    RowFiles,
    TableReader,
    cut,
    cut_images,
    listing,
    relative,
)
from hydra_ray.storage import Folder, fingerprint

_WITHOUT_HEADER = re.compile(r"f\d+")
_KINDS: dict[str, Callable[[str], object]] = {
    "image files": is_image,
    "Parquet files": is_parquet,
    "CSV files": is_text,
}


def open_row_files(place: str, form: InputFormat, keep: Sequence[str] | None, answers: Sequence[str]) -> RowFiles:
    """The rows in a file or folder.

    Args:
        place: a path or URI.
        form: of the rows that the student takes.
        keep: columns of the input that stand beside the answers; None for all but those of images and lists. Of image
            files it is always their path.
        answers: names of the columns of answers, which no kept column may have.

    Raises:
        UserError: nothing is there that the student can answer, a column is missing, or one of `keep` is unknown.
    """
    folder, files = _files(place)
    kinds = ("image files", "Parquet files") if form.is_image else ("Parquet files", "CSV files")
    by_kind = {kind: [info for info in files if _KINDS[kind](info.path)] for kind in kinds}
    found = [kind for kind in kinds if by_kind[kind]]
    if not found:
        raise UserError(f"{place}: holds no {' or '.join(kinds)}; the student takes {_taken(form)}")
    if len(found) > 1:
        raise UserError(f"{place}: holds {' and '.join(found)}; give one sort, e.g. one of the folders in it")
    chosen = by_kind[found[0]]
    if found[0] == "image files":
        return _open_images(place, folder, chosen, form, keep)
    return _open_tables(place, folder, chosen, form, keep, answers, noun=found[0])


def _files(place: str) -> tuple[Folder, list[pafs.FileInfo]]:
    """The folder, of a single file the one it lies in, and the files."""
    found = Folder.open(place.rstrip("/") or "/", "input")
    if not found.is_local:
        found.check_answers("input")
    info = found.fs.get_file_info(found.path)
    if info.type == pafs.FileType.NotFound:
        raise UserError(f"{place}: no such file or folder; give images, Parquet or CSV, or a folder of one of these")
    if info.type == pafs.FileType.File:
        return found.parent, [info]
    return found, listing(found)


def _taken(form: InputFormat) -> str:
    if form.is_image:
        return f"images of {' x '.join(map(str, form.shape))}, other sizes are resized"
    return f"rows of a table with the columns {shortened(form.names)}" if form.names else "lists of numbers"


def _open_images(
    place: str, folder: Folder, files: Sequence[pafs.FileInfo], form: InputFormat, keep: Sequence[str] | None
) -> RowFiles:
    unknown = [name for name in keep or () if name != PATH]
    if unknown:
        raise UserError(f"--keep={unknown[0]}: image files have no columns, only their {PATH}, which is always kept")
    facts = [[relative(folder, info), info.size, info.mtime_ns] for info in files]
    paths = [str(name) for name, _, _ in facts]
    return RowFiles(
        place,
        f"{len(files):,} image files",
        ImageReader(folder, form.shape),
        cut_images(paths, form),
        (PATH,),
        [("image files", fingerprint({"files": facts}))],
    )


def _open_tables(
    place: str,
    folder: Folder,
    files: Sequence[pafs.FileInfo],
    form: InputFormat,
    keep: Sequence[str] | None,
    answers: Sequence[str],
    *,
    noun: str,
) -> RowFiles:
    opened = [_open_table(folder, info, form, noun) for info in files]
    sources, schemas = zip(*opened, strict=True)
    places = [source.place for source in sources]
    arrays = _arrays(schemas, form, places)
    own = _own(schemas, places, arrays, keep, answers)
    names = tuple(relative(folder, info) for info in files)
    groups = [source.files[0].group_rows if isinstance(source, parquet.ParquetSource) else (source.num_rows,)
              for source in sources]  # fmt: skip
    parts = cut(groups, form)
    if not parts:
        raise UserError(f"{place}: holds no rows; give at least one")
    content = [(name, source.contents[0].digest) for name, source in zip(names, sources, strict=True)]
    return RowFiles(
        place,
        f"{len(files):,} {noun if len(files) > 1 else noun.removesuffix('s')}",
        TableReader(tuple(sources), names, own, form, arrays),
        parts,
        tuple(own.names),
        content,
    )


def _open_table(folder: Folder, info: pafs.FileInfo, form: InputFormat, noun: str) -> tuple[TableSource, pa.Schema]:
    place = f"{folder}/{relative(folder, info)}"
    if noun == "Parquet files":
        return parquet.open_rows(folder.fs, info.path, place)
    has_names = not all(_WITHOUT_HEADER.fullmatch(name) for name in form.names or ())
    return csv_files.open_rows(folder.fs, info.path, place, header=True if has_names else None)


def _arrays(schemas: Sequence[pa.Schema], form: InputFormat, places: Sequence[str]) -> Columns | None:
    """The column that holds whole rows, the same in all files; None where features are columns, which are all there."""
    if form.is_image or form.names is None:
        found = [find_arrays(each, place, of_images=form.is_image) for each, place in zip(schemas, places, strict=True)]
        other = next((number for number, each in enumerate(found) if each != found[0]), None)
        if other is not None:
            columns = f"column {found[other].inputs[0]}, not {found[0].inputs[0]} as in the first file"
            raise UserError(f"{places[other]}: has its rows in {columns}, or another type; give files of one export")
        return found[0]
    for schema, place in zip(schemas, places, strict=True):
        considered(schema, ANY_TABLE, place)  # refuses two columns of one name
        check_columns(schema.names, form, place)
        for name in form.names:
            kind = schema.field(name).type
            if not can_be_looked_at(kind):
                raise UserError(
                    f"{place}: column {name} holds {kind}, the student takes numbers or text; store those there"
                )
    return None


def _own(
    schemas: Sequence[pa.Schema],
    places: Sequence[str],
    arrays: Columns | None,
    keep: Sequence[str] | None,
    answers: Sequence[str],
) -> pa.Schema:
    """The columns that are kept, of the types that hold those of all files."""
    inputs = () if arrays is None else arrays.inputs
    names = [name for name in schemas[0].names if name not in inputs] if keep is None else list(dict.fromkeys(keep))
    for name in names:
        for schema, place in zip(schemas, places, strict=True):
            if name not in schema.names:
                near = close_to(name, schema.names)
                guess = f"; did you mean {near[0]}?" if near and keep is not None else ";"
                raise UserError(f"--keep={name}: {place} has no such column{guess} it has {shortened(schema.names)}")
        if name in answers:
            others = " ".join(f"--keep {each}" for each in names if each not in answers) or "--keep and another column"
            raise UserError(f"{places[0]}: column {name} is called as one of the answers; leave it out with {others}")
    found = []
    for name in names:
        each = [pa.schema([schema.field(name).remove_metadata()]) for schema in schemas]
        try:
            found += pa.unify_schemas(each, promote_options="permissive")
        except pa.ArrowException:
            kinds = " and ".join(sorted({str(schema.types[0]) for schema in each}))
            raise UserError(
                f"--keep={name}: the files have it as {kinds}; name the columns to keep without it"
            ) from None
    return pa.schema(found)
