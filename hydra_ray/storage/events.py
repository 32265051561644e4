"""events.jsonl: the log of a run folder over all commands that worked in it, one JSON object a line.

It is strict JSON: numbers that are not finite become null. Lines are appended; an object store cannot append, so there
the whole file is written again, when a stage begins or ends, otherwise every few seconds at most, a large one less
often. Each line ends with its checksum; reading skips damaged lines. A line says whose it is, so that it can be read
where lines of many runs are gathered: `run`, the same in all of a run folder, and `attempt`, that of the command as in
owner.json.
"""

from __future__ import annotations

import json
import math
import threading
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra_ray.storage.failures import storage_errors
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.plain_json import as_json

EVENTS = "events.jsonl"
_BOUNDARIES = ("start", "done", "failed", "skipped")
_SUM = "crc32"
_SECONDS_BETWEEN_WRITES = 5.0
_BYTES_A_SECOND = 1 << 20  # that are sent of a file that has become large


class EventFile:
    """The events of one run folder; threads may share it."""

    def __init__(self, folder: Folder) -> None:
        """Opens nothing yet."""
        self._folder = folder
        self._lock = threading.Lock()
        self._content: bytearray | None = None  # of an object store's file, with what has not been written yet
        self._written_at = -math.inf
        self._is_whole = False  # the local file's last line has its end
        self._signature: dict[str, Any] = {}

    def sign(self, attempt: str, facts: Mapping[str, Any]) -> None:
        """Let every line from now on say which command writes it; `run` is the attempt of the folder's first one."""
        first = next((event["run"] for event in self.read() if "run" in event), attempt)
        self._signature = {"run": first, "attempt": attempt, **facts}

    def append(self, event: Mapping[str, Any]) -> None:
        """Append an event with its time as one line."""
        facts = as_json({"time": round(time.time(), 3), **self._signature, **event})
        line = (json.dumps({**facts, _SUM: _sum_of(facts)}, allow_nan=False) + "\n").encode()
        with self._lock:
            if self._folder.is_local:
                self._append_locally(line)
                return
            content = self._known()
            content += line
            pause = max(_SECONDS_BETWEEN_WRITES, len(content) / _BYTES_A_SECOND)
            is_due = time.monotonic() - self._written_at > pause
            if is_due or event.get("event") in _BOUNDARIES:
                self._folder.write(EVENTS, bytes(content))
                self._written_at = time.monotonic()

    def read(self) -> list[dict[str, Any]]:
        """All events, also those that an object store lacks so far; damaged and incomplete lines are skipped."""
        with self._lock:
            content = self._stored() if self._folder.is_local else bytes(self._known())
        return [event for line in content.splitlines() if (event := _parsed(line)) is not None]

    def _append_locally(self, line: bytes) -> None:
        path = Path(self._folder.path) / EVENTS
        with storage_errors(f"{self._folder}/{EVENTS}"):
            if not self._is_whole:
                path.parent.mkdir(parents=True, exist_ok=True)
                line = _missing_end(self._stored()) + line
            self._is_whole = False  # unless all of it gets there: a disk may take half a line
            with path.open("ab") as file:
                file.write(line)
            self._is_whole = True

    def _known(self) -> bytearray:
        """What `append` adds to in place: a copy a line would take time by the square of their number."""
        if self._content is None:
            stored = self._stored()
            self._content = bytearray(stored + _missing_end(stored))
        return self._content

    def _stored(self) -> bytes:
        try:
            return self._folder.read(EVENTS)
        except FileNotFoundError:
            return b""


def _missing_end(content: bytes) -> bytes:
    """A newline if a killed driver left half a line, so that the next event starts on a new one."""
    return b"" if not content or content.endswith(b"\n") else b"\n"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return None
    written = event.pop(_SUM, None)  # lines of older versions have none
    return event if written in (None, _sum_of(event)) else None


def _sum_of(facts: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(facts).encode()):08x}"
