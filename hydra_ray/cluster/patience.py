"""Ray's start on a busy machine: three tries, each with more patience, and nothing left of one that failed.

Ray gives its node 30 seconds to come up, a number in its source that no variable changes, and leaves the processes of
a node that came too late running. Only private sessions are started so (`session.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra_ray.errors import StageError

_PATIENCE_SECONDS = (30.0, 60.0, 120.0)
_POLL_SECONDS = 0.5


def start_patiently(start: Callable[[], object], stop: Callable[[], object]) -> None:
    """Call `start`, which is `ray.init` with its arguments, until it succeeds.

    Args:
        start: raises where the node does not come up.
        stop: called after that; takes back what was started, as far as it knows of it.

    Raises:
        StageError: not the third time either.
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
            reason = " ".join(str(error).split())
    raise StageError(
        f"Ray does not start, tried {len(_PATIENCE_SECONDS)} times ({reason}); see /tmp/ray/session_latest/logs, "
        "or try again when the machine is less busy"
    )


@contextmanager
def _node_may_take(seconds: float) -> Iterator[None]:
    """Ray asks for its node again and again for 30 seconds; here each answer may take longer, until `seconds` are over.

    There is no other way in: the number is a local variable of Ray's.
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
    """This process's children and theirs."""
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
