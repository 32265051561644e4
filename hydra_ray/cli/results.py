"""The page of result tables, docs/results.md, from the folders of finished runs and sweeps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from hydra_ray.storage import Folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN ..."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run or sweep, local or a URI")


def call(arguments: argparse.Namespace) -> None:
    """Print the page."""
    sys.stdout.write(page_of(arguments.runs))


def page_of(places: Sequence[str]) -> str:
    """Markdown.

    Raises:
        UserError: a folder holds no finished run, or a damaged one.
    """
    from hydra_ray.report import FinishedRun, results_page
    from hydra_ray.runs import SPLIT, read_sweep, software_facts

    folders = [Folder.open(place) for place in places]
    over_splits: list[dict[str, Any]] = []
    runs: list[Folder] = []
    for folder in folders:
        sweep = read_sweep(folder)
        if sweep is None:
            runs.append(folder)
        elif sweep["repeated"] == [SPLIT]:
            over_splits.append(sweep)
        else:
            runs += [folder / name for group in sweep["groups"] for name in group["runs"]]
    command = f"hydra-ray results {' '.join(places)}"
    return results_page([FinishedRun.read(run) for run in runs], software_facts(), command, over_splits)
