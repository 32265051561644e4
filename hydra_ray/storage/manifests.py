"""Manifests: the list of a published folder's files, and reading them so that damage is noticed.

A manifest lists the folder's files with their sizes and SHA-256 checksums, and holds a checksum of its own content.
Every published file is checked against it as it is read. On an object store, where nothing can be renamed, the files
are in a folder beside the manifest, which names it. When a result is stale is decided in `artifact.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from hydra_ray.errors import UserError
from hydra_ray.storage.folder import Folder

_FIELDS = {"fingerprint": str, "key": dict, "files": dict}
_OWN_SUM = "checksum"
_FILES_IN = "files_in"
MANIFEST = "manifest.json"
ATTEMPT = "attempt-"
_CHUNK = 1 << 20


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with its own checksum added, to be written as JSON."""
    return {**content, _OWN_SUM: _sum_of(content)}


def unsealed(folder: Folder, name: str) -> dict[str, Any] | None:
    """The content of a JSON file written with `sealed`; None if there is no such file.

    Raises:
        UserError: the file is unreadable, not JSON, or damaged.
    """
    try:
        text = folder.read(name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(f"{folder}/{name}: {_unreadable(error)}; {way_out(folder)}") from None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(f"{folder}/{name}: damaged, not JSON; {way_out(folder)}") from None
    if not isinstance(found, dict):
        raise UserError(f"{folder}/{name}: damaged, {type(found).__name__} in place of an object; {way_out(folder)}")
    content = {key: value for key, value in found.items() if key != _OWN_SUM}
    if found.get(_OWN_SUM) != _sum_of(content):
        raise UserError(
            f"{folder}/{name}: not what was published, its checksum differs (damaged, edited, or of an older version); "
            f"{way_out(folder)}"
        )
    return content


def pointing_to(inside: Folder, content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's `content` for the folder above `inside`, where its files are; to be written as JSON."""
    return sealed({_FILES_IN: inside.name, **content})


def find_published(folder: Folder, name: str) -> tuple[dict[str, Any] | None, Folder]:
    """A folder's manifest, None if nothing is published, and the folder that its files are in.

    Raises:
        UserError: see `unsealed`; or the file is no manifest.
    """
    manifest = unsealed(folder, name)
    if manifest is None:
        return None, folder
    for field, kind in _FIELDS.items():
        if not isinstance(manifest.get(field), kind):
            raise UserError(f"{folder}/{name}: no manifest, it has no {field}; {way_out(folder)}")
    inside = manifest.pop(_FILES_IN, None)
    return manifest, folder if inside is None else folder / inside


def read_manifest(folder: Folder, name: str) -> dict[str, Any] | None:
    """A folder's manifest; None if nothing is published.

    Raises:
        UserError: see `find_published`.
    """
    return find_published(folder, name)[0]


def files_of(folder: Folder, name: str = MANIFEST) -> Folder:
    """The folder with the files that are published in a folder: itself, or on an object store one inside of it.

    Raises:
        UserError: the manifest is damaged.
    """
    return find_published(folder, name)[1]


def describe(folder: Folder, name: str) -> dict[str, Any]:
    """A manifest's entry for a file: its size `bytes` and its checksum `sha256`."""
    digest = hashlib.sha256()
    size = 0
    with folder.open_file(name) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return {"bytes": size, "sha256": digest.hexdigest()}


def check_sizes(folder: Folder, files: Mapping[str, Any]) -> None:
    """Check that a manifest's files exist and have the right sizes.

    Raises:
        UserError: one is missing, or has another size.
    """
    present = folder.files()
    for name, facts in files.items():
        if name not in present:
            raise UserError(f"{folder}/{name}: is gone; {way_out(folder)}")
        if present[name] != facts["bytes"]:
            raise UserError(
                f"{folder}/{name}: has {present[name]:,} bytes, was published with {facts['bytes']:,}; "
                f"{way_out(folder)}"
            )


def read_checked(folder: Folder, name: str, files: Mapping[str, Any]) -> bytes:
    """A published file's bytes, checked against the manifest's `files`.

    Raises:
        UserError: it is missing, unreadable, not in the manifest, or damaged.
    """
    try:
        content = folder.read(name)
    except FileNotFoundError:
        raise UserError(f"{folder}/{name}: is gone; {way_out(folder)}") from None
    except OSError as error:
        raise UserError(f"{folder}/{name}: {_unreadable(error)}; {way_out(folder)}") from None
    check_bytes(folder, name, content, files)
    return content


def check_listed(folder: Folder, names: Iterable[str], files: Mapping[str, Any]) -> None:
    """Check that the manifest's `files` has all these files.

    Raises:
        UserError: one is not in the manifest.
    """
    for name in names:
        if name not in files:
            raise UserError(f"{folder}/{name}: not one of the published files; remove it, or {way_out(folder)}")


def check_bytes(folder: Folder, name: str, content: bytes, files: Mapping[str, Any]) -> None:
    """Check a file's bytes against the manifest's `files`.

    Raises:
        UserError: they are damaged, or the file is not in the manifest.
    """
    check_listed(folder, [name], files)
    if hashlib.sha256(content).hexdigest() != files[name]["sha256"]:
        raise UserError(f"{folder}/{name}: not the bytes that were published; {way_out(folder)}")


def way_out(folder: Folder) -> str:
    """What a user can do about damage, for an error line."""
    return f"delete {place_of(folder)} to have it made again"


def place_of(folder: Folder) -> Folder:
    """The folder to delete for that a result is made again: that of its manifest, given the one with its files."""
    return folder.parent if folder.name.startswith(ATTEMPT) else folder


def _sum_of(content: Mapping[str, Any]) -> str:
    """Checksum of a JSON value, independent of layout and of the order of keys."""
    as_read = json.loads(json.dumps(content, default=str))
    return hashlib.sha256(json.dumps(as_read, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unreadable(error: OSError) -> str:
    return f"cannot be read ({' '.join(str(error).split())[:120]})"
