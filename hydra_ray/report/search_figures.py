"""Pictures of the search: its trials by each key, and what there is to choose from where several figures count."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_ray.config import MACS, better
from hydra_ray.evaluation import figure
from hydra_ray.report.formats import decimal, setting, times, words
from hydra_ray.report.inputs import SearchResult
from hydra_ray.report.style import INK, log_where_wide, new_figure, picture, places_of

_MOST_COLUMNS = 4
_TRIAL = "#0072b2"
_TAKEN = "#d55e00"
_BEATEN = "#a9adb3"

Trials = Sequence[Mapping[str, Any]]


@picture
def trials_picture(search: SearchResult) -> Figure:
    """The first objective against each searched key."""
    keys = search.keys
    num_columns = min(len(keys), _MOST_COLUMNS)
    num_lines = math.ceil(len(keys) / num_columns)
    whole = new_figure(0.6 + 2.6 * num_lines, _title(search))
    grid = whole.subplots(num_lines, num_columns, squeeze=False, sharey=True)
    for axes in grid.flat[len(keys) :]:
        axes.set_axis_off()
    for axes, key in zip(grid.flat, keys, strict=False):
        _draw_key(axes, search, key)
    for axes in grid[:, 0]:
        axes.set_ylabel(words(search.objectives[0]))
    log_where_wide(grid[0, 0].yaxis, [trial[search.objectives[0]] for trial in search.ranked], 10)
    _legend(whole, grid[0, 0])
    return whole


@picture
def front_picture(search: SearchResult) -> Figure:
    """The first objective against each of the others, and against the cost where there is a budget."""
    others = others_shown(search)
    whole = new_figure(3.9, _front_title(search))
    panels = whole.subplots(1, len(others), squeeze=False, sharey=True)[0]
    first = search.objectives[0]
    for axes, other in zip(panels, others, strict=True):
        _draw_pair(axes, search, first, other)
    panels[0].set_ylabel(f"{words(first)}\n({better(first)})")
    log_where_wide(panels[0].yaxis, [trial[first] for trial in search.ranked], 10)
    _legend(whole, panels[0])
    return whole


def others_shown(search: SearchResult) -> list[str]:
    """What the first objective is drawn against."""
    others = list(search.objectives[1:])
    return others if search.budget is None or MACS in others else [*others, MACS]


def _title(search: SearchResult) -> str:
    first = search.objectives[0]
    parts = [f"{len(search.trials)} trials", f"{sum(trial['stopped_early'] for trial in search.ranked)} stopped early"]
    failed = len(search.trials) - len(search.ranked)
    if failed:
        parts.append(f"{failed} failed")
    word = "best" if len(search.objectives) == 1 and search.budget is None else "taken:"
    return f"{', '.join(parts)}; {word} {words(first)} {decimal(search.best[first])} (trial {search.taken})"


def _front_title(search: SearchResult) -> str:
    ratio = figure(search.best, "macs_ratio")
    cost = "" if ratio is None else f", {times(ratio)} a member's MACs"
    limit = "" if search.budget is None else f" (budget {times(search.budget)})"
    num_beaten_by_none = f"{len(search.front)} of {len(search.trials)}"
    return f"{num_beaten_by_none} trials are beaten by none; taken: trial {search.taken}{cost}{limit}"


def _draw_key(axes: Axes, search: SearchResult, key: str) -> None:
    first = search.objectives[0]
    ranked = search.ranked
    places = dict(
        zip((trial["trial"] for trial in ranked), places_of(axes.xaxis, [trial[key] for trial in ranked]), strict=True)
    )
    _scatter(
        axes, ranked, lambda trial: (places[trial["trial"]], trial[first]), _TRIAL, ("ran to the end", "stopped early")
    )
    _ring(axes, places[search.taken], search.best[first])
    axes.set_xlabel(f"{words(key)}\ntaken: {setting(search.best[key])}")
    axes.margins(x=0.12, y=0.1)


def _draw_pair(axes: Axes, search: SearchResult, first: str, other: str) -> None:
    is_ratio = other == MACS and figure(search.best, "macs_ratio") is not None
    across = "macs_ratio" if is_ratio else other
    front = search.front
    has_line = not any(better(name) == "1 is best" for name in search.objectives)  # else it turns back at 1
    if has_line and len(search.objectives) == 2 and other in search.objectives:
        places = sorted((trial[across], trial[first]) for trial in front)
        where = "pre" if better(other) == "more is better" else "post"
        axes.step(*zip(*places, strict=True), where=where, color=_TRIAL, linewidth=1, alpha=0.5)

    def place_of(trial: Mapping[str, Any]) -> tuple[float, float]:
        return trial[across], trial[first]

    _scatter(
        axes,
        [trial for trial in search.ranked if not trial["on_front"]],
        place_of,
        _BEATEN,
        ("beaten by another", "and stopped early"),
    )
    _scatter(axes, front, place_of, _TRIAL, ("beaten by none", "and stopped early"))
    _ring(axes, *place_of(search.best))
    if is_ratio and search.budget is not None:
        axes.axvline(search.budget, color=INK, linewidth=1, linestyle=(0, (4, 3)), label="budget")
    axes.set_xlabel("MACs / a member's\n(less is better)" if is_ratio else f"{words(other)}\n({better(other)})")
    log_where_wide(axes.xaxis, [trial[across] for trial in search.ranked], 7)
    axes.margins(x=0.12, y=0.1)


def _scatter(
    axes: Axes,
    trials: Trials,
    place_of: Callable[[Mapping[str, Any]], tuple[float, float]],
    colour: str,
    labels: tuple[str, str],
) -> None:
    """Filled where a trial ran to the end, hollow where it was stopped early, with a label for each."""
    for is_stopped, text in enumerate(labels):
        places = [place_of(trial) for trial in trials if trial["stopped_early"] == bool(is_stopped)]
        if places:
            x, y = zip(*places, strict=True)
            face = "none" if is_stopped else colour
            axes.scatter(x, y, s=28, facecolors=face, edgecolors=colour, linewidths=1, alpha=0.75, label=text, zorder=3)


def _ring(axes: Axes, x: float, y: float) -> None:
    axes.scatter(x, y, s=150, facecolors="none", edgecolors=_TAKEN, linewidths=1.8, label="taken", zorder=4)


def _legend(whole: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 6))
