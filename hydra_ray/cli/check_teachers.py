"""`hydra-ray check-teachers CONFIG`: what teachers are worth on a few rows, and what is odd, before they are used."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from hydra_ray.cli.arguments import add_recipe, recipe_of
from hydra_ray.errors import UserError

if TYPE_CHECKING:
    from hydra_ray.data import Rows
    from hydra_ray.evaluation.teacher_check import TeacherCheck
    from hydra_ray.runs import Run

ROWS = 512


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """CONFIG and key=value words."""
    add_recipe(parser)


def call(arguments: argparse.Namespace) -> None:
    """Load the teachers, have them answer validation rows, and print what these answers are worth."""
    config = recipe_of(arguments)
    if config.trains_members:
        raise UserError(
            "ensemble.teachers.kind=trained: the members are trained here, there are no teachers to check; see "
            "docs/teachers.md"
        )
    import torch

    from hydra_ray.evaluation.teacher_check import check_outputs
    from hydra_ray.runs import Run, check_settings, teacher_lines

    run = Run(config)
    check_settings(run)
    for heading, lines in (("data", run.data.lines()), ("teachers", teacher_lines(run))):
        for line in lines:
            print(f"{heading:<9} {line}")
    rows = _labelled_rows(run)
    assert run.teachers is not None
    assert rows.labels is not None
    begin = time.perf_counter()
    found = run.teachers.answer("validation", "validation", rows, 0)
    seconds = time.perf_counter() - begin
    mask = None if found.mask_NM is None else torch.tensor(found.mask_NM)
    check = check_outputs(run.task, torch.tensor(found.outputs_NMC), torch.tensor(rows.labels), mask)
    _print(check, _rates(run, rows, seconds), len(rows))


def _labelled_rows(run: Run) -> Rows:
    """The first validation rows."""
    split = run.data.splits["validation"]
    kept = split.row_ids()[:ROWS]
    return split.read(int(kept[0]), int(kept[-1]) + 1)


def _rates(run: Run, rows: Rows, seconds: float) -> list[float]:
    """Rows a second of each member; an equal share of the whole where one function answers for all."""
    members = run.config.ensemble.num_members
    from hydra_ray.teachers import AskedTeachers

    own = run.teachers.seconds_of_each(rows.inputs) if isinstance(run.teachers, AskedTeachers) else None
    return [len(rows) / each for each in own or [seconds / members] * members]


def _print(check: TeacherCheck, rates: list[float], num_rows: int) -> None:
    names = [name for name in max(check.members, key=len) if name != "rows"]
    print("\nmember    " + "".join(f"{name:>12}" for name in names) + f"{'rows/s':>12}")
    for number, (figures, rate) in enumerate(zip(check.members, rates, strict=True)):
        cells = "".join(f"{'-' if name not in figures else format(figures[name], '.4f'):>12}" for name in names)
        print(f"{number:<10}{cells}{rate:>12,.0f}")
    said = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in check.ensemble.items())
    print(f"\nensemble  {said} ({num_rows} validation rows)")
    for line in check.odd or ["nothing"]:
        print(f"odd       {line}")
