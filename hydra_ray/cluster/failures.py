"""The words of a failure: Ray's exceptions unwrapped to their cause in one line, without pages of traceback.

Ray wraps an exception several times. Here the innermost one is found, and becomes a `UserError` where a worker raised
one, else a `StageError`.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from typing import cast

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayError, WorkerCrashedError
from ray.train import ControllerError, PreemptionError, TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

from hydra_ray.errors import StageError, UserError, elided

_LONGEST = 300
_CHAINED = re.compile(r"^(The above exception was|During handling of the above)", re.MULTILINE)
_USER_ERROR = re.compile(rf"^{UserError.__module__}\.(?:User|Storage|Diverged)Error: (.+)$", re.MULTILINE)
_RAISED = re.compile(r"^[\w.]*(?:Error|Exception)\b", re.MULTILINE)
_LOST_PEER = re.compile(r"gloo|nccl|DistBackend|connection (closed|reset|refused)|broken pipe", re.IGNORECASE)
_FRAME = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')
# Ray Data adds it to a message
_OF_RAY_DATA = re.compile(r"\s+Failed to (?:(?!Failed to ).)+ after \d+/\d+ attempts? \(total backoff .*", re.DOTALL)
_NOT_OURS = re.compile(r"/site-packages/|/lib/python3|<frozen|\.pyx$")


def is_from_ray(error: BaseException) -> bool:
    """Whether Ray raised an exception, possibly around one of ours."""
    return isinstance(error, (RayError, TrainingFailedError))


def explained(error: BaseException, stage: str, log: str) -> UserError | StageError:
    """The exception to raise in place of Ray's.

    Args:
        error: as Ray raised it.
        stage: the stage's name.
        log: where the whole traceback has been put.
    """
    text = full_text(error)
    cause = cause_of(error)
    users = _USER_ERROR.search(text)
    if isinstance(cause, UserError):
        return UserError(_OF_RAY_DATA.sub("", str(cause)))
    if users:
        return UserError(_OF_RAY_DATA.sub("", users[1]))
    root = _CHAINED.split(text)[0].rstrip()
    return StageError(f"{stage}: {one_line(cause, root)}{_place(root)}; traceback in {log}")


def cause_of(error: BaseException) -> BaseException:
    """The exception that was raised first, as far as Ray passes it on.

    When one worker fails, the others fail because they lost it; an error about a lost peer comes last.
    """
    causes = list(_causes(error))
    return min(causes, key=lambda cause: (not isinstance(cause, UserError), _tells_of_a_peer(cause), is_death(cause)))


def failures_by_rank(error: BaseException) -> dict[int, str]:
    """How each worker of a Ray Train job failed, in a line; none where they say what the user can mend."""
    if not isinstance(error, WorkerGroupError) or isinstance(cause_of(error), UserError):
        return {}
    return {rank: one_line(cause_of(failure)) for rank, failure in error.worker_failures.items()}


def is_death(error: BaseException) -> bool:
    """Whether an error says that a process died, and not that it raised an exception."""
    return isinstance(error, (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError))


def is_preempted(error: BaseException) -> bool:
    """Whether workers failed because a machine was taken back: a spot machine, whose end the cluster had announced."""
    return any(isinstance(each, PreemptionError) or getattr(each, "preempted", False) for each in _causes(error))


def found_no_room(error: BaseException) -> bool:
    """Whether workers did not start because others took the room that there was for them."""
    return isinstance(cause_of(error), WorkerGroupStartupTimeoutError)


def _tells_of_a_peer(error: BaseException) -> bool:
    return bool(_LOST_PEER.search(f"{type(error).__name__}: {error}"))


def full_text(error: BaseException) -> str:
    """All tracebacks, including those of workers."""
    return re.sub(r"\x1b\[\d+m", "", "".join(traceback.format_exception(error)))


def one_line(error: BaseException, root: str = "") -> str:
    """Type and message of an error; for one of Ray's, those of the last exception in the traceback `root`."""
    raised = list(_RAISED.finditer(root)) if isinstance(error, RayError) else []
    if is_death(error):
        return "a worker died: killed, out of memory, or its machine is gone"
    return elided(root[raised[-1].start() :] if raised else f"{type(error).__name__}: {error}", _LONGEST)


def _causes(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, WorkerGroupError):
        for rank in sorted(error.worker_failures):
            yield from _causes(error.worker_failures[rank])
        return
    inner = error.controller_failure if isinstance(error, ControllerError) else getattr(error, "cause", None)
    if is_from_ray(error) and isinstance(inner, BaseException) and inner is not error:
        yield from _causes(inner)
    else:
        yield error


def _place(text: str) -> str:
    """The last frame that is neither Ray's nor torch's, as ` (file:line in function)`."""
    frames = cast("list[tuple[str, str, str]]", _FRAME.findall(text))
    own = [frame for frame in frames if not _NOT_OURS.search(frame[0])]
    return f" ({own[-1][0]}:{own[-1][1]} in {own[-1][2]})" if own else ""
