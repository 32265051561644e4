"""Pictures of the predictions themselves: are probabilities right, and is the model right where it is sure.

Not here: knowledge uncertainty (`uncertainty_figures.py`), a regression's intervals (`interval_figures.py`).

Shapes: N rows, K bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import capitalised, decimal, percent, significant, words
from hydra_ray.report.inputs import ENSEMBLE, ReportInputs, compared, predictors, task_of, test_rows
from hydra_ray.report.style import INK, QUIET, colours, log_axis, new_figure, note, percent_ticks, picture
from hydra_ray.report.tables import SHARES
from hydra_ray.tasks import TaskFigures

NUM_BINS = 15
FEW_ROWS = 20
"""Bins with fewer rows are drawn pale: their accuracy is mostly chance."""
_MOST_COLUMNS = 4
_CURVE_POINTS = 400
_MARKERS = ("o", "s", "^")


@dataclass(frozen=True)
class Reliability:
    """Accuracy by confidence, equal-width bins closed on the right as in `classification.ece`.

    Attributes:
        rows: [K] int, rows of each bin.
        accuracy: [K], share of right rows; NaN in an empty bin.
        confidence: [K], mean confidence; NaN in an empty bin.
    """

    rows: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray


def reliability(confidence_N: np.ndarray, correct_N: np.ndarray, num_bins: int = NUM_BINS) -> Reliability:
    """Accuracy and mean confidence in bins ((k - 1) / num_bins, k / num_bins] of confidence."""
    bin_N = np.searchsorted(np.arange(1, num_bins) / num_bins, confidence_N, side="left")
    rows = np.bincount(bin_N, minlength=num_bins)
    divisor = np.where(rows, rows, np.nan)
    accuracy = np.bincount(bin_N, correct_N, num_bins) / divisor
    return Reliability(rows, accuracy, np.bincount(bin_N, confidence_N, num_bins) / divisor)


def error_by_coverage(total_N: np.ndarray, error_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(coverage, mean error of the rows kept) as the rows of highest total uncertainty are left out one by one.

    Rows of equal uncertainty get their mean error, so that the order of the rows does not matter.
    """
    order_N = np.argsort(total_N, kind="stable")
    _, group_N, counts = np.unique(total_N[order_N], return_inverse=True, return_counts=True)
    fair_N = (np.bincount(group_N, error_N[order_N]) / counts)[group_N]
    kept_N = np.arange(1, len(order_N) + 1)
    return kept_N / len(order_N), np.cumsum(fair_N) / kept_N


@picture
def reliability_picture(inputs: ReportInputs) -> Figure:
    """Reliability diagrams of the test rows, ensemble and students, each above its number of rows a bin."""
    names = compared(inputs)
    num_lines = math.ceil(len(names) / _MOST_COLUMNS)
    num_columns = math.ceil(len(names) / num_lines)
    whole = new_figure(0.4 + (1.1 + 8.0 / max(num_columns, 3)) * num_lines, _reliability_title(inputs, names))
    grid = whole.subplots(
        2 * num_lines,
        num_columns,
        squeeze=False,
        sharex=True,
        sharey="row",
        height_ratios=[3.2, 1] * num_lines,
    )
    for place in range(num_lines * num_columns):
        line, column = divmod(place, num_columns)
        upper = grid[2 * line, column]
        lower = grid[2 * line + 1, column]
        if place < len(names):
            _draw_reliability(upper, lower, inputs, names[place])
            _label_outer(upper, lower, column)
        else:
            upper.set_axis_off()
            lower.set_axis_off()
    return whole


@picture
def sparsification_picture(inputs: ReportInputs) -> Figure:
    """Accuracy, or RMSE, of the test rows left as those of highest total uncertainty are handed to somebody else."""
    names = compared(inputs)
    colour = colours(predictors(inputs.metrics))
    task = task_of(inputs.metrics)
    whole = new_figure(3.7, _sparsification_title(inputs, names))
    axes = whole.subplots()
    for name in names:
        coverage, values = _curve(inputs, name)
        label = f"{name}: {_quality_text(task.figures, float(values[-1]))} on all rows"
        style = {"linestyle": (0, (5, 1.5)), "zorder": 3} if name == ENSEMBLE else {}
        axes.plot(coverage, values, color=colour[name], label=label, **style)
    _draw_chosen_points(axes, inputs, names)
    axes.set(xlim=(0, 1), ylabel=f"{words(task.figures.quality)} of the rows kept")
    axes.set_xlabel(f"coverage (share of test rows kept, lowest {task.words.total_short} first)")
    axes.xaxis.set_major_formatter(percent_ticks())
    if task.figures.quality in SHARES:
        axes.yaxis.set_major_formatter(percent_ticks())
    axes.legend(loc="best")
    return whole


def _draw_chosen_points(axes: Axes, inputs: ReportInputs, names: list[str]) -> None:
    """Where students' thresholds on total uncertainty, fitted on validation rows, put the test rows."""
    quality_of = task_of(inputs.metrics).figures.quality_of
    colour = colours(predictors(inputs.metrics))
    found = {name: inputs.metrics.get("decisions", {}).get(name, {}).get("risks", {}) for name in names}
    for place, risk in enumerate(dict.fromkeys(risk for risks in found.values() for risk in risks)):
        style = {"marker": _MARKERS[place % len(_MARKERS)], "linestyle": "none", "markeredgecolor": INK, "zorder": 4}
        for name, risks in found.items():
            chosen = risks.get(risk, {}).get("total", {})
            if chosen.get("risk") is not None:
                quality = float(quality_of(np.array(chosen["risk"])))
                axes.plot(chosen["coverage"], quality, color=colour[name], clip_on=False, **style)
        axes.plot([], [], color="none", label=f"threshold for {percent(float(risk), 0)} wrong", **style)


def _reliability_title(inputs: ReportInputs, names: list[str]) -> str:
    if len(names) >= 5:
        return "Reliability on the test rows"
    found = []
    for name in names:
        confidence_N, correct_N = _confident_rows(inputs, name)
        found.append(f"{100 * (confidence_N.mean() - correct_N.mean()):+.1f} ({name})")
    return f"Mean confidence minus accuracy, in points: {', '.join(found)}"


def _confident_rows(inputs: ReportInputs, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Top probability [N] of the test rows, and 1 where they are right, else 0."""
    scores = test_rows(inputs, name)
    assert scores.confidence is not None, "classification has it"
    assert scores.error is not None, "checked by ReportInputs"
    return scores.confidence, 1 - scores.error


def _draw_reliability(upper: Axes, lower: Axes, inputs: ReportInputs, name: str) -> None:
    bins = reliability(*_confident_rows(inputs, name))
    colour = colours(predictors(inputs.metrics))[name]
    middle = (np.arange(NUM_BINS) + 0.5) / NUM_BINS
    shade = np.where(bins.rows < FEW_ROWS, 0.35, 0.9)
    for at, accuracy, expected, alpha in zip(middle, bins.accuracy, bins.confidence, shade, strict=True):
        if np.isfinite(accuracy):
            upper.bar(at, accuracy, 0.92 / NUM_BINS, color=colour, alpha=alpha, linewidth=0)
            _draw_gap(upper, at, accuracy, expected)
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (4, 2)))
    upper.set(xlim=(0, 1), ylim=(0, 1), title=name)
    upper.title.set_color(colour)
    note(upper, f"ECE {decimal(figure(inputs.metrics, 'test', name, 'ece'), 3)}")
    lower.bar(middle, bins.rows, 0.92 / NUM_BINS, color=colour, alpha=0.6, linewidth=0)
    log_axis(lower.yaxis, 1, 1000)
    lower.set_ylim(bottom=0.7)


def _draw_gap(axes: Axes, at: float, accuracy: float, expected: float) -> None:
    low, high = sorted((accuracy, expected))
    style = {"facecolor": "none", "edgecolor": QUIET, "hatch": "//////", "linewidth": 0.6}
    axes.bar(at, high - low, 0.92 / NUM_BINS, bottom=low, **style)


def _label_outer(upper: Axes, lower: Axes, column: int) -> None:
    lower.set_xlabel("confidence")
    if column == 0:
        upper.set_ylabel("accuracy")
        lower.set_ylabel("rows")


def _quality_text(figures: TaskFigures, value: float) -> str:
    return percent(value, 1) if figures.quality in SHARES else significant(value)


def _sparsification_title(inputs: ReportInputs, names: list[str]) -> str:
    figures = task_of(inputs.metrics).figures
    quality = capitalised(words(figures.quality))
    if len(names) >= 4:
        return f"{quality} against coverage"
    at_80 = {name: float(np.interp(0.8, *_curve(inputs, name))) for name in names}
    found = ", ".join(f"{_quality_text(figures, value)} ({name})" for name, value in at_80.items())
    return f"{quality} without the most uncertain fifth: {found}"


def _curve(inputs: ReportInputs, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Some hundred points of quality by coverage, from where enough rows are left to speak of a share."""
    scores = test_rows(inputs, name)
    assert scores.error is not None, "checked by ReportInputs"
    coverage_N, error_N = error_by_coverage(scores.total, scores.error)
    first = min(len(coverage_N), max(FEW_ROWS, len(coverage_N) // 50)) - 1
    points = np.unique(np.linspace(first, len(coverage_N) - 1, _CURVE_POINTS).round().astype(int))
    return coverage_N[points], task_of(inputs.metrics).figures.quality_of(error_N[points])
