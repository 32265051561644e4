"""The subcommands of `hydra-ray` and their words: `run`, one for each stage, and `results`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hydra_ray.cli.guard import guarded
from hydra_ray.cli.run import option_models, run, run_stage, show_plan
from hydra_ray.config import Config, load_config

_RUN = "all stages in order; what is done and still valid is skipped"
_RESULTS = "a page of result tables from finished runs, in Markdown"


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
    texts = {"run": _RUN, "results": _RESULTS}
    if not words or words[0] not in texts:  # the table imports torch, which would delay the errors of `run`
        from hydra_ray.runs import STAGES

        texts = {"run": _RUN, **{name: stage.help for name, stage in STAGES.items()}, "results": _RESULTS}
    parser = argparse.ArgumentParser(
        prog="hydra-ray",
        description="Distil an ensemble into one network with a head a member, on Ray.",
        epilog="\n".join(f"  {name:<15} {text}" for name, text in texts.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=texts, metavar="COMMAND", help="one of those below")
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="...", help="see hydra-ray COMMAND --help")
    chosen = parser.parse_args(words)
    own = argparse.ArgumentParser(prog=f"hydra-ray {chosen.command}", description=texts[chosen.command])
    if chosen.command == "results":
        return _results(own, chosen.words)
    return _with_recipe(own, chosen.command, chosen.words)


def _with_recipe(parser: argparse.ArgumentParser, command: str, words: Sequence[str]) -> int:
    """The subcommands that read a recipe: `run` and the stages."""
    parser.add_argument("config", metavar="CONFIG", help="a recipe: configs/digits.yaml, or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. ensemble.num_members=20")
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    if command == "run":
        parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")
    arguments = parser.parse_intermixed_args(words)
    call: Callable[[Config], None]
    if command != "run":
        call = partial(run_stage, name=command, wait=arguments.wait)
    elif arguments.plan:
        call = show_plan
    else:
        call = partial(run, wait=arguments.wait)
    names = [arguments.config, *arguments.overrides]
    loaded = partial(load_config, arguments.config, arguments.overrides, option_models=option_models)
    return guarded(names, lambda: call(loaded()))


def _results(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run or sweep, local or a URI")
    places = parser.parse_args(words).runs

    def call() -> None:
        from hydra_ray.cli.results import page_of

        sys.stdout.write(page_of(places))

    return guarded(places, call)
