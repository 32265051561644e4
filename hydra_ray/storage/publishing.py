"""Putting a finished attempt into its place, so that a manifest never stands there without the files it lists.

Locally the place changes by renames of whole folders; elsewhere file by file, the manifest first out and last in. One
command writes to a run at a time (`ownership.py`); should there be two all the same, or should one be killed at any
step, what stands in the place is whole, or nothing is published there.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hydra_ray.errors import StorageError, UserError
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import check_sizes


@dataclass(frozen=True)
class Delivery:
    """An attempt and its place.

    Attributes:
        attempt: the folder with the files and the manifest.
        place: where they are published.
        manifest_name: the manifest's.
        files: what the manifest lists.
        stamps: `stamps_of` the files, taken before they were hashed.
        check: raises where nothing may be published any more.
    """

    attempt: Folder
    place: Folder
    manifest_name: str
    files: Mapping[str, Any]
    stamps: Mapping[str, object]
    check: Callable[[], None]

    def put(self) -> None:
        """Publish.

        Raises:
            UserError: the attempt lacks files, another command has touched it, or `check` raised.
            FileNotFoundError, FileExistsError: another command has touched attempt or place.
        """
        check_sizes(self.attempt, self.files)
        self.check()
        if self.place.is_local:
            self._rename()
        else:
            self._move_files()

    def _rename(self) -> None:
        """What was published goes aside whole; it comes back where nothing takes its place."""
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
        """Remove the manifest, unless it is another's by now."""
        try:
            if self.place.read(self.manifest_name) == content:
                self.place.delete(self.manifest_name)
        except FileNotFoundError:
            return


def retract(place: Folder, manifest_name: str) -> None:
    """Remove what is published, the manifest first."""
    place.delete(manifest_name)
    place.remove()


def stamps_of(folder: Folder, names: Iterable[str]) -> dict[str, object]:
    """What changes where somebody replaces a file: inode, time and size; nothing where there are no inodes.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not folder.is_local:
        return {}
    found = {name: os.stat(f"{folder.path}/{name}") for name in names}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def attempt_prefix(place: Folder) -> str:
    """First part of the names of the folders in which what belongs to a place is written."""
    return f".attempt-{place.name}@"


def retired_prefix(place: Folder) -> str:
    """And of those in which what was published before stands for a moment."""
    return f".retired-{place.name}@"
