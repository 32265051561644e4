"""A file system of local files that writes down who reads how much of which file, in whatever process.

`counted:///some/folder` as a storage; its record is `/some/folder.reads`, a JSON object a read.
"""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

SCHEME = "counted"


class _CountedFile:
    """A file that is open for reading."""

    def __init__(self, path: str, record: str) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._path = path
        self._record = record

    def read(self, length: int = -1) -> bytes:
        """As files do, and a line of the record."""
        found = self._file.read(length)
        facts = {"file": self._path, "bytes": len(found), "process": os.getpid(), "whole": _is_asked_for_all()}
        with open(self._record, "a") as record:
            record.write(json.dumps(facts) + "\n")
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _is_asked_for_all() -> bool:
    """Whether `Folder.read` asks, for a file's bytes; whoever else does looks at its footer."""
    frame = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_qualname.startswith("Folder.read."):
            return True
        frame = frame.f_back
    return False


class CountedFileSystem(LocalFileSystem):
    """Local files under a URI."""

    protocol = (SCHEME,)

    def __init__(self, record: str = "", **options: Any) -> None:
        super().__init__(auto_mkdir=True, **options)
        self.record = record

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return super()._strip_protocol(str(path).removeprefix(f"{SCHEME}://"))

    @staticmethod
    def _get_kwargs_from_urls(path: str) -> dict[str, str]:
        return {"record": f"{path.removeprefix(f'{SCHEME}://')}.reads"}

    def unstrip_protocol(self, name: str) -> str:
        """The URI of a path."""
        return f"{SCHEME}://{name}"

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        return _CountedFile(path, self.record) if mode == "rb" else super()._open(path, mode, block_size, **options)


def counted(folder: Path) -> str:
    """The URI of a folder below which reads are counted."""
    fsspec.register_implementation(SCHEME, CountedFileSystem, clobber=True)
    return f"{SCHEME}://{folder}"


def record_of(folder: Path) -> list[dict[str, Any]]:
    """Every read below it so far, in order: `file`, `bytes`, `process`, and whether it was `whole` or of a footer."""
    record = Path(f"{folder}.reads")
    return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


def times_read(folder: Path, since: int = 0, process: int | None = None) -> dict[str, float]:
    """How often the bytes of each shard below a folder were read, by any process or by one; footers left out.

    Args:
        folder: whose reads are counted.
        since: reads that are left out, the first ones of the record.
        process: its id.
    """
    found = Counter()
    for each in record_of(folder)[since:]:
        if each["whole"] and process in (None, each["process"]):
            found[each["file"]] += each["bytes"]
    shards = [path for path in folder.rglob("*.parquet") if ".attempt" not in str(path)]
    return {str(path.relative_to(folder)): found[str(path)] / path.stat().st_size for path in sorted(shards)}
