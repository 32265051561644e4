"""Run folders: what is done, what is stale, and how a result is published.

An `Artifact` is one result of a stage (a member, a split's shards, a student, the search, the report): a folder with a
manifest. It is written into an attempt folder beside its place, the manifest last, and published by moving it there,
the manifest last again (locally all of it at once); nothing is overwritten in place. The manifest holds a fingerprint,
the hash of `key`: the configuration that matters to this result and the digests of what it was made from. No stage's
logic is here; keys are made in `stages.py`.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from hydra_ray.config import flatten
from hydra_ray.errors import UserError
from hydra_ray.manifests import check_sizes, describe, read_checked, read_manifest, sealed
from hydra_ray.storage import Folder

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
    """

    folder: Folder
    key: dict[str, Any]
    manifest_name: str = "manifest.json"

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the key."""
        return fingerprint(self.key)

    @property
    def attempt(self) -> Folder:
        """Where it is written before it is published; the same folder for the same key, so that work resumes."""
        return self.folder.parent / f".attempt-{self.folder.name}@{self.fingerprint}"

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

    def publish(self, content: Mapping[str, Any]) -> None:
        """Write the manifest, with `content` in it, and move the attempt to its place."""
        names = sorted(set(self.attempt.files()) - {self.manifest_name})
        files = {name: describe(self.attempt, name) for name in names}
        facts = {"fingerprint": self.fingerprint, "key": self.key, "created": _now(), "files": files}
        self.attempt.write_json(self.manifest_name, sealed({**facts, **content}))
        self.retract()
        self.attempt.move_to(self.folder, last=self.manifest_name)
        self._remove_attempts()

    def retract(self) -> None:
        """Remove what is published here, the manifest first."""
        self.folder.delete(self.manifest_name)
        self.folder.remove()

    def _is_mine(self, manifest: dict[str, Any]) -> bool:
        return manifest["fingerprint"] == self.fingerprint and not not_finite(manifest)

    def _remove_attempts(self) -> None:
        for name in self.folder.parent.folders():
            if name.startswith(f".attempt-{self.folder.name}@"):
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
