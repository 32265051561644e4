"""docs/results.md from finished runs: python -m pipelines.results runs/mnist-0 runs/mnist-1 > docs/results.md."""

from __future__ import annotations

import argparse
import sys

from hydra_ray.errors import UserError
from pipelines.command import EXIT_USER_ERROR


def main() -> int:
    """Parse, call, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folder with a finished report, local or a URI")
    arguments = parser.parse_args()
    try:
        from hydra_ray.facts import software_facts
        from hydra_ray.report.results import FinishedRun, results_page
        from hydra_ray.storage import Folder

        runs = [FinishedRun.read(Folder.open(place)) for place in arguments.runs]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    print(results_page(runs, software_facts(), f"python -m pipelines.results {' '.join(arguments.runs)}"), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
