"""A study's table, its verdicts and its page, formatted from study.json alone (`hydra_ray/runs/study.py`)."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hydra_ray.report.formats import DASH, origin, percent, significant
from hydra_ray.report.study_figures import study_picture
from hydra_ray.report.tables import SHARES, TextTable, to_markdown

Results = Mapping[str, Any]
_COUNTS = ("num_parameters", "macs")
"""Of a network: with every seed the same."""


def study_files(results: Results) -> dict[str, bytes]:
    """The page, study.md, and its picture, study.png; file name -> content."""
    return {"study.md": _page(results).encode(), "study.png": study_picture(results)}


def study_table(results: Results) -> TextTable:
    """A line for each row, mean and standard deviation over seeds; columns that no run has are left out."""
    study = results["study"]
    shown = columns_of(results)
    rows = [
        (name, *(_mean(values[column], study["columns"][column]) for column in shown))
        for name, values in results["values"].items()
    ]
    number = len(study["seeds"])
    spread = f", mean ± standard deviation over {number} seeds" if number > 1 else ", one seed"
    return TextTable(f"{study['title']}{spread}", ("", *shown), tuple(rows))


def verdict_table(results: Results) -> TextTable:
    """A line for each claim: the statement it is for, its figure with the interval over seeds, its verdict."""
    rows: list[tuple[str, ...]] = []
    for statement in results["statements"]:
        claims = statement["claims"]
        for claim in claims:
            own = claim["verdict"] if len(claims) > 1 else statement["verdict"]
            rows.append((statement["says"], said(claim), _bound(claim), _interval(results, claim), own))
        if len(claims) > 1:
            rows.append((statement["says"], "all of it", "", "", statement["verdict"]))
    columns = ("statement", "figure", "holds if", "measured [95 % interval over seeds]", "verdict")
    return TextTable("Verdicts", columns, tuple(rows))


def verdict_lines(results: Results) -> list[str]:
    """The same for a terminal: each statement with its verdict, and below it a line for each claim."""
    lines: list[str] = []
    for statement in results["statements"]:
        lines.append(f"{statement['says']} {statement['verdict'].upper()}")
        for claim in statement["claims"]:
            measured = f"{_interval(results, claim)}, {claim['verdict']} ({_bound(claim)})"
            lines += [f"    {said(claim)}", f"      {measured}"]
    return lines


def columns_of(results: Results) -> list[str]:
    """Columns that some row has a figure for."""
    return [
        column
        for column in results["study"]["columns"]
        if any(value is not None for values in results["values"].values() for value in values[column])
    ]


def said(claim: Mapping[str, Any]) -> str:
    """What a claim compares."""
    if claim["best"] is None:
        return f"{claim['figure']}: {claim['of']} - {claim['over']}"
    return f"{claim['figure']}: ({claim['of']} - {claim['over']}) / ({claim['best']} - {claim['over']})"


def _page(results: Results) -> str:
    study = results["study"]
    table = study_table(results)
    made_by = origin(results["command"], results["facts"])
    parts = [f"# {study['name']}", made_by, table.title, to_markdown(table), "![The same as a picture](study.png)"]
    if results["statements"]:
        how = (
            "A claim holds if its whole interval is on the side of the bound that is named, does not if it is on the "
            "other, and is undecided else. Intervals are Student's over seeds; of a share of a gain Fieller's, and "
            "there is none where the gain itself is not told from zero."
        )
        parts += ["## Verdicts", to_markdown(verdict_table(results)), how]
    return "\n\n".join([*parts, _recipes(study)]) + "\n"


def _recipes(study: Mapping[str, Any]) -> str:
    """What was run, in words."""
    lines = [f"- {each['name']}: {_settings(each['set']) or 'as it is'}" for each in study["variants"]]
    common = f" with {_settings(study['set'])}" if study["set"] else ""
    return "\n".join(["## Recipes", "", f"{study['recipe']}{common}, and of that:", "", *lines])


def _settings(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"`{key}={value}`" for key, value in settings.items())


def _is_share(path: str) -> bool:
    return path.rpartition(".")[2] in SHARES


def _mean(values: Sequence[float | None], path: str) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return DASH
    mean = statistics.fmean(there)
    if path.rpartition(".")[2] in _COUNTS:
        return f"{mean:,.0f}"
    spread = statistics.stdev(there) if len(there) > 1 else None
    if _is_share(path):
        return percent(mean) if spread is None else f"{percent(mean)} ± {100 * spread:.2g} %"
    return significant(mean) if spread is None else f"{significant(mean)} ± {spread:.2g}"


def _bound(claim: Mapping[str, Any]) -> str:
    return f"above {claim['above']:g}" if claim["above"] is not None else f"below {claim['below']:g}"


def _interval(results: Results, claim: Mapping[str, Any]) -> str:
    if claim["mean"] is None:
        return "no gain to be a share of" if claim["best"] is not None else "not measured"
    numbers = [claim["mean"], claim["low"], claim["high"]]
    is_difference = claim["best"] is None and _is_share(results["study"]["columns"][claim["figure"]])
    mean, low, high = (_number(number, in_points=is_difference) for number in numbers)
    return f"{mean} [{low}, {high}]"


def _number(value: float | None, *, in_points: bool) -> str:
    if value is None or not math.isfinite(value):
        return DASH
    return f"{100 * value:+.2f} %" if in_points else f"{value:+.3g}"
