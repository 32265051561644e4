"""The page of result tables, docs/results.md, from the folders of finished runs and sweeps."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from hydra_ray.storage import Folder, unsealed


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
    from hydra_ray.runs import SWEEP_FILE, software_facts

    folders = [Folder.open(place) for place in places]
    sweeps = [unsealed(folder, SWEEP_FILE) for folder in folders if SWEEP_FILE in folder.files()]
    runs = [FinishedRun.read(folder) for folder in folders if SWEEP_FILE not in folder.files()]
    command = f"hydra-ray results {' '.join(places)}"
    return results_page(runs, software_facts(), command, [sweep for sweep in sweeps if sweep])
