"""Run folders: what is done, what is stale, and how a result is published.

An `Artifact` is one result of a stage (a member, a split's shards, a student, the search, the report): a folder with a
manifest. It is written into an attempt folder beside its place and published from there (`publishing.py`); nothing is
overwritten in place. The manifest holds a fingerprint,
the hash of `key`: the configuration that matters to this result and the digests of what it was made from. No stage's
logic is here; keys are made in `stages.py`.
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

from hydra_ray.config import flatten
from hydra_ray.errors import StorageError, UserError
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import check_sizes, describe, read_checked, read_manifest, sealed
from hydra_ray.storage.ownership import Fence
from hydra_ray.storage.publishing import Delivery, attempt_prefix, retired_prefix, stamps_of

Status = Literal["done", "stale", "missing"]


def fingerprint(key: Mapping[str, Any]) -> str:
    """Hash of a JSON-able mapping, independent of the order of its keys; 16 hexadecimal digits."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Artifact:
    """One published result, or the place where it will be.

    Attributes:
        folder: where it is published.
        key: what it depends on; JSON-able.
        manifest_name: `manifest.json`, or `model.json` for networks.
        fence: asked before anything is published; none for who works alone.
    """

    folder: Folder
    key: dict[str, Any]
    manifest_name: str = "manifest.json"
    fence: Fence | None = field(default=None, compare=False, kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the key."""
        return fingerprint(self.key)

    @property
    def attempt(self) -> Folder:
        """Where it is written before it is published; the same folder for the same key, so that work resumes."""
        return self.folder.parent / f"{attempt_prefix(self.folder)}{self.fingerprint}"

    def manifest(self) -> dict[str, Any] | None:
        """The published manifest, whatever its fingerprint; None where nothing is published.

        Raises:
            UserError: there is one, but it is damaged or cannot be read.
        """
        return read_manifest(self.folder, self.manifest_name)

    def status(self) -> Status:
        """Whether it is published and made from the present key; figures that are no numbers are stale.

        Raises:
            UserError: it is published, but a file of it is missing, cut short or unreadable.
        """
        manifest = self.manifest()
        if manifest is None:
            return "missing"
        if not self._is_mine(manifest):
            return "stale"
        check_sizes(self.folder, manifest["files"])
        return "done"

    def require(self) -> dict[str, Any]:
        """The manifest of what is published and made from the present key.

        Raises:
            UserError: nothing is, or it is another's or damaged.
        """
        manifest = self.manifest()
        if manifest is None:
            raise UserError(f"{self.folder}: nothing is published there; run the stage that makes it")
        if not self._is_mine(manifest):
            reasons = "; ".join(self.changes()[:3])
            raise UserError(f"{self.folder}: of another configuration ({reasons}); run the stage that makes it again")
        return manifest

    def read(self, name: str) -> bytes:
        """A published file's bytes, compared with their checksum.

        Raises:
            UserError: see `require`; or the file is gone, unreadable, or holds other bytes.
        """
        return read_checked(self.folder, name, self.require()["files"])

    @property
    def lineage(self) -> str:
        """What it has in common with every state of it that is gone on with, rather than made anew."""
        return self.fingerprint

    @property
    def is_done(self) -> bool:
        """Published, whole, and made from the present key."""
        return self.status() == "done"

    def digest(self) -> str:
        """Hash of the published content: what a later stage's key holds of this one."""
        manifest = self.manifest() or {}
        return fingerprint({"fingerprint": manifest.get("fingerprint"), "files": manifest.get("files")})

    def changes(self) -> list[str]:
        """Why it is stale: `key: old -> new` for each key that differs, and figures that are not finite."""
        manifest = self.manifest()
        if manifest is None:
            return []
        broken = [f"figures.{name}: {value}, not a finite number" for name, value in not_finite(manifest).items()]
        old, new = _leaves(manifest["key"]), _leaves(json.loads(json.dumps(self.key, default=str)))
        differing = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        return broken + [f"{name}: {old.get(name)} -> {new.get(name)}" for name in differing]

    def publish(self, content: Mapping[str, Any], names: Collection[str] | None = None) -> None:
        """Write the manifest, with `content` in it, and put the attempt into its place.

        Args:
            content: of the manifest, beside what all have.
            names: the files that make the result; none for all that are in the attempt. Others go.

        Raises:
            UserError: a file is not there, or the run belongs to another command by now.
        """
        try:
            self._deliver(content, names)
        except (FileNotFoundError, FileExistsError) as error:
            self._accept_others(error)
        except StorageError:
            raise
        except UserError as error:
            self._may_publish()
            self._accept_others(error)
        self._remove_attempts()

    def _deliver(self, content: Mapping[str, Any], names: Collection[str] | None) -> None:
        attempt = self.attempt
        present = set(attempt.files()) - {self.manifest_name}
        wanted = sorted(present if names is None else names)
        if not wanted:
            raise FileNotFoundError(f"{attempt}: holds no files")
        stamps = stamps_of(attempt, wanted)
        files = {name: describe(attempt, name) for name in wanted}
        for name in present.difference(wanted):
            attempt.delete(name)
        facts = {"fingerprint": self.fingerprint, "key": self.key, "created": _now(), "files": files}
        attempt.write_json(self.manifest_name, sealed({**facts, **content}))
        Delivery(attempt, self.folder, self.manifest_name, files, stamps, self._may_publish).put()

    def _may_publish(self) -> None:
        if self.fence is not None:
            self.fence.check()

    def _accept_others(self, error: Exception) -> None:
        """Another command worked on the same result and published it: as good as one's own; else it is an error."""
        if not self.is_done:
            reason = " ".join(str(error).split())[:160]
            raise UserError(
                f"{self.folder}: not published, its files were touched meanwhile ({reason}); "
                "let one command work in a run folder at a time, and start it again"
            ) from None

    def _is_mine(self, manifest: dict[str, Any]) -> bool:
        return manifest["fingerprint"] == self.fingerprint and not not_finite(manifest)

    def _remove_attempts(self) -> None:
        for name in self.folder.parent.folders():
            if name.startswith((attempt_prefix(self.folder), retired_prefix(self.folder))):
                (self.folder.parent / name).remove()


def not_finite(content: Mapping[str, Any]) -> dict[str, float]:
    """Those of a network's `figures` that are NaN or infinite: it has diverged."""
    figures = content.get("figures", {})
    return {name: value for name, value in figures.items() if isinstance(value, float) and not math.isfinite(value)}


def _leaves(tree: Any) -> dict[str, Any]:
    """Dotted keys of a tree, lists taken apart too; of a list of n first comes `n entries`."""
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
