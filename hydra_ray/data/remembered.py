"""What is known of files from earlier commands: small JSON files in the user's cache folder.

What is remembered can be found out again: without the folder, e.g. in a home that cannot be written, nothing is lost
but time.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from pathlib import Path
from typing import Any


class Remembered:
    """Entries of one such file; the oldest make room for new ones."""

    def __init__(self, name: str, most: int) -> None:
        """Read what is there.

        Args:
            name: of the file.
            most: entries that are kept.
        """
        self._name = name
        self._most = most
        self._is_changed = False
        self._entries: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            found = json.loads(self._file().read_bytes())
            self._entries = found if isinstance(found, dict) else {}

    def get(self, key: str) -> Any:
        """What was kept under a key; None where nothing is."""
        return self._entries.get(key)

    def put(self, key: str, value: Any) -> None:
        """Keep a JSON value, the latest at the end."""
        self._entries.pop(key, None)
        self._entries[key] = value
        self._is_changed = True

    def save(self) -> None:
        """Write what was added."""
        if not self._is_changed:
            return
        kept = dict(list(self._entries.items())[-self._most :])
        with contextlib.suppress(OSError, RuntimeError):
            file = self._file()
            file.parent.mkdir(parents=True, exist_ok=True)
            hidden = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
            hidden.write_text(json.dumps(kept))
            hidden.replace(file)

    def _file(self) -> Path:
        folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        return Path(folder).expanduser() / "hydra-ray" / self._name
