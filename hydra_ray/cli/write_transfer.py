"""`hydra-ray write-transfer CONFIG OUT`: the inputs that teachers are to answer, for whatever cannot be called here."""

from __future__ import annotations

import argparse

from hydra_ray.cli.arguments import recipe_of
from hydra_ray.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG, OUT and key=value words."""
    parser.add_argument("config", metavar="CONFIG", help="a recipe: path of a YAML file, or a shipped one")
    parser.add_argument("out", metavar="OUT", help="a new or empty folder; a path or URI")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of the recipe")


def call(arguments: argparse.Namespace) -> None:
    """Write the rows of every predicted split, views included, as Parquet files, a folder a split."""
    config = recipe_of(arguments)
    if config.predict.shards is not None:
        raise UserError(f"predict.shards={config.predict.shards}: holds predictions already; leave it out")
    from hydra_ray.cluster.write_transfer import write_transfer
    from hydra_ray.runs import Run

    written = write_transfer(Run(config), arguments.out)
    print(f"{written.rows:,} rows in {arguments.out}/{{{','.join(written.splits)}}}")
    print("add a column `logits` or `probabilities` [members, classes] to these files, then distil with")
    folders = ", ".join(f"{name.removeprefix('unknown-')}: {arguments.out}/{name}" for name in written.splits)
    print(f"  ensemble.teachers='{{kind: arrays, outputs: probabilities, arrays: {{{folders}}}}}'")
