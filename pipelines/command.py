"""The command line that all stages share: CONFIG, key=value words, one line for what a user can mend."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable

from hydra_ray.cluster.interrupts import command_ends_in_order
from hydra_ray.config import Config, load_config
from hydra_ray.errors import StageError, Terminated, UserError

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
    try:
        with command_ends_in_order(leave=_leave):
            call(load_config(arguments.config, arguments.overrides))
            sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # lest the last flush complain too
    except (UserError, StageError, KeyboardInterrupt) as error:
        return _told(error)
    return 0


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
        from hydra_ray.cluster.chain import run_stages
        from hydra_ray.stages import Run

        run_stages(Run(config), [name], wait=arguments.wait)

    arguments = parser_of(description).parse_args()
    return guarded(arguments, call)
