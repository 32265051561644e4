"""The command line that all stages share: CONFIG, key=value words, one line for what a user can mend."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from hydra_ray.cluster.signals import command_ends_in_order
from hydra_ray.config import Config, load_config
from hydra_ray.errors import StageError, Terminated, UserError
from hydra_ray.storage import as_storage_error
from pipelines.terminal import prepare_streams

EXIT_STAGE_ERROR = 1
EXIT_USER_ERROR = 2


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """A parser with CONFIG and key=value words."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("config", metavar="CONFIG", help="a recipe, e.g. configs/digits.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. ensemble.num_members=20")
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    return parser


def guarded(arguments: argparse.Namespace, call: Callable[[Config], None]) -> int:
    """Exit code of `call` on the configuration named; what a user can mend becomes one line."""
    prepare_streams()
    try:
        require_working_directory([arguments.config, *arguments.overrides])
        with command_ends_in_order(leave=_leave):
            call(load_config(arguments.config, arguments.overrides))
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


def stage_command(name: str, description: str | None) -> int:
    """The main of one stage."""

    def call(config: Config) -> None:
        from hydra_ray.cluster.pipeline import run_stages
        from hydra_ray.runs import Run

        run_stages(Run(config), [name], wait=arguments.wait)

    arguments = parser_of(description).parse_args()
    return guarded(arguments, call)
