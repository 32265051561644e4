"""Publishes a finished attempt: moves it into its place, where a manifest never stands without the files it lists.

Locally whole folders are renamed; elsewhere files are moved one by one, with the old manifest deleted first and the new
one written last. One command writes to a run at a time (`ownership.py`); if there are two all the same, or one is
killed at any step, the place holds a complete result or none.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from hydra_ray.errors import StorageError, UserError
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import check_sizes


@dataclass(frozen=True)
class WrittenFile:
    """A file of an attempt as its writer knows it, so that publishing it takes no reading.

    Attributes:
        bytes: its size.
        sha256: checksum of what was written.
        stamp: as `stamps_of` has it; another once the file is replaced. None where there are none.
    """

    bytes: int
    sha256: str
    stamp: tuple[int, ...] | None

    @classmethod
    def write(cls, folder: Folder, name: str, content: pa.Buffer) -> Self:
        """Write a file whole or not at all."""
        folder.write(name, content)
        return cls(content.size, hashlib.sha256(content).hexdigest(), stamps_of(folder, [name]).get(name))

    @classmethod
    def read(cls, folder: Folder, name: str) -> tuple[Self, bytes]:
        """A file that an earlier command has written, and its bytes, read once.

        Raises:
            FileNotFoundError: it is missing.
        """
        stamp = stamps_of(folder, [name]).get(name)
        content = folder.read(name)
        return cls(len(content), hashlib.sha256(content).hexdigest(), stamp), content

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Self:
        """From the fields as JSON has them."""
        stamp = found["stamp"]
        return cls(found["bytes"], found["sha256"], None if stamp is None else tuple(stamp))

    @property
    def entry(self) -> dict[str, Any]:
        """The manifest's entry, as `manifests.describe` finds it."""
        return {"bytes": self.bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class Delivery:
    """An attempt on its way into its place.

    Attributes:
        attempt: the folder with the files and the manifest.
        place: where they are published.
        manifest_name: name of the manifest.
        files: the manifest's list of files.
        stamps: `stamps_of` the files, taken before they were hashed.
        check: raises if nothing may be published any more.
    """

    attempt: Folder
    place: Folder
    manifest_name: str
    files: Mapping[str, Any]
    stamps: Mapping[str, tuple[int, ...]]
    check: Callable[[], None]

    def put(self) -> None:
        """Publish the attempt.

        Raises:
            UserError: the attempt lacks files, another command has changed it, or `check` raised.
            FileNotFoundError, FileExistsError: another command has changed the attempt or the place.
        """
        check_sizes(self.attempt, self.files)
        self.check()
        if self.place.is_local:
            self._rename()
        else:
            self._move_files()

    def _rename(self) -> None:
        """Move the earlier result aside, and the attempt into its place; on failure, move the earlier one back."""
        content = self.attempt.read(self.manifest_name)
        aside = self.place.parent / f"{retired_prefix(self.place)}{uuid.uuid4().hex[:8]}"
        with suppress(FileNotFoundError):
            self.place.move_to(aside)
        try:
            self.attempt.move_to(self.place)
        except (OSError, StorageError) as error:
            if not self.place.exists():
                with suppress(FileNotFoundError):
                    aside.move_to(self.place)
                raise
            aside.remove()
            raise FileExistsError(f"{self.place}: another command has published there") from error
        aside.remove()
        if stamps_of(self.place, self.files) != self.stamps:
            self._withdraw(content)
            raise FileExistsError(f"{self.place}: another command has written to the files")

    def _move_files(self) -> None:
        retract(self.place, self.manifest_name)
        for name in self.files:
            self.attempt.move_file(name, self.place)
        check_sizes(self.place, self.files)
        self.check()
        content = self.attempt.read(self.manifest_name)
        self.attempt.move_file(self.manifest_name, self.place)
        try:
            check_sizes(self.place, self.files)
        except UserError:
            self._withdraw(content)
            raise
        self.attempt.remove()

    def _withdraw(self, content: bytes) -> None:
        """Delete the manifest, unless another command has published by now."""
        try:
            if self.place.read(self.manifest_name) == content:
                self.place.delete(self.manifest_name)
        except FileNotFoundError:
            return


def retract(place: Folder, manifest_name: str) -> None:
    """Delete what is published, the manifest first."""
    place.delete(manifest_name)
    place.remove()


def stamps_of(folder: Folder, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Inode, time and size of each file, which change when it is replaced; empty where there are no inodes.

    Raises:
        FileNotFoundError: a file is missing.
    """
    if not folder.is_local:
        return {}
    found = {name: os.stat(f"{folder.path}/{name}") for name in names}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def attempt_prefix(place: Folder) -> str:
    """The prefix of the folders in which results for a place are written."""
    return f".attempt-{place.name}@"


def retired_prefix(place: Folder) -> str:
    """The prefix of the folders to which earlier results are moved for a moment."""
    return f".retired-{place.name}@"
