"""What a failure somewhere in a Ray cluster means to the user: its cause without Ray's wrapping, in one line.

Ray hands over exceptions wrapped several times, with pages of tracebacks of its own. What is wrapped is looked for here,
and put as a `UserError` where a worker raised one, else as a `StageError`.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import cast

from ray.exceptions import RayActorError, RayError
from ray.train import ControllerError, TrainingFailedError, WorkerGroupError

from hydra_ray.errors import StageError, UserError

_WRAPPED = ("cause", "_base_exc", "controller_failure")  # of RayTaskError, of Train's worker errors, of ControllerError
_LONGEST = 300


def is_from_ray(error: BaseException) -> bool:
    """Whether it was raised by Ray, perhaps around one of our own."""
    return isinstance(error, (RayError, TrainingFailedError)) or hasattr(error, "_base_exc")


def explained(error: BaseException, stage: str, log: str) -> UserError | StageError:
    """The exception to be raised in the place of one from Ray.

    Args:
        error: as Ray raised it.
        stage: the stage's name.
        log: where the whole traceback has been put.
    """
    cause = cause_of(error)
    if isinstance(cause, UserError):
        return UserError(str(cause))
    return StageError(f"{stage}: {one_line(cause)}{_place(full_text(error))}; traceback in {log}")


def cause_of(error: BaseException) -> BaseException:
    """The exception that was raised first, without what Ray put around it; a `UserError` before any other."""
    causes = list(_causes(error))
    users = [cause for cause in causes if isinstance(cause, UserError)]
    raised = [cause for cause in causes if not isinstance(cause, RayActorError)]
    return (users or raised or causes)[0]


def full_text(error: BaseException) -> str:
    """All that is known of it, tracebacks on workers included."""
    texts = [str(failure) for failure in _worker_failures(error).values()] or ["".join(traceback.format_exception(error))]
    return re.sub(r"\x1b\[\d+m", "", "\n".join(texts))


def one_line(error: BaseException) -> str:
    """Type and message."""
    if isinstance(error, RayActorError):
        return "a worker died: killed, out of memory, or its machine is gone"
    message = " ".join(str(error).split())
    return f"{type(error).__name__}: {message if len(message) <= _LONGEST else message[: _LONGEST - 3] + '...'}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    failures = _worker_failures(error)
    for failure in failures.values():
        yield from _causes(failure)
    if failures:
        return
    wrapped = [getattr(error, name, None) for name in _WRAPPED] + [error.__cause__]
    inner = [each for each in wrapped if isinstance(each, BaseException) and each is not error]
    if inner and is_from_ray(error):
        yield from _causes(inner[0])
    else:
        yield error


def _worker_failures(error: BaseException) -> dict[int, Exception]:
    if isinstance(error, ControllerError):
        return _worker_failures(error.controller_failure)
    return dict(sorted(error.worker_failures.items())) if isinstance(error, WorkerGroupError) else {}


def _place(text: str) -> str:
    """The last frame that is neither Ray's nor torch's, as ` (file:line in function)`."""
    frames = cast("list[tuple[str, str, str]]", re.findall(r'File "([^"]+)", line (\d+), in (\S+)', text))
    own = [frame for frame in frames if not re.search(r"/site-packages/|/lib/python3|<frozen", frame[0])]
    return f" ({own[-1][0]}:{own[-1][1]} in {own[-1][2]})" if own else ""
