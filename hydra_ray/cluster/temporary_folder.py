"""Checks the folder for a private Ray session's files and sockets: it must be writable, and its path short.

Ray would find out a minute later, and say so in its own words. `session.py` starts the session.
"""

from __future__ import annotations

import os
from pathlib import Path

from hydra_ray.errors import UserError

_VARIABLES = ("RAY_TMPDIR", "TMPDIR")
"""In the order in which Ray looks at them."""
_LONGEST_SOCKET = 107
"""Bytes of the path of a Unix socket."""
_BELOW = "/ray/session_2026-11-25_23-59-59_123456_4194304/sockets/plasma_store"
"""The longest that Ray puts below the folder."""


def check_temporary_folder() -> None:
    """Check the folder that RAY_TMPDIR or TMPDIR names.

    Raises:
        UserError: it is no folder, cannot be made or written, or its path is too long. Ray makes a missing one.
    """
    name = next((name for name in _VARIABLES if os.environ.get(name)), None)
    if name is None:
        return
    folder = os.environ[name]
    subject = f"{name}={folder}"
    way = f"name another, e.g. {name}=/tmp, or unset it"
    there = Path(os.path.abspath(folder))
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        raise UserError(f"{subject}: {there} is no folder; {way}")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"{subject}: cannot be written; {way}")
    length = len(os.fsencode(os.path.abspath(folder) + _BELOW))
    if length > _LONGEST_SOCKET:
        most = _LONGEST_SOCKET - len(_BELOW)
        raise UserError(
            f"{subject}: is too long for Ray, whose sockets in it would have paths of {length} bytes where "
            f"{_LONGEST_SOCKET} are the most; set RAY_TMPDIR to a folder of {most} letters or fewer, e.g. /tmp"
        )
