"""The subcommands that read a recipe and work: `run` and one for each stage."""

from __future__ import annotations

import argparse
import json

from hydra_ray.cli.arguments import add_recipe, recipe_of
from hydra_ray.cli.plan import show_plan
from hydra_ray.cli.terminal import show
from hydra_ray.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, key=value words, --wait; --plan of `run`."""
    add_recipe(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    if parser.get_default("command") == "run":
        parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")


def call(arguments: argparse.Namespace) -> None:
    """Load the recipe and bring the run, or one of its stages, up to date."""
    config = recipe_of(arguments)
    if arguments.command != "run":
        run_stage(config, name=arguments.command.replace("-", "_"), wait=arguments.wait)
    elif arguments.plan:
        show_plan(config)
    else:
        run(config, wait=arguments.wait)


def run(config: Config, *, wait: bool = False) -> None:
    """Every stage, then the table; `wait` for another command that works in the run folder."""
    from hydra_ray.cluster.pipeline import run_splits, run_stages
    from hydra_ray.report import as_terminal, sweep_table, terminal_table
    from hydra_ray.runs import STAGES, Run, is_sweep

    if is_sweep(config):
        show(as_terminal(sweep_table(run_splits(config, wait=wait))))
        return
    this = Run(config)
    run_stages(this, STAGES, wait=wait)
    report = this.report()
    show(terminal_table(json.loads(report.read("metrics.json"))))
    print(f"\nreport: {report.folder}/report.html")


def run_stage(config: Config, *, name: str, wait: bool = False) -> None:
    """One stage."""
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.runs import Run

    run_stages(Run(config), [name], wait=wait)
