"""The subcommand `apply`: a student's answers about many rows, as Parquet files."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from hydra_ray.cli.terminal import show

if TYPE_CHECKING:
    from rich.table import Table

    from hydra_ray.cluster.apply import Applied


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STUDENT INPUT ANSWERS, --keep, --device, --batch-size."""
    parser.add_argument("student", metavar="STUDENT", help="folder like runs/digits/students/hydra, or Hub repository")
    parser.add_argument("input", metavar="INPUT", help="a Parquet, CSV or image file, or a folder of them; path or URI")
    parser.add_argument("answers", metavar="ANSWERS", help="folder for the answers, new or of this same command")
    parser.add_argument(
        "--keep",
        action="append",
        metavar="COLUMN",
        help="column of the input to have beside the answers, as often as wanted; all but images where none is named",
    )
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: GPUs where there are any"
    )
    parser.add_argument("--batch-size", type=_at_least_one, default=2048, metavar="N", help="rows answered at once")


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def call(arguments: argparse.Namespace) -> None:
    """Answer, then the table."""
    from hydra_ray.cluster.apply import apply

    found = apply(
        arguments.student,
        arguments.input,
        arguments.answers,
        device=arguments.device,
        batch_size=arguments.batch_size,
        keep=arguments.keep,
        say=lambda line: print(line, flush=True),
    )
    show(table_of(found))
    place = arguments.answers.rstrip("/")
    if found.totals.above is not None:
        print("above drift limit: share of rows whose knowledge uncertainty only 1 % of the validation rows exceed")
    print(f"answers: {place}/part-*.parquet")
    if found.totals.errors:
        print(f"images that could not be read: {place}/errors.parquet")


def table_of(found: Applied) -> Table:
    """What `apply` did, in one row."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.ASCII2)
    for heading in ("rows", "not readable", "abstained", "above drift limit", "rows a second"):
        table.add_column(heading, justify="right")
    totals = found.totals
    rate = found.rows_a_second
    table.add_row(
        f"{totals.rows:,}",
        f"{totals.errors:,}",
        _share(totals.abstained, totals.rows),
        _share(totals.above, totals.rows),
        "-" if rate is None else f"{rate:,.0f}",
    )
    return table


def _share(number: int | None, rows: int) -> str:
    return "-" if number is None or not rows else f"{100 * number / rows:.1f} %"
