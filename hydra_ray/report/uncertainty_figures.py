"""Pictures of knowledge uncertainty: is it higher on unknown rows, and is it the ensemble's own, row by row.

Not here: calibration and accuracy (`prediction_figures.py`).

Shapes: N rows. Mutual information and variances are heavily skewed towards 0, so their axes are logarithmic; what
lies below the axis counts at its lower end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from hydra_ray.data import TEST, SplitId, unknown_split
from hydra_ray.evaluation import figure
from hydra_ray.report.formats import decimal, times
from hydra_ray.report.inputs import (
    ENSEMBLE,
    ReportInputs,
    predictors,
    row_knowledge,
    task_of,
    unknown_sets,
    with_knowledge,
)
from hydra_ray.report.style import INK, TEST_GREY, colours, new_figure, note, percent_ticks, picture, tint

LOWEST = 1e-6
HIGHEST_FLOOR = 1e-2
"""Range of the lower end of the axes: in nats, or for variances in tens of the ensemble's median on test rows."""
_NUM_BINS = 36
_MANY_ROWS = 1500


@dataclass(frozen=True)
class _Range:
    """A logarithmic axis of knowledge uncertainty."""

    low: float
    high: float

    def clip(self, values_N: np.ndarray) -> np.ndarray:
        return np.clip(values_N, self.low, self.high)

    @property
    def edges(self) -> np.ndarray:
        return np.geomspace(self.low, self.high, _NUM_BINS + 1)


@picture
def histogram_picture(inputs: ReportInputs) -> Figure:
    """Histograms of knowledge uncertainty: a line for each unknown set, predictors side by side."""
    names = with_knowledge(inputs)
    sets = unknown_sets(inputs.metrics)
    lines: list[str | None] = [*sets] or [None]
    whole = new_figure(1.3 + 1.95 * len(lines), _histogram_title(inputs, names, sets))
    grid = whole.subplots(len(lines), len(names), squeeze=False, sharex=True, sharey=True)
    span = _range(inputs)
    for panels, unknown in zip(grid, lines, strict=True):
        for axes, name in zip(panels, names, strict=True):
            _draw_histograms(axes, inputs, name, unknown, span)
        panels[0].set_ylabel(f"{unknown or TEST.label}\nshare of rows")
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, color=colours(predictors(inputs.metrics))[name])
    grid[0, 0].set_xlim(span.low, span.high)
    grid[0, 0].set_ylim(0, _readable_height(inputs, span))
    for axes in grid[-1]:
        axes.set_xlabel(task_of(inputs.metrics).words.knowledge_axis)
    _add_legend(whole, inputs, names, unknown=bool(sets))
    return whole


@picture
def scatter_picture(inputs: ReportInputs) -> Figure:
    """Each student's knowledge uncertainty against the ensemble's, row by row: one line for each student."""
    names = [name for name in with_knowledge(inputs) if name != ENSEMBLE]
    words = task_of(inputs.metrics).words
    splits = [TEST, *map(unknown_split, unknown_sets(inputs.metrics))]
    side = 6.5 / max(len(splits), 2 if len(names) == 1 else 3)
    height = 1.15 + (side + 0.17) * len(names)
    whole = new_figure(height, _scatter_title(inputs, names), compressed=True)
    grid = whole.subplots(len(names), len(splits), squeeze=False, sharex=True, sharey=True)
    span = _range(inputs)
    for panels, name in zip(grid, names, strict=True):
        for axes, split in zip(panels, splits, strict=True):
            _draw_scatter(axes, inputs, name, split, span)
        panels[0].set_ylabel(f"{name}'s {words.knowledge_short}")
    for axes, split in zip(grid[0], splits, strict=True):
        axes.set_title(split.label)
    grid[0, 0].set(xlim=(span.low, span.high), ylim=(span.low, span.high))
    for axes in grid[-1]:
        axes.set_xlabel(f"ensemble's {words.knowledge_short}")
    return whole


def _histogram_title(inputs: ReportInputs, names: list[str], sets: list[str]) -> str:
    if len(sets) != 1 or len(names) > 3:
        return "Knowledge uncertainty of test rows" + (" and unknown rows" if sets else "")
    score = f"auroc_{task_of(inputs.metrics).figures.knowledge}"
    found = [figure(inputs.metrics, "unknown", sets[0], name, score) for name in names]
    aurocs = ", ".join(f"{decimal(value, 3)} ({name})" for name, value in zip(names, found, strict=True))
    return f"Knowledge uncertainty tells {sets[0]} from test rows: AUROC {aurocs}"


def _scatter_title(inputs: ReportInputs, names: list[str]) -> str:
    if len(names) > 2:
        return "Knowledge uncertainty of the students against the ensemble's, row by row"
    ratio = f"{task_of(inputs.metrics).figures.knowledge}_ratio"
    found = [figure(inputs.metrics, "fidelity", name, ratio, TEST.label) for name in names]
    sizes = ", ".join(f"{times(value)} ({name})" for name, value in zip(names, found, strict=True))
    return f"Mean knowledge uncertainty of test rows, student / ensemble: {sizes}"


def _add_legend(whole: Figure, inputs: ReportInputs, names: list[str], *, unknown: bool) -> None:
    """Grey for test rows, a patch of each predictor's colour for unknown rows, a line for the ensemble's."""
    colour = colours(predictors(inputs.metrics))
    handles: dict[str, Any] = {"test rows": Patch(color=TEST_GREY)}
    if unknown:
        handles["unknown rows"] = tuple(Patch(color=colour[name]) for name in names)
    if len(names) > 1:
        handles["the ensemble's, for comparison"] = Line2D([], [], color=INK, linewidth=0.8)
    side_by_side = {tuple: HandlerTuple(ndivide=None, pad=0.2)}
    whole.legend(
        list(handles.values()),
        list(handles),
        handler_map=side_by_side,
        loc="outside lower center",
        ncols=len(handles),
    )


def _range(inputs: ReportInputs) -> _Range:
    """One axis for all predictors and splits: from few of the ensemble's test rows to the largest value."""
    names = with_knowledge(inputs)
    every = [row_knowledge(inputs, name, split) for name in names for split in inputs.scores[name]]
    found = [values for values in every if values is not None]
    first = row_knowledge(inputs, names[0], TEST)
    unit = _unit(inputs, names[0])
    low = LOWEST * unit if first is None else float(np.quantile(first, 0.05))
    floor = 10.0 ** math.floor(math.log10(max(low, LOWEST * unit)))
    high = max(float(values.max()) for values in found)
    return _Range(min(floor, HIGHEST_FLOOR * unit), max(high * 1.15, 10 * HIGHEST_FLOOR * unit))


def _unit(inputs: ReportInputs, name: str) -> float:
    """A nat; in a regression ten times the median, as variances have the target's unit."""
    values = row_knowledge(inputs, name, TEST)
    if task_of(inputs.metrics).words.has_unit or values is None:
        return 1.0
    return 10 * float(np.median(values)) or 1.0


def _draw_histograms(axes: Axes, inputs: ReportInputs, name: str, unknown: str | None, span: _Range) -> None:
    colour = colours(predictors(inputs.metrics))[name]
    splits = {TEST: TEST_GREY} | ({unknown_split(unknown): colour} if unknown else {})
    for split, fill in splits.items():
        _draw_shares(axes, row_knowledge(inputs, name, split), span, color=fill, alpha=0.75)
        if name != ENSEMBLE:
            own = row_knowledge(inputs, ENSEMBLE, split)
            _draw_shares(axes, own, span, histtype="step", color=INK, linewidth=0.8)
    axes.set_xscale("log")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(percent_ticks())
    _decades(axes)
    if unknown:
        auroc = figure(inputs.metrics, "unknown", unknown, name, f"auroc_{task_of(inputs.metrics).figures.knowledge}")
        note(axes, f"AUROC {decimal(auroc, 3)}")


def _draw_shares(axes: Axes, values_N: np.ndarray | None, span: _Range, **style: object) -> None:
    if values_N is not None:
        weights = np.full(len(values_N), 1 / len(values_N))
        axes.hist(span.clip(values_N), bins=span.edges, weights=weights, **style)  # pyright: ignore[reportArgumentType]


def _readable_height(inputs: ReportInputs, span: _Range) -> float:
    """Room for every bar of the ensemble; a student whose heads collapsed into one would flatten all else."""
    heights: dict[str, float] = {}
    for name in with_knowledge(inputs):
        values = [row_knowledge(inputs, name, split) for split in inputs.scores[name]]
        shares = [np.histogram(span.clip(each), span.edges)[0].max() / len(each) for each in values if each is not None]
        heights[name] = float(max(shares))
    return 1.2 * min(max(heights.values()), 2.5 * heights.get(ENSEMBLE, 1.0))


def _draw_scatter(axes: Axes, inputs: ReportInputs, name: str, split: SplitId, span: _Range) -> None:
    colour = colours(predictors(inputs.metrics))[name]
    student = row_knowledge(inputs, name, split)
    ensemble = row_knowledge(inputs, ENSEMBLE, split)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_aspect("equal")
    if student is None or ensemble is None:
        return
    _draw_rows(axes, span.clip(ensemble), span.clip(student), span, colour)
    _decades(axes)  # after hexbin, which sets its own
    axes.plot([span.low, span.high], [span.low, span.high], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    fidelity = inputs.metrics.get("fidelity", {}).get(name, {})
    known_as = split.label
    knowledge = task_of(inputs.metrics).figures.knowledge
    note(axes, f"Spearman {decimal(figure(fidelity, f'spearman_{knowledge}', known_as), 2)}")
    ratio = figure(fidelity, f"{knowledge}_ratio", known_as)
    if ratio is not None:
        note(axes, f"mean {times(ratio)}", at=(0.96, 0.04))


def _draw_rows(axes: Axes, x_N: np.ndarray, y_N: np.ndarray, span: _Range, colour: str) -> None:
    if len(x_N) <= _MANY_ROWS:
        axes.scatter(x_N, y_N, s=7, color=colour, alpha=0.35, linewidths=0)
        return
    ends = (math.log10(span.low), math.log10(span.high))
    axes.hexbin(
        x_N, y_N, gridsize=42, xscale="log", yscale="log", extent=(*ends, *ends), bins="log", mincnt=1,
        cmap=tint(colour), linewidths=0.15,
    )  # fmt: skip


def _decades(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis) if axes.get_yscale() == "log" else (axes.xaxis,):
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_minor_locator(NullLocator())
