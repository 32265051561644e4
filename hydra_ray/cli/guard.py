"""What all subcommands share: one line and an exit code for what a user can mend, and an end in order on a signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Sequence

from hydra_ray.cli.terminal import prepare_streams
from hydra_ray.cluster.signals import command_ends_in_order
from hydra_ray.errors import StageError, Terminated, UserError
from hydra_ray.storage import as_storage_error

EXIT_STAGE_ERROR = 1
EXIT_USER_ERROR = 2


def guarded(words: Sequence[str], call: Callable[[], None]) -> int:
    """Exit code of `call`; what a user can mend becomes one line.

    Args:
        words: of the command line, among them paths.
        call: does the work.
    """
    prepare_streams()
    try:
        require_working_directory(words)
        with command_ends_in_order(leave=_leave):
            call()
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lest the last flush complain too
    except (UserError, StageError, KeyboardInterrupt) as error:
        return _told(error)
    except OSError as error:
        clear = as_storage_error(error, error.filename or "standard output, or a file")
        if clear is None:
            raise
        return _told(clear)
    return 0


def require_working_directory(words: Sequence[str]) -> None:
    """Paths are relative to it, and its letters and those of the command line can be read.

    Raises:
        UserError: it has been deleted; or Python was told that all names here are ASCII, which they are not.
    """
    try:
        names = [os.getcwd(), *words]
    except FileNotFoundError:
        raise UserError("the working directory is gone: cd to one that is there") from None
    unread = [name for name in names if any(0xD800 <= ord(letter) < 0xE000 for letter in name)]
    if unread:
        raise UserError(
            f"{unread[0]}: holds letters that this locale does not have ({sys.getfilesystemencoding()}): "
            "set PYTHONUTF8=1, or LC_ALL=C.UTF-8"
        )


def _told(error: BaseException) -> int:
    """The exit code for what ended a command, after its line."""
    if isinstance(error, KeyboardInterrupt):
        name = str(error) if isinstance(error, Terminated) else "SIGINT"
        word = "terminated" if isinstance(error, Terminated) else "interrupted"
        print(f"{word}; the same command goes on from here", file=sys.stderr, flush=True)
        return 128 + signal.Signals[name]
    print(f"error: {error}", file=sys.stderr, flush=True)
    return EXIT_USER_ERROR if isinstance(error, UserError) else EXIT_STAGE_ERROR


def _leave(error: BaseException) -> None:
    """End the process now, without waiting for anything; Ray's daemons and workers go with it."""
    os._exit(_told(error))
