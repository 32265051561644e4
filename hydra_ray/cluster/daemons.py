"""Watches Ray's daemons on this machine: when the raylet or the GCS dies, a command would wait for ever.

Ray's core notices it after a minute or more, and then aborts the process. Only the daemons of a private session are
watched, which are this process's children.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra_ray.cluster.signals import end_command
from hydra_ray.errors import StageError

_NEEDED = {"raylet": "raylet", "gcs_server": "GCS"}  # Ray's name of a process -> what people call it
_POLL_SECONDS = 0.5


@contextmanager
def daemons_watched() -> Iterator[None]:
    """End the command with a `StageError` when a daemon dies while the `with` block runs."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(_POLL_SECONDS):
            death = daemon_death()
            if death is not None and end_command(death):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def daemon_death() -> StageError | None:
    """The error to raise where a private session's raylet or GCS is gone; None where both are alive."""
    import ray._private.worker

    node: Any = ray._private.worker._global_node
    dead = [] if node is None else [name for name, _ in node.dead_processes() if name in _NEEDED]
    if not dead:
        return None
    return StageError(
        f"Ray's {_NEEDED[dead[0]]} died (killed, or out of memory); what is finished is kept, start the same command "
        "again"
    )
