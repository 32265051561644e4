"""docs/results.md from finished runs: python -m pipelines.results runs/mnist-0 runs/mnist-1 > docs/results.md."""

from __future__ import annotations

import argparse
import sys

from hydra_ray.errors import UserError
from pipelines.command import EXIT_USER_ERROR
from pipelines.terminal import prepare_streams


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a finished run or sweep, local or a URI")
    arguments = parser.parse_args()
    prepare_streams()
    try:
        from hydra_ray.report import FinishedRun, results_page
        from hydra_ray.runs import SWEEP_FILE, software_facts
        from hydra_ray.storage import Folder, unsealed

        folders = [Folder.open(place) for place in arguments.runs]
        sweeps = [unsealed(folder, SWEEP_FILE) for folder in folders if SWEEP_FILE in folder.files()]
        runs = [FinishedRun.read(folder) for folder in folders if SWEEP_FILE not in folder.files()]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    command = f"python -m pipelines.results {' '.join(arguments.runs)}"
    print(results_page(runs, software_facts(), command, [sweep for sweep in sweeps if sweep]), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
