"""Artifacts: the results of stages, whether they are published or stale, and how they are published.

An `Artifact` is one result of a stage (a member, a split's shards, a student, a search, the report): a folder with a
manifest. It is written into an attempt folder and published from there (`publishing.py`); nothing is overwritten in
place. The manifest holds a fingerprint, the hash of `key`: the configuration that matters to this result
and the digests of what it is made from. Keys come from `runs/fingerprints.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from hydra_ray.config import flatten
from hydra_ray.errors import StorageError, UserError, reason_of
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import (
    check_sizes,
    describe,
    files_of,
    find_published,
    read_checked,
    read_manifest,
    way_out,
)
from hydra_ray.storage.ownership import Fence
from hydra_ray.storage.publishing import Delivery, WrittenFile, attempt_folder, remove_attempts, stamps_of

Status = Literal["done", "stale", "missing"]


def fingerprint(key: Mapping[str, Any]) -> str:
    """Hash of a JSON-able mapping, independent of the order of its keys; 16 hexadecimal digits."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """One result, published or not.

    Attributes:
        folder: where it is, or will be, published.
        key: what it depends on; JSON-able.
        manifest_name: `manifest.json`, `model.json` for members, `config.json` for students.
        fence: checked before anything is published; None where no other command can interfere.
    """

    folder: Folder
    key: dict[str, Any]
    manifest_name: str = "manifest.json"
    fence: Fence | None = field(default=None, compare=False, kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the key."""
        return fingerprint(self.key)

    @cached_property
    def attempt(self) -> Folder:
        """The folder in which it is written; the same key has the same folder, so that work resumes."""
        return attempt_folder(self.folder, self.fingerprint, self.manifest_name)

    @property
    def files(self) -> Folder:
        """The folder that the published files are in, see `files_of`."""
        return files_of(self.folder, self.manifest_name)

    def manifest(self) -> dict[str, Any] | None:
        """The published manifest, also of another key; None if nothing is published.

        Raises:
            UserError: it is damaged or cannot be read.
        """
        return read_manifest(self.folder, self.manifest_name)

    def status(self) -> Status:
        """Whether it is missing, stale or done; stale means made from another key, or with figures that are not finite.

        Raises:
            UserError: it is published, but one of its files is missing, cut short or unreadable.
        """
        manifest, inside = find_published(self.folder, self.manifest_name)
        if manifest is None:
            return "missing"
        if not self._is_mine(manifest):
            return "stale"
        check_sizes(inside, manifest["files"])
        return "done"

    def require(self) -> dict[str, Any]:
        """The manifest of the result, which must be published.

        Raises:
            UserError: nothing is published, or it was made from another key, or is damaged.
        """
        return self._required()[0]

    def read(self, name: str) -> bytes:
        """A published file's bytes, checked against their checksum.

        Raises:
            UserError: see `require`; or the file is missing, unreadable, or damaged.
        """
        manifest, inside = self._required()
        return read_checked(inside, name, manifest["files"])

    @property
    def lineage(self) -> str:
        """Identifies all states of a result that extend each other, and are not made anew."""
        return self.fingerprint

    @property
    def is_done(self) -> bool:
        """Whether it is published, complete and made from the present key."""
        return self.status() == "done"

    def digest(self) -> str:
        """Hash of the published content, which goes into the keys of later stages."""
        manifest = self.manifest() or {}
        return fingerprint({"fingerprint": manifest.get("fingerprint"), "files": manifest.get("files")})

    def changes(self) -> list[str]:
        """Why it is stale: figures that are not finite, and `key: old -> new` for each key that changed."""
        manifest = self.manifest()
        if manifest is None:
            return []
        broken = [f"figures.{name}: {value}, not a finite number" for name, value in not_finite(manifest).items()]
        old = _leaves(manifest["key"])
        new = _leaves(json.loads(json.dumps(self.key, default=str)))
        differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return broken + [f"{name}: {old.get(name)} -> {new.get(name)}" for name in differing]

    def publish(
        self,
        content: Mapping[str, Any],
        names: Collection[str] | None = None,
        *,
        written: Mapping[str, WrittenFile] | None = None,
    ) -> None:
        """Write the manifest and move the attempt into its place.

        Args:
            content: entries of the manifest, in addition to those that every manifest has.
            names: files to publish; None for all files of the attempt. Others are deleted.
            written: what is known of some files; the others, and those touched since, are read for their checksums.

        Raises:
            UserError: a file is missing, or another command holds the run by now.
        """
        try:
            self._deliver(content, names, written or {})
            return
        except (FileNotFoundError, FileExistsError) as error:
            self._accept_others(error)
        except StorageError:
            raise
        except UserError as error:
            self._may_publish()
            self._accept_others(error)
        self._clean()

    def publish_files(self, content: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write these files and publish them, and nothing else; see `publish`."""
        self._may_publish()  # before a byte is written where another command may have published
        written = {name: WrittenFile.write(self.attempt, name, pa.py_buffer(data)) for name, data in files.items()}
        self.publish(content, files, written=written)

    def take(self, other: Artifact) -> None:
        """Publish what is published at `other`, of the same key, here too; every file's checksum is compared.

        Raises:
            UserError: nothing valid is published there, or it is damaged; or another command holds the run by now.
        """
        manifest, source = other._required()
        files = manifest["files"]
        self.attempt.remove()
        for name in files:
            self.attempt.take_file(name, source)
        stamps = stamps_of(self.attempt, files)
        damaged = [name for name, facts in files.items() if describe(self.attempt, name) != facts]
        if damaged:
            self.attempt.remove()
            raise UserError(f"{source}/{damaged[0]}: not the bytes that were published; {way_out(source)}")
        self._put(manifest, stamps)

    def _deliver(
        self, content: Mapping[str, Any], names: Collection[str] | None, written: Mapping[str, WrittenFile]
    ) -> None:
        attempt = self.attempt
        present = set(attempt.files()) - {self.manifest_name}
        wanted = sorted(present if names is None else names)
        if not wanted:
            raise FileNotFoundError(f"{attempt}: holds no files")
        stamps = stamps_of(attempt, wanted)
        known = {name: file.entry for name, file in written.items() if file.stamp == stamps.get(name)}
        files = {name: known.get(name) or describe(attempt, name) for name in wanted}
        for name in present.difference(wanted):
            attempt.delete(name)
        facts = {"fingerprint": self.fingerprint, "key": self.key, "created": _now(), "files": files}
        self._put({**facts, **content}, stamps)

    def _put(self, manifest: Mapping[str, Any], stamps: Mapping[str, tuple[int, ...]]) -> None:
        """Publish the attempt with this manifest, and remove what else was written for this place."""
        Delivery(self.attempt, self.folder, self.manifest_name, manifest, stamps, self._may_publish).put()
        self._clean()

    def _clean(self) -> None:
        self.__dict__.pop("attempt", None)  # the next one is another folder
        remove_attempts(self.folder, self.manifest_name)

    def _required(self) -> tuple[dict[str, Any], Folder]:
        manifest, inside = find_published(self.folder, self.manifest_name)
        if manifest is None:
            raise UserError(f"{self.folder}: nothing is published there; run the stage that makes it")
        if not self._is_mine(manifest):
            reasons = "; ".join(self.changes()[:3])
            raise UserError(f"{self.folder}: of another configuration ({reasons}); run the stage that makes it again")
        return manifest, inside

    def _may_publish(self) -> None:
        if self.fence is not None:
            self.fence.check()

    def _accept_others(self, error: Exception) -> None:
        """Accept the same result published by another command; raise a UserError if there is none."""
        if not self.is_done:
            reason = reason_of(error, 160)
            raise UserError(
                f"{self.folder}: not published, its files were touched meanwhile ({reason}); "
                "let one command work in a run folder at a time, and start it again"
            ) from None

    def _is_mine(self, manifest: dict[str, Any]) -> bool:
        return manifest["fingerprint"] == self.fingerprint and not not_finite(manifest)


def not_finite(content: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a network that are NaN or infinite, because its training diverged."""
    figures = content.get("figures", {})
    return {name: value for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)}


def _leaves(tree: Any) -> dict[str, Any]:
    """Dotted keys and values of a tree; a list of n counts as `n entries` and one key an entry."""
    leaves: dict[str, Any] = {}
    for key, value in flatten(tree).items():
        if not isinstance(value, list):
            leaves[key] = value
            continue
        leaves[key] = f"{len(value)} entries"
        leaves.update(_leaves({f"{key}.{place}": entry for place, entry in enumerate(value)}))
    return leaves


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
