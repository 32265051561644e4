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
from types import ModuleType

from hydra_ray.cli.guard import guarded
from hydra_ray.config import nearest
from hydra_ray.errors import UserError

_RUN = "a run: an ensemble, and students distilled from it"
_STAGE = "one stage of a run"
_STUDENT = "the finished student"
_OTHER = "other"
_GROUPS = (_RUN, _STAGE, _STUDENT, _OTHER)


@dataclass(frozen=True)
class Subcommand:
    """One word after `hydra-ray`.

    Attributes:
        group: the heading under which `--help` shows it.
        help: what it does.
        module: of this room, with its arguments and what it does.
    """

    group: str
    help: str
    module: str


_ROWS = {
    "run": Subcommand(_RUN, "all stages in order; what is done and still valid is skipped", "recipes"),
    "plan": Subcommand(_RUN, "what `run` would do and what it costs; starts nothing", "plan"),
    "apply": Subcommand(
        _STUDENT, "a student's answers about many rows: images, Parquet or CSV in, Parquet out", "apply"
    ),
    "export": Subcommand(_STUDENT, "as ONNX and for torch.export, calibration and uncertainties inside", "export"),
    "check-teachers": Subcommand(
        _RUN, "what somebody's own models are worth on a few rows, and what is odd about them", "check_teachers"
    ),
    "write-transfer": Subcommand(
        _RUN, "the inputs that teachers are to answer, for whatever cannot be called here", "write_transfer"
    ),
    "new": Subcommand(_RUN, "look at data and write a recipe for them, with comments", "new"),
    "serve": Subcommand(_STUDENT, "answer requests over HTTP, with Ray Serve", "serve"),
    "teams": Subcommand(_OTHER, "which m of a run's members make the best team, by several measures", "teams"),
    "study": Subcommand(_OTHER, "several recipes that share results: one page, and a verdict for each claim", "study"),
    "results": Subcommand(_OTHER, "a page of result tables from finished runs, in Markdown", "results"),
}
_START = """usage: hydra-ray COMMAND ...

Distil an ensemble into one network with a head a member, on Ray.

  hydra-ray plan digits                         what a run of the recipe `digits` would do; starts nothing
  hydra-ray run digits ensemble.num_members=4   run it, with one key of the recipe changed"""
_END = """`hydra-ray COMMAND --help` explains one command. Words are completed by the shell after
`eval "$(hydra-ray --print-completion bash)"`; zsh, fish, tcsh and powershell have theirs.
Exit codes: 0 done, 1 a stage failed, 2 something that you can mend, 128 + the signal that ended the command."""


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
    if not words or words[0] in ("-h", "--help"):
        return guarded(words, lambda: print(help_text()))
    if words[0] == "--print-completion":
        return guarded(words, partial(_print_completion, words[1:]))
    name = words[0].replace("_", "-")
    row = _ROWS.get(name) or all_commands().get(name)
    if row is None:
        return guarded(words, partial(_unknown, name))
    parser = argparse.ArgumentParser(prog=f"hydra-ray {name}", description=row.help)
    module = _filled(parser, name, row)
    arguments = parser.parse_intermixed_args(words[1:])
    return guarded(words[1:], partial(module.call, arguments))


def all_commands() -> dict[str, Subcommand]:
    """Every subcommand by its name, in the order of `--help`."""
    from hydra_ray.runs import STAGES  # imports torch, which would delay the errors of `run`

    stages = {name.replace("_", "-"): Subcommand(_STAGE, stage.help, "recipes") for name, stage in STAGES.items()}
    rows = {**_ROWS, **stages}
    return {name: row for group in _GROUPS for name, row in rows.items() if row.group == group}


def help_text() -> str:
    """What `hydra-ray --help` prints."""
    known = all_commands()
    parts = [_START]
    for group in _GROUPS:
        lines = [f"  {name:<15} {row.help}" for name, row in known.items() if row.group == group]
        if lines:
            parts.append("\n".join([group, *lines]))
    return "\n\n".join([*parts, _END])


def _filled(parser: argparse.ArgumentParser, name: str, row: Subcommand) -> ModuleType:
    """The module of a subcommand, after it has added its arguments to `parser`."""
    module = import_module(f"hydra_ray.cli.{row.module}")
    parser.set_defaults(command=name)
    module.add_arguments(parser)
    return module


def _print_completion(shells: Sequence[str]) -> None:
    """What `--print-completion SHELL` prints: a script that lets the shell complete commands, options and files."""
    import shtab

    if len(shells) != 1 or shells[0] not in shtab.SUPPORTED_SHELLS:
        raise UserError(f"--print-completion {' '.join(shells)}: name one of {', '.join(shtab.SUPPORTED_SHELLS)}")
    parser = argparse.ArgumentParser(prog="hydra-ray")
    commands = parser.add_subparsers(dest="command")
    for name, row in all_commands().items():
        own = commands.add_parser(name, help=row.help)
        _filled(own, name, row)
        for action in own._get_positional_actions():
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    print(shtab.complete(parser, shell=shells[0]))


def _unknown(word: str) -> None:
    raise UserError(f"{word}: no such command; {nearest(word, all_commands())}; `hydra-ray --help` explains them")
