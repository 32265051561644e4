"""The arguments of every subcommand that reads a recipe: the recipe and the keys that are changed in it."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from contextlib import suppress

from hydra_ray.config import Config, OptionModels, load_config, shipped_recipes
from hydra_ray.errors import UserError


def add_recipe(parser: argparse.ArgumentParser) -> None:
    """CONFIG and key=value words."""
    names = ", ".join(shipped_recipes())
    parser.add_argument("config", metavar="CONFIG", help=f"a recipe: path of a YAML file, or a shipped one: {names}")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe, e.g. ensemble.num_members=20")


def add_each(parser: argparse.ArgumentParser) -> None:
    """--each key=value,value."""
    parser.add_argument(
        "--each", action="append", default=[], metavar="key=value,...",
        help="make a run for each value, and a table of all; given twice, for each combination: --each seed=0,1,2",
    )  # fmt: skip


def add_time(parser: argparse.ArgumentParser) -> None:
    """--time and --hourly-cost."""
    parser.add_argument(
        "--time", action="store_true", help="of a plan: measure a few steps here and say how long each stage takes"
    )
    parser.add_argument(
        "--hourly-cost", metavar="X",
        help="of a plan: what an hour of one worker costs, that is of a machine divided by the workers on it; "
        "says, with --time's hours, what each stage costs",
    )  # fmt: skip


def price_of(arguments: argparse.Namespace) -> float | None:
    """The price of --hourly-cost; None where there is none.

    Raises:
        UserError: it is no number above 0.
    """
    given = arguments.hourly_cost
    if given is None:
        return None
    with suppress(ValueError):
        price = float(given)
        if 0 < price < math.inf:
            return price
    raise UserError(f"--hourly-cost={given}: not a price; give a number above 0, e.g. --hourly-cost=2.5")


def recipe_of(arguments: argparse.Namespace, further: Sequence[str] = ()) -> Config:
    """The configuration that the arguments ask for, with `further` words.

    Raises:
        UserError: see `load_config`.
    """
    return load_config(arguments.config, [*arguments.overrides, *further], option_models=option_models)


def asked(what: str) -> bool:
    """The answer of the person at the terminal, where there is one."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input(f"{what}. Replace them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def option_models() -> OptionModels:
    """Options of views and architectures; importing those takes seconds, which a misspelt key need not wait for."""
    from hydra_ray.models import architecture_options
    from hydra_ray.views import view_options

    return OptionModels(view_options, architecture_options)
