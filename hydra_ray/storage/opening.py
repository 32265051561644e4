"""Opens the file system of a local path or URI, and checks that an object store answers.

Folders are created and files written in `folder.py`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage.failures import FAILURES, as_storage_error

FSSPEC = "fsspec+"  # in front of a scheme: fsspec's client for it, whatever pyarrow knows
_WITHOUT_BUCKETS = ("file", "local", "memory")
_SCHEMES = {"gcs": "gs"}  # pyarrow's name -> scheme, where they differ
_PYARROWS = ("file", "s3", "gs", "gcs", "hdfs", "viewfs")  # schemes that it knows; others are fsspec's
_OF_BOTH = (*_PYARROWS, "abfs", "abfss")
_LONGEST_PATH = 3500  # of 4096 that Linux takes, with room for what is inside a run folder
_LONGEST_NAME = 255
_SECONDS = 20.0


def open_place(place: str, key: str) -> tuple[pafs.FileSystem, str]:
    """The file system and the path in it of a local path or URI, the value of the configuration's `key`.

    Raises:
        UserError: there is no such file system, it cannot be reached, or the URI holds a password.
    """
    _check_text(place, key)
    if "://" not in place:
        return pafs.LocalFileSystem(), _local_path(place, key)
    if urlsplit(place).password is not None:
        shown = place.split("://")[0] + "://..." + place[place.index("@") :]
        raise UserError(f"{shown}: holds credentials; leave them to the environment of all machines")
    scheme = place.split("://")[0]
    if scheme.startswith(FSSPEC):
        fs, path = _fsspec_filesystem(place.removeprefix(FSSPEC), place, key)
        return fs, path.rstrip("/")
    try:
        fs, path = pafs.FileSystem.from_uri(place)
    except pa.ArrowInvalid as error:
        if scheme in _PYARROWS:
            raise _not_opened(place, key, error) from None
        fs, path = _fsspec_filesystem(place, place, key)
    except (*FAILURES, ImportError) as error:
        raise as_storage_error(error, f"{key}={place}", is_local=False) or _not_opened(place, key, error) from None
    if scheme in ("s3", "gs", "gcs") and not path.strip("/"):
        raise UserError(f"{key}={place}: names no bucket; use {scheme}://bucket/folder")
    if isinstance(fs, pafs.S3FileSystem):  # a file is one request, and no object exists before it is whole
        fs = pafs.S3FileSystem(**options_of(fs) | {"allow_delayed_open": True})
    return fs, path.rstrip("/")


def fsspec_of(fs: pafs.FileSystem) -> Any:
    """The file system of fsspec behind pyarrow's; None where there is none."""
    if isinstance(fs, pafs.PyFileSystem) and isinstance(fs.handler, pafs.FSSpecHandler):
        return fs.handler.fs
    return None


def scheme_of(fs: pafs.FileSystem) -> str:
    """The scheme of the URIs that a file system is opened with."""
    fsspec = fsspec_of(fs)
    if fsspec is None:
        name = str(fs.type_name)
        return _SCHEMES.get(name, name)
    protocol = fsspec.protocol if isinstance(fsspec.protocol, str) else fsspec.protocol[0]
    return f"{FSSPEC}{protocol}" if protocol in _OF_BOTH else protocol


def below(place: str, name: str) -> str:
    """The path or URI of a folder inside another, before whatever options a URI ends with."""
    base, mark, options = place.partition("?") if "://" in place else (place, "", "")
    return f"{base.rstrip('/')}/{name}{mark}{options}"


def probe(fs: pafs.FileSystem, path: str) -> None:
    """Ask for the bucket and the folder's content with a short timeout; the folder may be missing, the bucket may not.

    Raises:
        OSError: the store's error, or that it does not answer.
    """
    _within(_SECONDS, lambda: _ask(_impatient(fs), path))


def _ask(fs: pafs.FileSystem, path: str) -> None:
    fsspec = fsspec_of(fs)
    if fsspec is not None:
        with suppress(FileNotFoundError):
            fsspec.ls(path)  # without pyarrow: a thread that is left in Python code does not disturb the end
        return
    bucket = path.split("/")[0]
    if fs.type_name in ("s3", "gcs") and fs.get_file_info(bucket).type == pafs.FileType.NotFound:
        raise OSError(f"Bucket '{bucket}' not found")
    fs.get_file_info(pafs.FileSelector(path, allow_not_found=True))


def _impatient(fs: pafs.FileSystem) -> pafs.FileSystem:
    """The same store with a short timeout; S3 and Google Cloud retry for minutes, as is right for the work itself."""
    if isinstance(fs, pafs.S3FileSystem):
        options = options_of(fs) | {"connect_timeout": 3, "request_timeout": 3}
        return pafs.S3FileSystem(**options, retry_strategy=pafs.AwsStandardS3RetryStrategy(max_attempts=2))
    if fs.type_name == "gcs":
        return pafs.GcsFileSystem(**options_of(fs) | {"retry_time_limit": timedelta(seconds=10)})
    return fs


def options_of(fs: pafs.FileSystem) -> dict[str, Any]:
    """The options that a store was opened with, as it pickles them for workers; unset ones are left out."""
    _, (options,) = fs.__reduce__()
    return {key: value for key, value in options.items() if value not in (None, "", -1.0)}


def _within(seconds: float, call: Callable[[], None]) -> None:
    """Run `call` in a thread, which is abandoned if it does not return in time."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            call()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise TimeoutError(f"no answer within {seconds:g} s")
    if failures:
        raise failures[0]


def _check_text(place: str, key: str) -> None:
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in place):
        raise UserError(f"{key}={place!a}: holds a character that no path can have; leave it out")


def _local_path(place: str, key: str) -> str:
    try:
        path = str(Path(place).expanduser().absolute())
    except RuntimeError:
        user = place.split("/")[0]
        raise UserError(f"{key}={place}: no home folder is known for {user}; give the whole path") from None
    except FileNotFoundError:
        raise UserError(f"{key}={place}: the working directory is gone; give the whole path, or cd") from None
    longest = max(path.split("/"), key=lambda name: len(name.encode()))
    if len(path.encode()) > _LONGEST_PATH or len(longest.encode()) > _LONGEST_NAME:
        raise UserError(
            f"{key}={place[:60]}...: a path of {len(path.encode()):,} bytes with a name of {len(longest.encode()):,}; "
            f"at most {_LONGEST_PATH:,} and {_LONGEST_NAME}: choose a shorter one"
        )
    return path


def _fsspec_filesystem(uri: str, place: str, key: str) -> tuple[pafs.FileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        fs, path = url_to_fs(uri)
    except ImportError as error:  # "Install s3fs to access S3"
        raise UserError(f"{key}={place}: {reason_of(error, 160)}: that package is missing here") from None
    except Exception as error:  # each of fsspec's file systems raises its own
        raise _not_opened(place, key, error) from None
    if not path.strip("/") and uri.split("://")[0] not in _WITHOUT_BUCKETS:
        raise UserError(f"{key}={place}: names no bucket; use {place.split('://')[0]}://bucket/folder")
    return pafs.PyFileSystem(pafs.FSSpecHandler(fs)), path


def _not_opened(place: str, key: str, error: Exception) -> UserError:
    return UserError(
        f"{key}={place}: {reason_of(error, 160)}; use a folder, s3://bucket/folder, gs://bucket/folder, "
        "or fsspec+PROTOCOL://... with the package of that protocol"
    )
