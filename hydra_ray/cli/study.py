"""`study`: several recipes on shared results, one page of them, and a verdict for each claim."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_ray.cli.arguments import asked, option_models
from hydra_ray.cli.terminal import show
from hydra_ray.config import Config, Study, load_config, load_study, parse_yaml, shipped_studies
from hydra_ray.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """STUDY, key=value words, --seeds, --wait, --redo."""
    names = ", ".join(shipped_studies())
    parser.add_argument("study", metavar="STUDY", help=f"a study: path of a YAML file, or a shipped one: {names}")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of its recipe; what the study itself sets stays"
    )
    parser.add_argument("--seeds", metavar="0,1,...", help="in the place of the study's own")
    parser.add_argument("--wait", action="store_true", help="wait for another command that works in a run folder")
    parser.add_argument(
        "--redo", action="store_true", help="replace finished results of another seed, or of other data, unasked"
    )


def call(arguments: argparse.Namespace) -> None:
    """Make the runs; print the table and the verdicts."""
    study = with_seeds(load_study(arguments.study), arguments.seeds)
    load_config(study.recipe, arguments.overrides)  # a wrong key is told before torch is imported
    from hydra_ray.cluster.study import run_study
    from hydra_ray.report import as_terminal, study_table, verdict_lines
    from hydra_ray.runs import sweep_of_study

    def load(laid_over: Sequence[tuple[Mapping[str, Any], str]]) -> Config:
        return load_config(study.recipe, arguments.overrides, laid_over=laid_over, option_models=option_models)

    redo = (lambda what: True) if arguments.redo else asked
    sweep = sweep_of_study(study, load)
    folder, results, files = run_study(study, sweep, command_of(arguments), wait=arguments.wait, redo=redo)
    table = study_table(results)
    show(as_terminal(table))
    print(f"\n{table.title}\n")
    if study.statements:
        print("\n".join(verdict_lines(results)), end="\n\n")
    print(f"results: {folder}/{', '.join(files)}")


def command_of(arguments: argparse.Namespace) -> str:
    """The command as somebody else would give it: where this one wrote is no part of it."""
    words = [arguments.study, *(word for word in arguments.overrides if not word.startswith("storage="))]
    seeds = [] if arguments.seeds is None else ["--seeds", arguments.seeds]
    return shlex.join(["hydra-ray", "study", *words, *seeds])


def with_seeds(study: Study, seeds: str | None) -> Study:
    """The study with the seeds that --seeds names.

    Raises:
        UserError: these are no seeds.
    """
    if seeds is None:
        return study
    found = parse_yaml(f"[{seeds}]")
    if not found or not all(type(seed) is int and 0 <= seed < 2**32 for seed in found) or len(set(found)) < len(found):
        raise UserError(f"--seeds {seeds}: must be different whole numbers from 0 on, e.g. 0,1,2")
    return study.model_copy(update={"seeds": found})
