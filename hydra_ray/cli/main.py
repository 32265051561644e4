"""The subcommands of `hydra-ray`: their names, what they say of themselves, and the module of this room behind each.

A module has `add_arguments(parser)` and `call(arguments)`, which does the work; a stage is a row of `runs/stages.py`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from hydra_ray.cli.guard import guarded


@dataclass(frozen=True)
class Subcommand:
    """One word after `hydra-ray`.

    Attributes:
        help: what it does.
        module: of this room, with its arguments and what it does.
    """

    help: str
    module: str


_BEFORE = {"run": Subcommand("all stages in order; what is done and still valid is skipped", "recipes")}
_AFTER = {"results": Subcommand("a page of result tables from finished runs, in Markdown", "results")}


def main(words: Sequence[str] | None = None) -> int:
    """Run the subcommand that the first word names.

    Args:
        words: of the command line without the program; None for those of this process.

    Returns:
        The exit code: 0, 1 where a stage failed, 2 for what the user can mend, 128 + the signal that ended it.
    """
    if words is None:
        words = sys.argv[1:]
        sys.path.insert(0, str(Path.cwd()))  # modules of the user's own, as `python -m` finds them
    known = {**_BEFORE, **_AFTER}
    if not words or words[0] not in known:  # the table imports torch, which would delay the errors of `run`
        known = {**_BEFORE, **_stages(), **_AFTER}
    parser = argparse.ArgumentParser(
        prog="hydra-ray",
        description="Distil an ensemble into one network with a head a member, on Ray.",
        epilog="\n".join(f"  {name:<15} {each.help}" for name, each in known.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=known, metavar="COMMAND", help="one of those below")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="see hydra-ray COMMAND --help")
    chosen = parser.parse_args(words)
    subcommand = known[chosen.command]
    module = import_module(f"hydra_ray.cli.{subcommand.module}")
    own = argparse.ArgumentParser(prog=f"hydra-ray {chosen.command}", description=subcommand.help)
    own.set_defaults(command=chosen.command)
    module.add_arguments(own)
    arguments = own.parse_intermixed_args(chosen.words)
    return guarded(chosen.words, partial(module.call, arguments))


def _stages() -> dict[str, Subcommand]:
    from hydra_ray.runs import STAGES

    return {name: Subcommand(stage.help, "recipes") for name, stage in STAGES.items()}
