"""The subcommand `plan`, which is `run --plan`: what a run would do and what it costs; starts nothing."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING

from hydra_ray.cli.arguments import add_each, add_recipe, add_time, price_of, recipe_of

if TYPE_CHECKING:
    from hydra_ray.config import ClusterConfig
    from hydra_ray.runs import Run, StageTime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, key=value words, --each, --time and --hourly-cost."""
    add_recipe(parser)
    add_each(parser)
    add_time(parser)


def call(arguments: argparse.Namespace) -> None:
    """Print the plan, of a sweep one for each run."""
    price = price_of(arguments)
    config = recipe_of(arguments)  # a wrong key is told before torch is imported
    from hydra_ray.runs import Run, sweep_of

    sweep = sweep_of(arguments.each, partial(recipe_of, arguments))
    if sweep is None:
        show_plan(Run(config), time=arguments.time, price=price)
        return
    runs = sweep.make_runs()
    for number, run in enumerate(runs):
        show_plan(run, time=arguments.time, price=price)
        _show_shared(run, runs[:number])
        print()


def show_plan(run: Run, *, time: bool = False, price: float | None = None) -> None:
    """States and costs of every stage, whether the resources are there, and what is asked for besides.

    Args:
        run: to plan.
        time: whether to measure how long stages take on this machine.
        price: of an hour of one worker, and then what stages cost by that; None to leave it out.
    """
    from hydra_ray.cluster.pipeline import resources, works_here
    from hydra_ray.cluster.session import available
    from hydra_ray.runs import (
        STAGES,
        check_networks,
        check_settings,
        stage_states,
        stage_times,
        teacher_lines,
        what_is_replaced,
    )

    run.folder.check_place("storage")
    check_settings(run)
    check_networks(run)
    costs = {stage.name: stage.cost(run) for stage in STAGES.values()}
    print(f"run folder      {run.folder}")
    replaced = what_is_replaced(run)
    if replaced is not None:
        print(f"{'':<15} {replaced}: `run` asks first, or takes --redo")
    for line in run.data.lines():
        print(f"data            {line}")
    for line in teacher_lines(run):
        print(f"teachers        {line}")
    states = stage_states(run)
    for state in states:
        cost = "" if state.state == "off" else f"; whole stage: {costs[state.name]}"
        print(f"{state.name:<15} {state.state:<6} {state.detail}{cost}")
    print(f"resources       {resources(run)}")
    here = [state.name for state in states if state.state in ("to do", "waits") and works_here(run, state.name)]
    if here:
        print(f"in this process {', '.join(here)}: over before workers would have started (cluster.local)")
    if time or price is not None:
        times = stage_times(run, available(run.config.cluster)[0], here)
        _show_times(times, where_measured(run.config.cluster), price)


def where_measured(cluster: ClusterConfig) -> str | None:
    """In words, where times are measured, if that is not where the run would work; None where it is."""
    import torch

    from hydra_ray.cluster.session import is_private
    from hydra_ray.runs.provenance import software_facts

    lacks_gpu = cluster.has_gpu and not torch.cuda.is_available()
    if is_private() and not lacks_gpu:
        return None
    why = "the workers are the cluster's"
    if lacks_gpu:
        why = "it has no GPU, the workers have"
    return f"measured on this machine ({software_facts()['machine']}), but {why}: plan on one of their kind"


def _show_times(times: list[StageTime], where: str | None, price: float | None) -> None:
    for each in times:
        print(f"time            {each}")
    if times and where is not None:
        print(f"time            {where}")
    if price is None:
        return
    if not times:
        print("cost            nothing: no stage is left that is measured")
        return
    for each in times:
        print(f"cost            {each.cost_line(price)}")
    hours = sum(each.hours for each in times)
    total = sum(each.cost(price) for each in times)
    print(
        f"cost            {'in all':<15} {hours:,.2f} hours, {total:,.2f}; "
        "without search, report, the head, and waits for machines"
    )


def _show_shared(run: Run, before: list[Run]) -> None:
    """How many of a sweep's members need no training, as a run before it has the same."""
    from hydra_ray.runs import has_sibling

    earlier = {member.fingerprint for other in before for member in other.members()}
    missing = [member for member in run.members() if not member.is_done]
    shared = sum(member.fingerprint in earlier or has_sibling(run, member) for member in missing)
    if shared:
        print(f"{'shared':<15} {shared} of these members are taken from other runs of the sweep")
