"""Starts Ray on a busy machine: up to three times, each with a longer timeout, stopping what a failed start left.

Ray allows its node 30 seconds to start, a constant that no variable changes, and leaves the processes of a node that
took longer running. Only private sessions are started so (`session.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra_ray.errors import StageError, reason_of

_PATIENCE_SECONDS = (30.0, 60.0, 120.0)
_POLL_SECONDS = 0.5


def start_patiently(start: Callable[[], object], stop: Callable[[], object]) -> None:
    """Call `start`, which is `ray.init` with its arguments, until it succeeds.

    Args:
        start: raises when the node does not start.
        stop: called after each failure; stops what was started, as far as it knows.

    Raises:
        StageError: the third start failed, too.
    """
    reason = ""
    for seconds in _PATIENCE_SECONDS:
        before = _children()
        try:
            with _node_may_take(seconds):
                start()
            return
        except BaseException as error:
            stop()
            _end(_children() - before)
            if not isinstance(error, Exception):
                raise
            reason = reason_of(error)
    raise StageError(
        f"Ray does not start, tried {len(_PATIENCE_SECONDS)} times ({reason}); see /tmp/ray/session_latest/logs, "
        "or try again when the machine is less busy"
    )


@contextmanager
def _node_may_take(seconds: float) -> Iterator[None]:
    """Let Ray wait `seconds` for its node in place of 30, by making each of its requests take longer.

    There is no other way: the 30 seconds are a local variable in Ray.
    """
    import ray._private.services as services

    get_node = services.get_node
    until = time.monotonic() + seconds

    def wait_for_node(*arguments: Any) -> Any:
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:  # not there yet
                if time.monotonic() > until:
                    raise
            time.sleep(_POLL_SECONDS)

    services.get_node = wait_for_node
    try:
        yield
    finally:
        services.get_node = get_node


def _children() -> set[Any]:
    """All descendants of this process."""
    import ray  # noqa: F401  (brings psutil along)
    from psutil import Process  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    return set(Process().children(recursive=True))


def _end(children: set[Any]) -> None:
    from psutil import NoSuchProcess  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

    for child in children:
        try:
            child.kill()
        except NoSuchProcess:
            continue
    for child in children:
        try:
            child.wait(5)
        except Exception:  # one that cannot be killed is the machine's business
            continue
