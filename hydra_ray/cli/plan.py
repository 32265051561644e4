"""The subcommand `plan`, which is `run --plan`: what a run would do and what it costs; starts nothing."""

from __future__ import annotations

import argparse

from hydra_ray.cli.arguments import add_recipe, recipe_of
from hydra_ray.config import Config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG and key=value words."""
    add_recipe(parser)


def call(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    show_plan(recipe_of(arguments))


def show_plan(config: Config) -> None:
    """States and costs of every stage, and whether the resources are there."""
    from hydra_ray.cluster.pipeline import resources
    from hydra_ray.runs import (
        STAGES,
        Run,
        check_networks,
        check_settings,
        is_sweep,
        split_configs,
        stage_states,
        what_is_replaced,
    )

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
    replaced = what_is_replaced(this)
    if replaced is not None:
        print(f"{'':<15} {replaced}: `run` asks first, or takes --redo")
    for line in this.data.lines():
        print(f"data            {line}")
    for state in stage_states(this):
        print(f"{state.name:<15} {state.state:<6} {state.detail}; whole stage: {costs[state.name]}")
    print(f"resources       {resources(this)}")
