"""Rows in folders of image files: a class a folder, read a few files at a time.

Rows are in the order of the files' paths, whatever lies deeper belongs to the folder directly below the split's, and a
folder without folders is a set without labels. To the rest of `data/` it looks like a table of two columns, `image` and
`class`. A file is compared with its digest whenever it is read; digests are remembered for the folder as a whole.
Which folder is which split's is in `split_files.py`, how files become pixels in `images.py`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.data.content import FileContent
from hydra_ray.data.images import ROWS_LOOKED_AT
from hydra_ray.data.remembered import Remembered
from hydra_ray.data.rows import Ints
from hydra_ray.data.split_files import is_image
from hydra_ray.data.tables.source import TableSource, Wanted, settled
from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage import Folder

IMAGE = "image"
CLASS = "class"
_DIGEST_BYTES = 16
_FILES_AT_ONCE = 64
_MOST_REMEMBERED = 30
_SETTLED_NS = 2_000_000_000
"""Files written later before they are hashed may be written again under the same time: they are not remembered."""


@dataclass(frozen=True)
class ImageFolderSource(TableSource):
    """A split in a folder of image files; see `Source`."""

    folder: Folder
    paths: tuple[str, ...]
    """Of the files, relative, in order."""
    digests: bytes
    """Of the files, 16 bytes each."""
    digest: str
    """Of all names and digests."""
    others: tuple[str, ...] = ()
    """What else lies there, by suffix, in words."""

    @property
    def num_rows(self) -> int:
        """One a file."""
        return len(self.paths)

    @property
    def contents(self) -> tuple[FileContent, ...]:
        """See `TableSource.contents`; all files as one."""
        return (FileContent(self.folder.path, self.digest, ()),)

    @property
    def file_names(self) -> list[str]:
        """See `TableSource.file_names`."""
        return [f"{self.num_rows:,} image files"]

    @property
    def notes(self) -> list[str]:
        """See `TableSource.notes`: files that are no images."""
        return [f"left out {', '.join(self.others)}"] if self.others else []

    def require_unchanged(self) -> None:
        """See `Source.require_unchanged`; by names alone here, and by content whenever a file is read."""
        found, _ = _image_files(self.folder)
        if tuple(path for path, _ in found) != self.paths:
            raise self._changed("files were added or removed")

    def row_name(self, row: int) -> str:
        """See `TableSource.row_name`: the file, with the folder of its split."""
        return self.paths[row] if self.folder.name == self.name else f"{self.folder.name}/{self.paths[row]}"

    def batches(self, start: int, stop: int, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """See `TableSource.batches`; without the column `image` no file is read."""
        for batch in self.batches_of(np.arange(start, stop), columns):
            yield start, batch
            start += batch.num_rows

    def batches_of(self, row_id: Ints, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """See `TableSource.batches_of`; only these files are read."""
        for start in range(0, len(row_id), _FILES_AT_ONCE):
            rows = row_id[start : start + _FILES_AT_ONCE].tolist()
            arrays = [self._files(rows) if name == IMAGE else self._classes(rows) for name in columns]
            yield pa.RecordBatch.from_arrays(arrays, names=list(columns))

    def rows_looked_at(self) -> list[int]:
        """See `TableSource.rows_looked_at`: from everywhere, as the first files are all of one class."""
        return np.unique(np.linspace(0, self.num_rows - 1, ROWS_LOOKED_AT).astype(int)).tolist()

    def _files(self, rows: Sequence[int]) -> pa.Array:
        return pa.array([self._file(row) for row in rows], pa.binary())

    def _file(self, row: int) -> bytes:
        path = self.paths[row]
        try:
            data = self.folder.read(path)
        except OSError as error:
            raise self._changed(f"{path} cannot be read: {reason_of(error)}") from error
        expected = self.digests[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]
        if _digest(data) != expected:
            raise self._changed(path)
        return data

    def _classes(self, rows: Sequence[int]) -> pa.Array:
        return pa.array([self.paths[row].partition("/")[0] for row in rows], pa.string())

    def _changed(self, what: str) -> UserError:
        return UserError(
            f"{self.place}: has changed since the run began, or is another on this machine ({what}); run the command "
            "again when nobody writes to it"
        )


def open_image_folder(folder: Folder, wanted: Wanted) -> ImageFolderSource:
    """A source over the image files in a folder and the folders in it.

    Args:
        folder: one split's; it holds at least one image file.
        wanted: what is asked for, and the names that messages use.

    Raises:
        UserError: images lie both in folders and beside them, or labels are needed and they lie in none.
    """
    found, others = _image_files(folder)
    paths = tuple(path for path, _ in found)
    flat = [path for path in paths if "/" not in path]
    if flat and len(flat) < len(paths):
        raise UserError(
            f"{wanted.place}: {flat[0]} lies beside folders with images; put it into the folder of its class"
        )
    if flat and wanted.needs_label:
        raise UserError(
            f"{wanted.place}: {len(flat):,} images lie in no folder, so they have no class; put them into folders with "
            "the names of their classes"
        )
    labels = [(CLASS, pa.string())] if wanted.needs_label else []
    schema = pa.schema([(IMAGE, pa.binary()), *labels])
    digests = _digests(folder, found, wanted.place)
    names = "\0".join(paths).encode()
    digest = hashlib.sha256(names + b"\0" + digests).hexdigest()[:32]
    source = ImageFolderSource(wanted.name, wanted.place, folder, paths, digests, digest, others)
    return settled(source, schema, wanted)


def _image_files(folder: Folder) -> tuple[list[tuple[str, tuple[int, ...]]], tuple[str, ...]]:
    """Relative paths of image files with their sizes and times, in order; and what else lies there, in words.

    Hidden files and folders are overlooked.
    """
    found: list[tuple[str, tuple[int, ...]]] = []
    others: Counter[str] = Counter()
    for info in folder.fs.get_file_info(pafs.FileSelector(folder.path, recursive=True)):
        path = info.path[len(folder.path) :].lstrip("/")
        if info.type != pafs.FileType.File or any(part.startswith((".", "__")) for part in path.split("/")):
            continue
        if is_image(path):
            found.append((path, _stamp(folder, info)))
        else:
            others[info.extension] += 1
    return sorted(found), tuple(_in_words(count, suffix) for suffix, count in sorted(others.items()))


def _in_words(count: int, suffix: str) -> str:
    kind = f".{suffix} file" if suffix else "file without a suffix"
    return f"1 {kind}" if count == 1 else f"{count:,} {kind.replace('file', 'files')}"


def _stamp(folder: Folder, info: pafs.FileInfo) -> tuple[int, ...]:
    """What tells without reading that nobody has written to a file: size and times, and on this machine its inode."""
    if not folder.is_local:
        return info.size or 0, info.mtime_ns or 0
    found = os.stat(info.path)
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _digests(folder: Folder, files: Sequence[tuple[str, tuple[int, ...]]], place: str) -> bytes:
    """Of all files in order; read once, and again where one was written to."""
    kept = Remembered("image-folders.json", _MOST_REMEMBERED)
    state = hashlib.sha256(repr(files).encode()).hexdigest()
    known = kept.get(str(folder))
    if isinstance(known, dict) and known.get("state") == state:
        return bytes.fromhex(known["digests"])
    is_settled = time.time_ns() - max(stamp[1] for _, stamp in files) >= _SETTLED_NS
    try:
        digests = b"".join(_digest(folder.read(path)) for path, _ in files)
    except OSError as error:
        raise UserError(f"{place}: cannot be read ({reason_of(error)}); put it where every machine sees it") from error
    if is_settled:
        kept.put(str(folder), {"state": state, "digests": digests.hex()})
        kept.save()
    return digests


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:_DIGEST_BYTES]
