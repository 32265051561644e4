"""The subcommands that read a recipe and work: `run` and one for each stage."""

from __future__ import annotations

import argparse
import json
from functools import partial
from typing import TYPE_CHECKING

from hydra_ray.cli import plan
from hydra_ray.cli.arguments import add_each, add_recipe, add_time, asked, recipe_of
from hydra_ray.cli.terminal import show
from hydra_ray.errors import UserError

if TYPE_CHECKING:
    from hydra_ray.runs import Redo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, key=value words, --wait, --redo; --each, --plan, --time and --hourly-cost of `run`."""
    add_recipe(parser)
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    parser.add_argument(
        "--redo", action="store_true", help="replace finished results of another seed, or of other data, unasked"
    )
    if parser.get_default("command") == "run":
        add_each(parser)
        add_time(parser)
        parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")


def call(arguments: argparse.Namespace) -> None:
    """Load the recipe and bring the run, or one of its stages, up to date."""
    if arguments.command != "run":
        run_stage(arguments)
    elif arguments.plan:
        plan.call(arguments)
    else:
        _refuse_plan_words(arguments)
        run(arguments)


def _refuse_plan_words(arguments: argparse.Namespace) -> None:
    given = {"--time": arguments.time, "--hourly-cost": arguments.hourly_cost is not None}
    for word in (word for word, is_given in given.items() if is_given):
        raise UserError(f"{word}: is of a plan, which starts nothing; add --plan")


def run(arguments: argparse.Namespace) -> None:
    """Every stage of one run, or of all runs of a sweep; then the table."""
    config = recipe_of(arguments)  # a wrong key is told before torch is imported
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.cluster.sweep import run_sweep
    from hydra_ray.report import as_terminal, robust_accuracy_table, terminal_table
    from hydra_ray.runs import STAGES, Run, sweep_of

    sweep = sweep_of(arguments.each, partial(recipe_of, arguments))
    if sweep is not None:
        folder, table, files = run_sweep(sweep, wait=arguments.wait, redo=_redo(arguments))
        show(as_terminal(table))
        print(f"\n{table.title}\nresults: {folder}/{', '.join(files)}")
        return
    this = Run(config)
    run_stages(this, STAGES, wait=arguments.wait, redo=_redo(arguments))
    report = this.report()
    metrics = json.loads(report.read("metrics.json"))
    show(terminal_table(metrics))
    robust = robust_accuracy_table(metrics)
    if robust.rows:
        print(f"\n{robust.title}")
        show(as_terminal(robust))
    print(f"\nreport: {report.files}/report.html")


def run_stage(arguments: argparse.Namespace) -> None:
    """One stage."""
    config = recipe_of(arguments)
    from hydra_ray.cluster.pipeline import run_stages
    from hydra_ray.runs import Run

    name = arguments.command.replace("-", "_")
    run_stages(Run(config), [name], wait=arguments.wait, redo=_redo(arguments))


def _redo(arguments: argparse.Namespace) -> Redo:
    """Whether results of another experiment may go: --redo says so, or the person at the terminal is asked."""
    return (lambda what: True) if arguments.redo else asked
