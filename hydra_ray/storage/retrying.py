"""Calls to a store are repeated while it fails in a way that can pass: after pauses that grow, for two minutes at most.

The stores' own clients repeat some calls two or three times within seconds, and forget their settings on the way to a
worker; this is for what takes longer.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from hydra_ray.storage.failures import can_pass

_MOST_SECONDS = 120.0
_MOST_SECONDS_AT_FIRST = 10.0  # of a store that has not answered this process yet, or no longer: it may not be there
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
_SECONDS_BEFORE_A_LINE = 10.0
_T = TypeVar("_T")


class _Store:
    """What this process knows of the stores it calls."""

    answers = False


def retried(call: Callable[[], _T], place: object) -> _T:
    """What `call` returns, which may be made several times.

    Args:
        call: one call to a store, which does no harm when it is made again.
        place: named in the line that says that the store is waited for.

    Raises:
        Exception: the last one of `call`; at once where waiting does not help.
    """
    began = time.monotonic()
    longest = _FIRST_PAUSE
    is_said = False
    while True:
        try:
            found = call()
        except FileNotFoundError:
            _Store.answers = True
            raise
        except Exception as error:
            if not can_pass(error):
                raise
            waited = time.monotonic() - began
            pause = longest * _fraction()
            if waited + pause > (_MOST_SECONDS if _Store.answers else _MOST_SECONDS_AT_FIRST):
                _Store.answers = False
                raise
            if waited > _SECONDS_BEFORE_A_LINE and not is_said:
                print(f"{place}: {_brief(error)}; waiting for it, {_MOST_SECONDS:.0f} s at most", file=sys.stderr)
                is_said = True
            time.sleep(pause)
            longest = min(2 * longest, _LONGEST_PAUSE)
        else:
            _Store.answers = True
            return found


def _fraction() -> float:
    """Of a pause, from 0 to 1, so that workers do not come back together; no seed of a run, and alike in no two."""
    return int.from_bytes(os.urandom(4), "big") / (1 << 32)


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
