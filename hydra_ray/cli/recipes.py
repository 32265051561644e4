"""The subcommands that read a recipe and work: `run` and one for each stage."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from hydra_ray.cli.arguments import add_recipe, asked, recipe_of
from hydra_ray.cli.plan import show_plan
from hydra_ray.cli.terminal import show
from hydra_ray.config import Config

if TYPE_CHECKING:
    from hydra_ray.runs import Redo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, key=value words, --wait, --redo; --plan of `run`."""
    add_recipe(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    parser.add_argument(
        "--redo", action="store_true", help="replace finished results of another seed, or of other data, unasked"
    )
    if parser.get_default("command") == "run":
        parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")


def call(arguments: argparse.Namespace) -> None:
    """Load the recipe and bring the run, or one of its stages, up to date."""
    config = recipe_of(arguments)
    if arguments.command != "run":
        run_stage(config, name=arguments.command.replace("-", "_"), wait=arguments.wait, redo=_redo(arguments))
    elif arguments.plan:
        show_plan(config)
    else:
        run(config, wait=arguments.wait, redo=_redo(arguments))


def run(config: Config, *, wait: bool, redo: Redo) -> None:
    """Every stage, then the table; see `run_stages`."""
    from hydra_ray.cluster.pipeline import run_splits, run_stages
    from hydra_ray.report import as_terminal, sweep_table, terminal_table
    from hydra_ray.runs import STAGES, Run, is_sweep

    if is_sweep(config):
        show(as_terminal(sweep_table(run_splits(config, wait=wait, redo=redo))))
        return
    this = Run(config)
    run_stages(this, STAGES, wait=wait, redo=redo)
    report = this.report()
    show(terminal_table(json.loads(report.read("metrics.json"))))
    print(f"\nreport: {report.folder}/report.html")


def run_stage(config: Config, *, name: str, wait: bool, redo: Redo) -> None:
    """One stage; see `run_stages`."""
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.runs import Run

    run_stages(Run(config), [name], wait=wait, redo=redo)


def _redo(arguments: argparse.Namespace) -> Redo:
    """Whether results of another experiment may go: --redo says so, or the person at the terminal is asked."""
    return (lambda what: True) if arguments.redo else asked
