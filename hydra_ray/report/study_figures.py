"""The picture of a study: its rows by name, its columns against each other, or against a number of its variants.

Drawn from study.json alone, as its tables are (`study_tables.py`).
"""

from __future__ import annotations

import statistics
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hydra_ray.evaluation import interval
from hydra_ray.report.style import QUIET, log_where_wide, new_figure, percent_ticks, picture
from hydra_ray.report.tables import SHARES

Results = Mapping[str, Any]
_DOT = "#0072b2"
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4fa3", "#a6761d", "#333333")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_NUM_COLUMNS = 3
_NAME_LETTERS = 12  # a line in a panel of a matrix


def study_picture(results: Results) -> bytes:
    """The picture that the study asks for."""
    drawn = {"dots": _dots, "scatter_matrix": _scatter_matrix, "lines": _lines}
    return drawn[results["study"]["picture"]["kind"]](results, _columns(results))


def _columns(results: Results) -> list[str]:
    """Those that are drawn and that some row has."""
    wanted = results["study"]["picture"]["columns"] or results["study"]["columns"]
    return [column for column in wanted if any(_known(values[column]) for values in results["values"].values())]


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


@picture
def _dots(results: Results, columns: Sequence[str]) -> Figure:
    """Rows from above to below; a pale dot for each seed, mean and interval."""
    names = list(results["values"])
    num_lines = max(1, -(-len(columns) // _NUM_COLUMNS))
    whole = new_figure(0.7 + num_lines * (0.7 + 0.22 * len(names)), results["study"]["title"])
    across = min(len(columns), _NUM_COLUMNS) or 1
    grid = whole.subplots(num_lines, across, squeeze=False, sharey=True)
    for axes, column in zip(grid.flat, columns, strict=False):
        for place, name in enumerate(names):
            _draw_row(axes, place, _known(results["values"][name][column]))
        axes.set_title(column)
        axes.set_yticks(range(len(names)), names)
        _number_axis(axes, results, column)
    for axes in list(grid.flat)[len(columns) :]:
        axes.set_axis_off()
    grid[0, 0].set_ylim(len(names) - 0.5, -0.5)
    entries = [Line2D([], [], color=_DOT, marker="o", markersize=4, label="mean, 95 % interval over seeds")]
    entries.append(Line2D([], [], color=QUIET, marker="o", linestyle="", markersize=4, alpha=0.5, label="a seed"))
    whole.legend(handles=entries, loc="outside lower center", ncols=2)
    return whole


def _draw_row(axes: Axes, place: int, values: Sequence[float]) -> None:
    if not values:
        return
    axes.scatter(values, [place] * len(values), s=14, color=QUIET, alpha=0.5, linewidths=0, zorder=2)
    found = interval(values)
    if found.is_bounded:
        axes.plot([found.low, found.high], [place, place], color=_DOT, linewidth=1.2, zorder=3)
    axes.scatter([statistics.fmean(values)], [place], s=20, color=_DOT, linewidths=0, zorder=4)


@picture
def _scatter_matrix(results: Results, columns: Sequence[str]) -> Figure:
    """Every column against every other, its name on the diagonal; a row of the table has one colour and marker.

    Below a name are the panels in which it is across, left of it those in which it goes up.
    """
    number = len(columns)
    whole = new_figure(1.0 + 1.25 * number, results["study"]["title"])
    grid = whole.subplots(number, number, squeeze=False)
    for i, below in enumerate(columns):
        for j, across in enumerate(columns):
            axes = grid[i, j]
            if j >= i:
                axes.set_axis_off()
            if j == i:
                name = textwrap.fill(across, _NAME_LETTERS)
                written = axes.text(0.5, 0.5, name, ha="center", va="center", fontsize=7, fontweight="bold")
                written.set_in_layout(False)  # panels are of one size, however long the names
            if j < i:
                _draw_pair(axes, results, across, below)
                axes.tick_params(labelsize=6, labelbottom=i == number - 1, labelleft=j == 0)
    entries = [
        Line2D([], [], linestyle="", marker=marker, color=colour, markersize=5, label=name)
        for name, (colour, marker) in _looks(results).items()
    ]
    whole.legend(handles=entries, loc="upper right", bbox_to_anchor=(0.99, 0.94), ncols=2)
    return whole


def _draw_pair(axes: Axes, results: Results, across: str, below: str) -> None:
    for name, (colour, marker) in _looks(results).items():
        values = results["values"][name]
        pairs = [(x, y) for x, y in zip(values[across], values[below], strict=True) if x is not None and y is not None]
        x, y = zip(*pairs, strict=True) if pairs else ((), ())
        axes.scatter(x, y, s=16, color=colour, marker=marker, alpha=0.8, linewidths=0)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.yaxis.set_major_locator(MaxNLocator(3))


def _looks(results: Results) -> dict[str, tuple[str, str]]:
    names = list(results["values"])
    return {
        name: (_COLOURS[place % len(_COLOURS)], _MARKERS[place // len(_COLOURS) % len(_MARKERS)])
        for place, name in enumerate(names)
    }


@picture
def _lines(results: Results, columns: Sequence[str]) -> Figure:
    """A panel a column: mean and interval against a number of the variants, a line for each value of another."""
    look = results["study"]["picture"]
    places = {each["name"]: each["at"] for each in results["study"]["variants"]}
    lines: dict[float | None, list[str]] = {}
    for name in results["values"]:
        lines.setdefault(places[name].get(look["lines"]), []).append(name)
    whole = new_figure(3.6, results["study"]["title"])
    for axes, column in zip(whole.subplots(1, len(columns), squeeze=False)[0], columns, strict=True):
        for names, colour in zip(lines.values(), _COLOURS * len(lines), strict=False):
            points = sorted((places[name][look["x"]], _known(results["values"][name][column])) for name in names)
            _draw_line(axes, [(x, values) for x, values in points if values], colour)
        axes.set_title(column)
        axes.set_xlabel(look["x"])
        log_where_wide(axes.xaxis, [at[look["x"]] for at in places.values()], 7)
        axes.margins(x=0.06, y=0.12)
    title = look["lines"]
    entries = [
        Line2D([], [], color=colour, label=f"{title} {value:g}" if value is not None else "mean and interval")
        for value, colour in zip(lines, _COLOURS * len(lines), strict=False)
    ]
    whole.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 6))
    return whole


def _draw_line(axes: Axes, points: Sequence[tuple[float, Sequence[float]]], colour: str) -> None:
    found = [interval(values) for _, values in points]
    means = [statistics.fmean(values) for _, values in points]
    halves = [each.high - mean if each.is_bounded else 0.0 for each, mean in zip(found, means, strict=True)]
    spread = halves if any(halves) else None
    axes.errorbar([x for x, _ in points], means, spread, elinewidth=0.8, marker="o", markersize=3.5, color=colour)


def _number_axis(axes: Axes, results: Results, column: str) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4))
    if results["study"]["columns"][column].rpartition(".")[2] in SHARES:
        axes.xaxis.set_major_formatter(percent_ticks())
