"""What stands between a folder and its store's client: errors of any client as OSError, and files read in pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.fs as pafs

from hydra_ray.storage.failures import NOT_THERE, can_pass, way_out_of
from hydra_ray.storage.opening import fsspec_of

_T = TypeVar("_T")


def known_errors(fs: pafs.FileSystem, call: Callable[[], _T]) -> _T:
    """What `call` returns; fsspec's clients, each with exceptions of its own, are made to forget what they listed.

    Raises:
        OSError, pa.ArrowException: whatever the client raised.
    """
    fsspec = fsspec_of(fs)
    if fsspec is not None:
        fsspec.invalidate_cache()  # another process may have written meanwhile
    try:
        return call()
    except Exception as error:
        if isinstance(error, NOT_THERE) or can_pass(error) or way_out_of(error, is_local=False):
            raise
        raise OSError(f"store: {type(error).__name__}: {error}") from error


class StoreFile(io.RawIOBase):
    """A store's file, each piece of which is asked for again while the store does not answer."""

    def __init__(self, file: pa.NativeFile, calling: Callable[[Callable[[], Any]], Any]) -> None:
        """Opens nothing.

        Args:
            file: that is open.
            calling: makes a call, several times if need be.
        """
        self._file = file
        self._calling = calling
        self._position = 0
        self._size: int = file.size()

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position; what it is."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes, all that are left for -1."""
        left = max(0, self._size - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        start = self._position
        found: bytes = self._calling(lambda: self._file.read_at(wanted, start)) if wanted else b""
        self._position += len(found)
        return found
