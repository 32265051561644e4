"""How much memory this machine has, or as much of it as its container may use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Of control groups, version 2 and 1."""


def memory_bytes() -> int:
    """Of the machine or the container, whichever is less."""
    found = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for place in _LIMITS:
        with suppress(OSError, ValueError):  # not there, or "max"
            found.append(int(Path(place).read_text()))
    return min(found)


def in_gigabytes(number: float) -> str:
    """12.3 GB, 1,200 GB and the like."""
    size = number / 1e9
    return f"{size:,.0f} GB" if size >= 100 else f"{size:.3g} GB"
