"""Folders on any file system: local paths, or URIs that pyarrow or fsspec know (s3://, gs://, memory://).

A `Folder` is small and picklable, so that a worker on another machine opens the same place. Files appear whole or not
at all: local writes go to a temporary name and are renamed, object stores do that by themselves. This module knows
nothing of runs or stages.
"""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.errors import UserError


@dataclass(frozen=True)
class Folder:
    """One folder; it need not exist yet."""

    fs: pafs.FileSystem
    path: str

    @classmethod
    def open(cls, place: str) -> Folder:
        """The folder at a local path or URI.

        Raises:
            UserError: no file system for the URI's scheme.
        """
        if "://" not in place:
            return cls(pafs.LocalFileSystem(), str(Path(place).absolute()))
        try:
            return cls(*pafs.FileSystem.from_uri(place))
        except pa.ArrowInvalid:
            return cls(*_fsspec_filesystem(place))

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
        """The path as a person would type it: relative to the working directory where that is shorter."""
        if not self.is_local:
            return f"{self.fs.type_name}:{self.path}"
        return min(self.path, os.path.relpath(self.path), key=len)

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

    def writing(self, name: str) -> Writing:
        """A stream to a file that appears under its name when the `with` block ends without an error."""
        return Writing(self, name)

    def read_json(self, name: str) -> Any | None:
        """A JSON file's content; None where there is no such file or it is not JSON."""
        try:
            return json.loads(self.read(name))
        except (FileNotFoundError, ValueError):
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON whole or not at all."""
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        try:
            self.fs.delete_file(f"{self.path}/{name}")
        except FileNotFoundError:
            return

    def remove(self) -> None:
        """Remove the folder and all in it, if it is there."""
        if self.exists():
            self.fs.delete_dir(self.path)

    def move_to(self, target: Folder) -> None:
        """Move this folder's files into a new folder `target` of the same file system."""
        if self.is_local:
            self.fs.create_dir(target.parent.path)
            self.fs.move(self.path, target.path)
            return
        self.fs.create_dir(target.path)
        for name in self.files():
            self.fs.move(f"{self.path}/{name}", f"{target.path}/{name}")
        self.remove()

    def check_writable(self, key: str) -> None:
        """Write and remove a file here.

        Raises:
            UserError: it cannot be written; the line names `key`.
        """
        try:
            self.write(".writable", b"")
            self.delete(".writable")
        except OSError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{key}={self}: cannot be written ({reason}); choose another place with {key}=..."
            ) from None


class Writing:
    """A file being written; see `Folder.writing`."""

    def __init__(self, folder: Folder, name: str) -> None:
        """Nothing is opened before the `with` block."""
        self._fs, self._path = folder.fs, f"{folder.path}/{name}"
        self._folder = folder
        self._written = f"{folder.path}/.{name}.{uuid.uuid4().hex}" if folder.is_local else self._path

    def __enter__(self) -> pa.NativeFile:
        self._fs.create_dir(self._folder.path, recursive=True)
        self._stream = self._fs.open_output_stream(self._written, compression=None)
        return self._stream

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not self._folder.is_local:
            return  # closing would publish half a file; an unfinished upload is dropped by the store
        self._stream.close()
        if not self._folder.is_local:
            return
        if kind is None:
            self._fs.move(self._written, self._path)
        else:
            self._fs.delete_file(self._written)


def _fsspec_filesystem(place: str) -> tuple[pafs.FileSystem, str]:
    import fsspec

    try:
        fs, path = fsspec.core.url_to_fs(place)
    except (ValueError, ImportError) as error:
        raise UserError(
            f"storage={place}: {error}; use a folder, s3://, gs:// or install that file system"
        ) from None
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path
