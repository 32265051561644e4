"""All stages in order; what is done and still valid is skipped. `--plan` starts nothing."""

from __future__ import annotations

import sys

from hydra_ray.config import Config
from pipelines.command import guarded, parser_of


def main() -> int:
    """Parse, call, print."""
    parser = parser_of(__doc__)
    parser.add_argument("--plan", action="store_true", help="print what would run and what it costs; start nothing")
    arguments = parser.parse_intermixed_args()
    return guarded(arguments, show_plan if arguments.plan else run)


def run(config: Config) -> None:
    """Every stage, then the table."""
    from rich.console import Console

    from hydra_ray.cluster.chain import run_stages
    from hydra_ray.report.tables import terminal_table
    from hydra_ray.stages import STAGES, Run

    this = Run(config)
    run_stages(this, STAGES)
    folder = this.report().folder
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print()
    console.print(terminal_table(folder.read_json("metrics.json") or {}))
    print(f"\nreport: {folder}/report.html")


def show_plan(config: Config) -> None:
    """States and costs of every stage, and whether the resources are there."""
    from hydra_ray.cluster.chain import resources
    from hydra_ray.plan import costs, stage_states
    from hydra_ray.preflight import check_networks, check_views
    from hydra_ray.stages import Run

    this = Run(config)
    check_networks(this)
    check_views(this)
    cost = costs(this)
    print(f"run folder      {this.folder}")
    for state in stage_states(this):
        print(f"{state.name:<15} {state.state:<6} {state.detail}; whole stage: {cost[state.name]}")
    print(f"resources       {resources(this)}")


if __name__ == "__main__":
    sys.exit(main())
