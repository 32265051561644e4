"""Folders on any file system: local paths, or URIs that pyarrow or fsspec know (s3://, gs://, memory://).

A `Folder` is small and can be pickled, so that a worker on another machine opens the same place. Files appear whole or
not at all: they are written under a hidden name and then renamed; for an object store, which has no rename, they are
collected in memory and sent when they are complete (`uploads.py`). Every call to a store is repeated while it may pass
(`retrying.py`).
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.errors import StorageError, UserError, reason_of
from hydra_ray.storage.failures import FAILURES, NOT_THERE, storage_errors, way_out_of
from hydra_ray.storage.opening import fsspec_of, open_place, probe, scheme_of
from hydra_ray.storage.retrying import retried
from hydra_ray.storage.store_calls import StoreFile, known_errors
from hydra_ray.storage.uploads import upload

_RENAMING = ("file", "local", "hdfs", "arrow_hdfs", "webhdfs", "sftp", "ssh", "smb")  # others copy, to rename
_T = TypeVar("_T")


@dataclass(frozen=True)
class Folder:
    """A folder, which need not exist yet."""

    fs: pafs.FileSystem
    path: str

    @classmethod
    def open(cls, place: str, key: str = "storage") -> Folder:
        """Open the folder at a local path or URI, the value of the configuration's `key`.

        Raises:
            UserError: there is no file system for the URI's scheme, or it cannot be reached; the path is impossible; or
                the URI holds a password, which would be written to every run's config.json.
        """
        return cls(*open_place(place, key))

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine's file system."""
        return isinstance(self.fs, pafs.LocalFileSystem)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def parent(self) -> Folder:
        """The folder above."""
        return Folder(self.fs, self.path.rsplit("/", 1)[0])

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.fs, f"{self.path}/{name}")

    def __str__(self) -> str:
        """The place as a person would type it: a URI, or a path, relative where it lies below the working directory."""
        if self.is_local:
            with suppress(FileNotFoundError, ValueError):  # no working directory any more; not below it
                return str(Path(self.path).relative_to(Path.cwd()))
            return self.path
        return f"{scheme_of(self.fs)}://{self.path}"

    def files(self) -> dict[str, int]:
        """Names and sizes in bytes of the files directly inside, hidden ones left out."""
        return {
            info.base_name: info.size
            for info in self._inside()
            if info.type == pafs.FileType.File and not info.base_name.startswith(".")
        }

    def folders(self) -> list[str]:
        """Names of the folders directly inside, hidden ones too."""
        return sorted(info.base_name for info in self._inside() if info.type == pafs.FileType.Directory)

    def take_file(self, name: str, source: Folder) -> None:
        """Put a file of another folder of the same file system here too: on local disks as a link, which takes no room.

        Only for files that nobody changes, such as published ones.
        """
        self._make()
        if self.is_local:
            with suppress(OSError):  # a disk without links, or a file that has as many as there can be
                os.link(f"{source.path}/{name}", f"{self.path}/{name}")
                return
        self._call(lambda: self.fs.copy_file(f"{source.path}/{name}", f"{self.path}/{name}"), name)

    def exists(self) -> bool:
        """Whether a file or folder exists at this path."""
        return self._call(lambda: self.fs.get_file_info(self.path)).type != pafs.FileType.NotFound

    def read(self, name: str) -> bytes:
        """A file's bytes; raises FileNotFoundError if there is no such file."""

        def read() -> bytes:
            with self.fs.open_input_file(f"{self.path}/{name}") as file:  # one request; a stream makes one each 256 kB
                return file.read()

        return self._call(read, name)

    def open_file(self, name: str) -> pa.NativeFile:
        """A file to read pieces of; raises FileNotFoundError if there is no such file."""
        file = self._call(lambda: self.fs.open_input_file(f"{self.path}/{name}"), name)
        return file if self.is_local else pa.PythonFile(StoreFile(file, lambda call: self._call(call, name)), "r")

    def write(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file whole or not at all; a missing folder is created."""
        if not self.is_local:
            content = data if isinstance(data, pa.Buffer) else pa.py_buffer(data)
            self._call(lambda: self._put(name, content), name)
            return
        with self.writing(name) as stream:
            stream.write(data)

    @contextmanager
    def writing(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to a file that appears under its name when the `with` block ends without an error."""
        if self.is_local:
            with self._storage_errors(name), self._renamed(name) as stream:
                yield stream
            return
        buffer = pa.BufferOutputStream()
        yield buffer
        self.write(name, buffer.getvalue())

    def read_json(self, name: str) -> Any | None:
        """A JSON file's content; None if there is no such file, or it is not JSON."""
        try:
            return json.loads(self.read(name))
        except (*NOT_THERE, ValueError):
            return None

    def write_json(self, name: str, content: Any) -> None:
        """Write JSON whole or not at all."""
        self.write(name, (json.dumps(content, indent=1) + "\n").encode())

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        self._delete(f"{self.path}/{name}")

    def remove(self) -> None:
        """Delete the folder and everything in it, if it exists."""

        def remove() -> None:
            if self.fs.get_file_info(self.path).type != pafs.FileType.NotFound:
                self.fs.delete_dir(self.path)

        with suppress(*NOT_THERE):  # another process may be faster
            self._call(remove)

    def move_to(self, target: Folder) -> None:
        """Rename this local folder to `target`, which must be empty; hidden files of killed writers are deleted."""
        with self._storage_errors():
            self.delete_hidden_files()
            self.fs.create_dir(target.parent.path)
            self.fs.move(self.path, target.path)

    def check_place(self, key: str) -> None:
        """Check that this folder could be created, without creating it; of an object store, that it answers.

        Raises:
            UserError: it could not be created, or the store does not answer; the line names `key`.
        """
        if not self.is_local:
            self.check_answers(key)
            return
        nearest = next(place for place in (Path(self.path), *Path(self.path).parents) if place.exists())
        if not nearest.is_dir():
            raise self._not_writable(key, f"{nearest} is a file")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise self._not_writable(key, f"no permission to write in {nearest}")

    def check_answers(self, key: str) -> None:
        """Check within seconds that the object store exists and accepts our credentials.

        Raises:
            UserError: wrong credentials, no such bucket, or no answer; the line names `key`.
        """
        try:
            probe(self.fs, self.path)
        except Exception as error:  # fsspec's file systems raise their own
            way_out = way_out_of(error, is_local=False) or f"choose another place with {key}=..."
            raise UserError(f"{key}={self}: {reason_of(error)}; {way_out}") from None

    def check_writable(self, key: str, below: Collection[str] = ()) -> None:
        """Check that files can be written here and deleted, by doing so.

        Args:
            key: of the configuration, for the message.
            below: folders in this one that are tried too; on local disks those of them that exist.

        Raises:
            UserError: some cannot be written; the line names `key` and them.
        """
        if self.is_local:
            below = [name for name in below if (self / name).exists()]
        else:
            self.check_answers(key)
        places = [self, *(self / name for name in below)]
        with ThreadPoolExecutor(len(places)) as pool:
            reasons = list(pool.map(Folder._why_not_writable, places))
        refused = [(place, reason) for place, reason in zip(places, reasons, strict=True) if reason]
        if not refused:
            return
        first, reason = refused[0]
        if first == self or len(refused) == 1:
            raise first._not_writable(key, reason)
        raise self._not_writable(key, f"{', '.join(place.name for place, _ in refused)}: {reason}")

    def _why_not_writable(self) -> str | None:
        try:
            self.write(".writable", b"")
            self.delete(".writable")
        except (*FAILURES, StorageError) as error:
            return reason_of(error.__cause__ or error)
        return None

    def _not_writable(self, key: str, reason: str) -> UserError:
        return UserError(f"{key}={self}: cannot be written ({reason}); choose another place with {key}=...")

    def delete_hidden_files(self) -> None:
        """Delete what killed writers have left directly inside."""
        for info in self._inside():
            if info.type == pafs.FileType.File and info.base_name.startswith("."):
                self._delete(info.path)

    def _inside(self) -> list[pafs.FileInfo]:
        return self._call(lambda: self.fs.get_file_info(pafs.FileSelector(self.path, allow_not_found=True)))

    def _delete(self, path: str) -> None:
        with suppress(*NOT_THERE):
            self._call(lambda: self.fs.delete_file(path), path.rsplit("/", 1)[-1])

    @property
    def _renames(self) -> bool:
        """Whether a file can be given another name without a copy of its bytes."""
        fsspec = fsspec_of(self.fs)
        if fsspec is None:
            return self.is_local or self.fs.type_name == "hdfs"
        return scheme_of(self.fs).split("+")[-1] in _RENAMING

    def _make(self) -> None:
        """Create the folder; object stores have none."""
        if self._renames:
            self._call(lambda: self.fs.create_dir(self.path, recursive=True))

    def _put(self, name: str, content: pa.Buffer) -> None:
        if not self._renames:
            upload(self.fs, f"{self.path}/{name}", content)
            return
        with self._renamed(name) as stream:
            stream.write(content)

    @contextmanager
    def _renamed(self, name: str) -> Iterator[pa.NativeFile]:
        """A stream to a file with a hidden name, which is renamed at the end."""
        self.fs.create_dir(self.path, recursive=True)
        hidden = f"{self.path}/.{name}.{uuid.uuid4().hex}"
        try:
            with self.fs.open_output_stream(hidden, compression=None) as stream:
                yield stream
            self.fs.move(hidden, f"{self.path}/{name}")
        except BaseException:
            with suppress(*FAILURES):  # a disk that is full or gone may not let go of it either
                self.fs.delete_file(hidden)
            raise

    def _call(self, call: Callable[[], _T], name: str = "") -> _T:
        """What a call about this folder, or a file in it, returns; a store is called again while its error may pass.

        Raises:
            StorageError: the storage's error.
        """
        with self._storage_errors(name):
            return call() if self.is_local else retried(lambda: known_errors(self.fs, call), self)

    def _storage_errors(self, name: str = "") -> AbstractContextManager[None]:
        """Raise the storage's errors about this folder, or a file in it, as a `StorageError`."""
        return storage_errors(f"{self}/{name}" if name else self, is_local=self.is_local)
