"""The subcommands that read a recipe: `run`, `run --plan` and one for each stage."""

from __future__ import annotations

import argparse
import json

from hydra_ray.cli.terminal import show
from hydra_ray.config import Config, OptionModels, load_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, key=value words, --wait; --plan of `run`."""
    parser.add_argument("config", metavar="CONFIG", help="a recipe: configs/digits.yaml, or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. ensemble.num_members=20")
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in the run folder")
    if parser.get_default("command") == "run":
        parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")


def call(arguments: argparse.Namespace) -> None:
    """Load the recipe and bring the run, or one of its stages, up to date."""
    config = load_config(arguments.config, arguments.overrides, option_models=option_models)
    if arguments.command != "run":
        run_stage(config, name=arguments.command, wait=arguments.wait)
    elif arguments.plan:
        show_plan(config)
    else:
        run(config, wait=arguments.wait)


def option_models() -> OptionModels:
    """Options of views and architectures; importing those takes seconds, which a misspelt key need not wait for."""
    from hydra_ray.models import architecture_options
    from hydra_ray.views import view_options

    return OptionModels(view_options, architecture_options)


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


def show_plan(config: Config) -> None:
    """States and costs of every stage, and whether the resources are there."""
    from hydra_ray.cluster.pipeline import resources
    from hydra_ray.runs import STAGES, Run, check_networks, check_settings, is_sweep, split_configs, stage_states

    if is_sweep(config):
        for each in split_configs(config):
            show_plan(each)
            print()
        return
    this = Run(config)
    check_settings(this)
    check_networks(this)
    costs = {stage.name: stage.cost(this) for stage in STAGES.values()}
    print(f"run folder      {this.folder}")
    for line in this.data.lines():
        print(f"data            {line}")
    for state in stage_states(this):
        print(f"{state.name:<15} {state.state:<6} {state.detail}; whole stage: {costs[state.name]}")
    print(f"resources       {resources(this)}")
