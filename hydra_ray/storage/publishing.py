"""Publishes a finished attempt in its place, where a manifest never stands without the files it lists.

On a disk the attempt, which lies beside the place, is renamed. Elsewhere it lies in the place, its files stay where
they were written, and one small object, the manifest that names the attempt's folder, makes them count in place of
those before them: no file is copied or moved. One command writes to a run at a time (`ownership.py`); if there are two
all the same, or one is killed at any step, the place holds a complete result or none.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from hydra_ray.errors import StorageError, UserError
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import ATTEMPT, check_sizes, files_of, find_published, pointing_to, sealed


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
        attempt: the folder with the files.
        place: where they are published.
        manifest_name: name of the manifest.
        manifest: its content.
        stamps: `stamps_of` the files, taken before they were hashed.
        check: raises if nothing may be published any more.
    """

    attempt: Folder
    place: Folder
    manifest_name: str
    manifest: Mapping[str, Any]
    stamps: Mapping[str, tuple[int, ...]]
    check: Callable[[], None]

    @property
    def files(self) -> Mapping[str, Any]:
        """The manifest's list of files."""
        return self.manifest["files"]

    def put(self) -> None:
        """Publish the attempt.

        Raises:
            UserError: the attempt lacks files, another command has changed it, or `check` raised.
            FileNotFoundError, FileExistsError: another command has changed the attempt or the place.
        """
        self.attempt.write_json(self.manifest_name, sealed(self.manifest))
        check_sizes(self.attempt, self.files)
        self.check()
        if self.place.is_local:
            self._rename()
        else:
            self._point()

    def _rename(self) -> None:
        """Move the earlier result aside, and the attempt into its place; on failure, move the earlier one back."""
        content = self.attempt.read(self.manifest_name)
        aside = self.place.parent / f"{_retired_prefix(self.place)}{uuid.uuid4().hex[:8]}"
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

    def _point(self) -> None:
        content = json.dumps(pointing_to(self.attempt, self.manifest), indent=1).encode()
        self.place.write(self.manifest_name, content)
        try:
            check_sizes(self.attempt, self.files)
        except UserError:
            self._withdraw(content)
            raise

    def _withdraw(self, content: bytes) -> None:
        """Delete the manifest, unless another command has published by now."""
        try:
            if self.place.read(self.manifest_name) == content:
                self.place.delete(self.manifest_name)
        except FileNotFoundError:
            return


def stamps_of(folder: Folder, names: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Inode, time and size of each file, which change when it is replaced; empty where there are no inodes.

    Raises:
        FileNotFoundError: a file is missing.
    """
    if not folder.is_local:
        return {}
    found = {name: os.stat(f"{folder.path}/{name}") for name in names}
    return {name: (stat.st_ino, stat.st_mtime_ns, stat.st_size) for name, stat in found.items()}


def attempt_folder(place: Folder, fingerprint: str, manifest_name: str) -> Folder:
    """The folder in which a result for a place is written: the same for the same key, but not one that is published."""
    if place.is_local:
        return place.parent / f"{_attempt_prefix(place)}{fingerprint}"
    attempt = place / f"{ATTEMPT}{fingerprint}"
    return place / f"{attempt.name}-again" if files_of(place, manifest_name) == attempt else attempt


def remove_attempts(place: Folder, manifest_name: str) -> None:
    """Delete what else was written for a place than what is published there."""
    if place.is_local:
        for name in place.parent.folders():
            if name.startswith((_attempt_prefix(place), _retired_prefix(place))):
                (place.parent / name).remove()
        return
    published = files_of(place, manifest_name)
    for name in place.folders():
        if name.startswith(ATTEMPT) and place / name != published:
            (place / name).remove()
    if published != place:
        for name in place.files():  # of a version that had them there
            if name != manifest_name:
                place.delete(name)
    if files_of(place, manifest_name) != published:  # another command has published meanwhile
        _withdraw_broken(place, manifest_name)


def _withdraw_broken(place: Folder, manifest_name: str) -> None:
    manifest, inside = find_published(place, manifest_name)
    try:
        check_sizes(inside, {} if manifest is None else manifest["files"])
    except UserError:
        place.delete(manifest_name)


def _attempt_prefix(place: Folder) -> str:
    return f".attempt-{place.name}@"


def _retired_prefix(place: Folder) -> str:
    """The prefix of the folders to which earlier results are moved for a moment."""
    return f".retired-{place.name}@"
