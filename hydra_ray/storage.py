"""Folders on any file system: local paths, or URIs that pyarrow or fsspec know (s3://, gs://, memory://).

A `Folder` is small and picklable, so that a worker on another machine opens the same place. Files appear whole or not
at all: they are written under a hidden name and renamed; for an object store, which has no rename, they are collected
in memory and sent when they are whole. This module knows nothing of runs or stages.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.errors import UserError

_OBJECT_STORES = {"s3": "s3", "gcs": "gs", "abfs": "abfs"}  # pyarrow's name -> scheme of its URIs
_STORAGE_ERRORS = (OSError, pa.ArrowException, NotImplementedError)
_NOT_THERE = (FileNotFoundError, NotADirectoryError)


@dataclass(frozen=True)
class Folder:
    """One folder; it need not exist yet."""

    fs: pafs.FileSystem
    path: str

    @classmethod
    def open(cls, place: str) -> Folder:
        """The folder at a local path or URI.

        Raises:
            UserError: no file system for the URI's scheme, or it cannot be reached; or the URI holds a password, which
                would be written to every run's config.json.
        """
        if "://" not in place:
            return cls(pafs.LocalFileSystem(), str(Path(place).expanduser().absolute()))
        if urlsplit(place).password is not None:
            shown = place.split("://")[0] + "://..." + place[place.index("@") :]
            raise UserError(f"{shown}: holds credentials; leave them to the environment of all machines")
        try:
            fs, path = pafs.FileSystem.from_uri(place)
        except pa.ArrowInvalid as error:
            if place.startswith("file:"):
                raise _not_opened(place, error) from None
            fs, path = _fsspec_filesystem(place)
        except OSError as error:
            raise _not_opened(place, error) from None
        return cls(fs, path.rstrip("/"))

    @property
    def is_local(self) -> bool:
        """Whether plain `open` reaches it."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Folder:
        """The folder above."""
        return Folder(self.fs, self.path.rsplit("/", 1)[0])

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.fs, f"{self.path}/{name}")

    def __str__(self) -> str:
        """The place as a person would type it: a URI, or a path, relative where that is shorter."""
        if self.is_local:
            return min(self.path, os.path.relpath(self.path), key=len)
        if isinstance(self.fs, pafs.PyFileSystem) and isinstance(self.fs.handler, pafs.FSSpecHandler):
            return self.fs.handler.fs.unstrip_protocol(self.path)
        return f"{_OBJECT_STORES.get(self.fs.type_name, self.fs.type_name)}://{self.path}"

    def files(self) -> dict[str, int]:
        """Names and sizes in bytes of the files directly inside, hidden ones left out."""
        selector = pafs.FileSelector(self.path, allow_not_found=True)
        return {
            info.base_name: info.size
            for info in self.fs.get_file_info(selector)
            if info.type == pafs.FileType.File and not info.base_name.startswith(".")
        }

    def folders(self) -> list[str]:
        """Names of the folders directly inside, hidden ones too."""
        selector = pafs.FileSelector(self.path, allow_not_found=True)
        return sorted(
            info.base_name for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.Directory
        )

    def exists(self) -> bool:
        """Whether there is anything at this path."""
        return self.fs.get_file_info(self.path).type != pafs.FileType.NotFound

    def read(self, name: str) -> bytes:
        """A file's bytes; FileNotFoundError where there is none."""
        with self.fs.open_input_stream(f"{self.path}/{name}", compression=None) as stream:
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole or not at all; the folder is made where missing."""
        with self.writing(name) as stream:
            stream.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to a file that appears under its name when the `with` block ends without an error."""
        self.fs.create_dir(self.path, recursive=True)
        if self.fs.type_name in _OBJECT_STORES:
            buffer = pa.BufferOutputStream()
            yield buffer
            with self.fs.open_output_stream(f"{self.path}/{name}", compression=None) as stream:
                stream.write(buffer.getvalue())
            return
        hidden = f"{self.path}/.{name}.{uuid.uuid4().hex}"
        try:
            with self.fs.open_output_stream(hidden, compression=None) as stream:
                yield stream
            self.fs.move(hidden, f"{self.path}/{name}")
        except BaseException:
            self._delete(hidden)
            raise

    def read_json(self, name: str) -> Any | None:
        """A JSON file's content; None where there is no such file or it is not JSON."""
        try:
            return json.loads(self.read(name))
        except (*_NOT_THERE, ValueError):
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON whole or not at all."""
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        self._delete(f"{self.path}/{name}")

    def remove(self) -> None:
        """Remove the folder and all in it, if it is there."""
        if self.exists():
            self.fs.delete_dir(self.path)

    def move_to(self, target: Folder, *, last: str) -> None:
        """Move this folder's files into a new folder `target` of the same file system.

        Locally that is one rename, elsewhere file by file, the file `last` after all others. Hidden files, which
        killed writers have left behind, do not go along.
        """
        if self.is_local:
            self._delete_hidden_files()
            self.fs.create_dir(target.parent.path)
            self.fs.move(self.path, target.path)
            return
        self.fs.create_dir(target.path)
        for name in sorted(self.files(), key=lambda name: name == last):
            self.fs.move(f"{self.path}/{name}", f"{target.path}/{name}")
        self.remove()

    def check_place(self, key: str) -> None:
        """Look whether this folder could be made here, making nothing; object stores are not asked.

        Raises:
            UserError: it could not; the line names `key`.
        """
        if not self.is_local:
            return
        nearest = next(place for place in (Path(self.path), *Path(self.path).parents) if place.exists())
        if not nearest.is_dir():
            raise self._not_writable(key, f"{nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise self._not_writable(key, f"no permission to write in {nearest}")

    def check_writable(self, key: str) -> None:
        """Write and remove a file here.

        Raises:
            UserError: it cannot be written; the line names `key`.
        """
        try:
            self.write(".writable", b"")
            self.delete(".writable")
        except _STORAGE_ERRORS as error:
            raise self._not_writable(key, " ".join(str(error).split())) from None

    def _not_writable(self, key: str, reason: str) -> UserError:
        return UserError(f"{key}={self}: cannot be written ({reason}); choose another place with {key}=...")

    def _delete(self, path: str) -> None:
        try:
            self.fs.delete_file(path)
        except _NOT_THERE:
            return

    def _delete_hidden_files(self) -> None:
        for info in self.fs.get_file_info(pafs.FileSelector(self.path)):
            if info.type == pafs.FileType.File and info.base_name.startswith("."):
                self._delete(info.path)


def _fsspec_filesystem(place: str) -> tuple[pafs.FileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(place)
    except (ValueError, ImportError, OSError) as error:
        raise _not_opened(place, error) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path


def _not_opened(place: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:160]
    return UserError(
        f"storage={place}: {reason}; use a folder, s3://bucket/folder, gs://bucket/folder, "
        "or install the fsspec package of that file system"
    )
