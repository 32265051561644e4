"""Files of rows that a student is to answer: which there are, how they are cut into parts, and a part read.

A path or URI is a Parquet or CSV file, an image file, or a folder of one of these sorts, with the folders in it. A part
is some rows of one file, or some image files; it becomes one file of answers. Images that cannot be read are told, and
the rest goes on; a row of a table that cannot is refused. What is done with the parts: `answer_files.py`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.data import ImageError, InputFormat, fitted_pixels
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.decoding import decode_inputs, image_files
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import StorageError, UserError, reason_of
from hydra_ray.inference.inputs import feature_rows, image_rows
from hydra_ray.storage import Folder

PATH = "path"
"""The column of image files' names, relative to the folder that was given."""
_PARTS = 64  # at least, where rows are many, so that many CPUs have work
_LEAST_IMAGES = 256
_LEAST_ROWS = 4_096
_MOST_ROWS = 262_144
_MOST_BYTES = 64 << 20  # of a part's stored rows, which are in memory at once
_PIECES = 8  # of a row group, as its beginning is decoded again for each


@dataclass(frozen=True)
class Part:
    """What becomes one file of answers.

    Attributes:
        file: number of the file; 0 for image files.
        start, stop: range of its rows, or of the image files.
        paths: of the image files, relative; none of a table.
    """

    file: int
    start: int
    stop: int
    paths: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the file of answers; in the order of names rows are in the order of the input."""
        return f"part-{self.file:06d}-{self.start:010d}.parquet"


class PartRows(NamedTuple):
    """The n rows of a part.

    Attributes:
        own: the columns that are kept.
        inputs: stored rows, uint8 [n, H, W, channels] or float32 [n, D]; zeros where a row cannot be read.
        reasons: of each row why it cannot be read; None where it can.
    """

    own: pa.Table
    inputs: np.ndarray
    reasons: list[str | None]


class Reader(ABC):
    """Reads parts; small to pickle."""

    @abstractmethod
    def read(self, part: Part) -> PartRows:
        """A part's rows.

        Raises:
            UserError: a file that has changed or is damaged, or a row of a table that cannot be read.
        """

    @abstractmethod
    def place_of(self, own: dict[str, Any], file: int, row: int) -> tuple[str, int | None]:
        """File and row of a row, for the list of errors.

        Args:
            own: the row's kept columns.
            file: number of its file.
            row: its position in the file.
        """


@dataclass(frozen=True)
class RowFiles:
    """All that is to be answered.

    Attributes:
        place: as it was given.
        noun: what the files are, for people.
        reader: of the parts.
        parts: in order.
        kept: names of the columns that are kept.
        content: names and digests of the files; of image files one digest of all names, sizes and times.
    """

    place: str
    noun: str
    reader: Reader
    parts: list[Part]
    kept: tuple[str, ...]
    content: list[tuple[str, str]]

    @property
    def num_rows(self) -> int:
        """Of all parts."""
        return sum(part.stop - part.start for part in self.parts)


# image files


@dataclass(frozen=True)
class ImageReader(Reader):
    """Image files of any size."""

    folder: Folder
    shape: tuple[int, ...]

    def read(self, part: Part) -> PartRows:
        """See `Reader.read`."""
        pixels, reasons = fitted(map(self._bytes, part.paths), len(part.paths), self.shape)
        return PartRows(pa.table({PATH: pa.array(part.paths, pa.string())}), pixels, reasons)

    def place_of(self, own: dict[str, Any], file: int, row: int) -> tuple[str, int | None]:
        """See `Reader.place_of`."""
        return own[PATH], None

    def _bytes(self, path: str) -> bytes | ImageError:
        try:
            return self.folder.read(path)
        except (OSError, StorageError) as error:
            found = ImageError(f"{self.folder}/{path}: cannot be read")
            found.reason = f"cannot be read ({reason_of(error, 120)})"
            return found


def fitted(
    files: Iterable[bytes | ImageError | None], number: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, list[str | None]]:
    """Image files of any size as pixels, uint8 [number, H, W, channels], and of each why it cannot be read."""
    pixels = np.zeros((number, *shape), np.uint8)
    reasons: list[str | None] = []
    for place, file in enumerate(files):
        try:
            if isinstance(file, ImageError):
                raise file
            if file is None:
                raise _missing()
            pixels[place] = fitted_pixels(file, place, shape, "image")
            reasons.append(None)
        except ImageError as error:
            reasons.append(error.reason)
    return pixels, reasons


def _missing() -> ImageError:
    found = ImageError("image: has no bytes")
    found.reason = "has no image bytes; store them in the file, not as a path"
    return found


# tables


@dataclass(frozen=True)
class TableReader(Reader):
    """Rows of Parquet and CSV files.

    Attributes:
        sources: one for each file.
        names: of the files, relative to the folder that was given.
        own: the columns that are kept, with the types that they have in all files together.
        form: of the rows that the student takes.
        arrays: the column that holds whole rows; None where features are columns.
    """

    sources: tuple[TableSource, ...]
    names: tuple[str, ...]
    own: pa.Schema
    form: InputFormat
    arrays: Columns | None

    def read(self, part: Part) -> PartRows:
        """See `Reader.read`."""
        batches = self._batches(part)
        if self.arrays is None:
            table = pa.Table.from_batches([batch for _, batch in batches])
            rows = feature_rows(table, self.form, part.start, self.sources[part.file].place)
            return PartRows(self._kept(table), rows, [None] * len(rows))
        own: list[pa.Table] = []
        inputs: list[np.ndarray] = []
        reasons: list[str | None] = []
        for first, batch in batches:
            rows, why = self._decoded(batch, first, self.arrays, self.sources[part.file].place)
            own.append(self._kept(pa.Table.from_batches([batch])))
            inputs.append(rows)
            reasons += why
        return PartRows(pa.concat_tables(own), np.concatenate(inputs), reasons)

    def place_of(self, own: dict[str, Any], file: int, row: int) -> tuple[str, int | None]:
        """See `Reader.place_of`."""
        return self.names[file], row

    def _batches(self, part: Part) -> Iterator[tuple[int, pa.RecordBatch]]:
        """The part's rows and no others, each batch with the position of its first."""
        inputs = list(self.form.names or ()) if self.arrays is None else self.arrays.inputs_to_read
        wanted = list(dict.fromkeys([*inputs, *self.own.names]))
        for first, batch in self.sources[part.file].whole_batches(part.start, part.stop, wanted):
            start = max(first, part.start)
            stop = min(first + batch.num_rows, part.stop)
            if start < stop:
                yield start, batch.slice(start - first, stop - start)

    def _decoded(
        self, batch: pa.RecordBatch, first: int, arrays: Columns, place: str
    ) -> tuple[np.ndarray, list[str | None]]:
        if arrays.kind == "encoded":
            return fitted(image_files(batch, arrays), batch.num_rows, self.form.shape)
        row_id = np.arange(first, first + batch.num_rows)
        rows = decode_inputs(batch, arrays, row_id, None, place)
        if self.form.is_image:
            rows = image_rows(rows, self.form.shape, first)
        elif rows.shape[1:] != self.form.shape:
            found = f"column {arrays.inputs[0]} has lists of {rows.shape[1]} numbers"
            raise UserError(
                f"{place}: {found}, the student takes {self.form.shape[0]}; give rows like those of training"
            )
        return rows, [None] * batch.num_rows

    def _kept(self, table: pa.Table) -> pa.Table:
        return table.select(self.own.names).cast(self.own)


# parts


def cut(groups: Sequence[Sequence[int]], form: InputFormat) -> list[Part]:
    """The parts of tables.

    Whole row groups where they are small, and a few pieces of each where they are large: a piece is reached by decoding
    its row group from the beginning.

    Args:
        groups: rows of each row group of each file.
        form: of the rows that the student takes.
    """
    wanted, most = _sizes(sum(map(sum, groups)), form)
    parts = []
    for file, rows_of in enumerate(groups):
        ends = _ends(rows_of, wanted, most)
        parts += [Part(file, start, stop) for start, stop in pairwise([0, *ends])]
    return parts


def cut_images(paths: Sequence[str], form: InputFormat) -> list[Part]:
    """The parts of image files, in their order."""
    wanted, _ = _sizes(len(paths), form)
    starts = range(0, len(paths), wanted)
    ranges = [(start, min(start + wanted, len(paths))) for start in starts]
    return [Part(0, start, stop, tuple(paths[start:stop])) for start, stop in ranges]


def _sizes(num_rows: int, form: InputFormat) -> tuple[int, int]:
    """Rows that a part should have, and how many it may have; they depend on the input alone."""
    row_bytes = math.prod(form.shape) * (1 if form.is_image else 4)
    most = max(1, _MOST_BYTES // row_bytes)
    least = _LEAST_IMAGES if form.is_image else _LEAST_ROWS
    return min(most, _MOST_ROWS, max(least, math.ceil(num_rows / _PARTS))), most


def _ends(groups: Sequence[int], wanted: int, most: int) -> list[int]:
    """Where the parts of one file end."""
    ends: list[int] = []
    start = reached = 0
    for rows in groups:
        if reached > start and reached + rows - start > wanted:
            ends.append(reached)
            start = reached
        if rows > wanted:
            pieces = max(math.ceil(rows / most), min(_PIECES, math.ceil(rows / wanted)))
            ends += [reached + rows * piece // pieces for piece in range(1, pieces + 1)]
            start = reached + rows
        reached += rows
    return [*ends, reached] if reached > start else ends


def listing(folder: Folder) -> list[pafs.FileInfo]:
    """The files of a folder and of those in it, in the order of their paths; hidden ones are left out."""
    found = folder.fs.get_file_info(pafs.FileSelector(folder.path, recursive=True))
    files = [info for info in found if info.type == pafs.FileType.File]
    shown = [info for info in files if not any(part.startswith(".") for part in relative(folder, info).split("/"))]
    return sorted(shown, key=lambda info: info.path)


def relative(folder: Folder, info: pafs.FileInfo) -> str:
    """A listed file's path below the folder."""
    return info.path.removeprefix(f"{folder.path}/")
