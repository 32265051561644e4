"""What is in a file, as a digest of its bytes, and noticing that it is no longer what was read.

Digests are remembered in a small file of the user's cache folder under path, size, times and inode, so that large files
are hashed once and not at every command; no path and no time is part of a digest. On object stores the checksum or ETag
that the store keeps stands for the bytes, where it gives one.
Not here: which files a source has, and what is in them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow.fs as pafs

from hydra_ray.data.remembered import Remembered
from hydra_ray.errors import UserError, reason_of

Stamp = tuple[int | str, ...]
_DIGITS = 32
_CHUNK_BYTES = 1 << 20
_MOST_REMEMBERED = 10_000
_SETTLED_NS = 2_000_000_000
"""A file that was written later before it is hashed may be written again under the same time: it is not remembered."""
_TAGS = ("md5hash", "content_md5", "crc32c", "etag")
"""What object stores call the checksum of an object, those first that a copy has too."""
_known: dict[tuple[str, Stamp], str] = {}


@dataclass(frozen=True)
class FileContent:
    """A file and what was in it when it was opened."""

    path: str
    digest: str
    """32 hexadecimal digits of SHA-256, or an object store's own checksum."""
    stamp: Stamp
    """What tells without reading that nobody has written to it: size, times and inode, or the store's checksum."""


def contents_of(filesystem: pafs.FileSystem, paths: Sequence[str], place: str) -> tuple[FileContent, ...]:
    """What is in each of several files.

    Args:
        filesystem: where they are.
        paths: of the files.
        place: key and path as messages name them.

    Raises:
        UserError: a file that is gone, or that changes while it is read.
    """
    is_local = isinstance(filesystem, pafs.LocalFileSystem)
    remembered = Remembered("digests.json", _MOST_REMEMBERED) if is_local else None
    contents = tuple(_content(filesystem, path, place, remembered) for path in paths)
    if remembered is not None:
        remembered.save()
    return contents


@contextmanager
def unchanged(filesystem: pafs.FileSystem, files: Sequence[FileContent], place: str) -> Iterator[None]:
    """What is read inside the `with` block is what was in the files when they were opened.

    Raises:
        UserError: a file has changed since, or is another on this machine.
    """
    require_unchanged(filesystem, files, place)
    yield
    require_unchanged(filesystem, files, place)


def require_unchanged(filesystem: pafs.FileSystem, files: Sequence[FileContent], place: str) -> None:
    """Compare files with what was in them; without reading them where nobody has written to them.

    Raises:
        UserError: as `unchanged`.
    """
    for file in files:
        stamp = _stamp(filesystem, file.path, place)
        if stamp != file.stamp and _digest(filesystem, file.path, stamp, place) != file.digest:
            raise UserError(
                f"{place}: {file.path} has changed since the run began, or is another on this machine; "
                "run the command again when nobody writes to it"
            )


def _content(filesystem: pafs.FileSystem, path: str, place: str, remembered: Remembered | None) -> FileContent:
    stamp = _stamp(filesystem, path, place)
    digest = _known_digest(remembered, path, stamp) if remembered else None
    if digest is None:
        is_settled = _is_settled(stamp)
        digest = _digest(filesystem, path, stamp, place)
        if _stamp(filesystem, path, place) != stamp:
            raise UserError(f"{place}: {path} changes while it is read; run the command again when nobody writes to it")
        if remembered is not None and is_settled:
            remembered.put(path, {"stamp": stamp, "digest": digest})
    return FileContent(path, digest, stamp)


def _known_digest(remembered: Remembered, path: str, stamp: Stamp) -> str | None:
    """The digest of a file whose stamp is still the same."""
    entry = remembered.get(path)
    if not isinstance(entry, dict) or entry.get("stamp") != list(stamp):
        return None
    digest = entry.get("digest")
    return digest if isinstance(digest, str) else None


def _digest(filesystem: pafs.FileSystem, path: str, stamp: Stamp, place: str) -> str:
    """Of a file's bytes; of one that has not been written to for a while, they are read once a process."""
    if isinstance(stamp[0], str):
        return stamp[0]
    if (path, stamp) in _known:
        return _known[path, stamp]
    is_settled = _is_settled(stamp)
    digest = _hashed(filesystem, path, place)
    if is_settled:
        _known[path, stamp] = digest
    return digest


def _hashed(filesystem: pafs.FileSystem, path: str, place: str) -> str:
    digest = hashlib.sha256()
    try:
        with filesystem.open_input_stream(path, compression=None) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise _not_readable(path, place, error) from error
    return digest.hexdigest()[:_DIGITS]


def _stamp(filesystem: pafs.FileSystem, path: str, place: str) -> Stamp:
    """(size, mtime, ctime, inode) of a local file; an object's checksum, else (size, mtime)."""
    try:
        if isinstance(filesystem, pafs.LocalFileSystem):
            found = os.stat(path)
            return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        tag = _tag(filesystem, path)
        if tag:
            return (tag,)
        info = filesystem.get_file_info(path)
        return info.size or 0, info.mtime_ns or 0
    except OSError as error:
        raise _not_readable(path, place, error) from error


def _is_settled(stamp: Stamp) -> bool:
    """Whether another write from now on shows in the stamp: its times are known and not those of this moment."""
    times = [int(each) for each in stamp[1:3]]
    return all(times) and time.time_ns() - max(times, default=0) >= _SETTLED_NS


def _tag(filesystem: pafs.FileSystem, path: str) -> str | None:
    """What an object store keeps of an object's bytes; None where it keeps nothing."""
    if isinstance(filesystem, pafs.PyFileSystem):
        handler = filesystem.handler
        facts = handler.fs.info(path) if isinstance(handler, pafs.FSSpecHandler) else {}
    else:
        with filesystem.open_input_file(path) as file:
            facts = file.metadata() or {}
    by_lower = {_text(name).lower(): _text(value) for name, value in facts.items()}
    return next((f"{name}:{by_lower[name]}" for name in _TAGS if by_lower.get(name)), None)


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _not_readable(path: str, place: str, error: OSError) -> UserError:
    reason = reason_of(error)
    return UserError(f"{place}: {path} cannot be read ({reason}); put it back, where every machine sees it")
