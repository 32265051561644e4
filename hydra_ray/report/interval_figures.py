"""Picture of a regression's intervals: do as many targets lie inside of them as should.

Not here: errors and variances of rows (`prediction_figures.py`, `uncertainty_figures.py`).

Shapes: N rows, K points of a curve.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import percent, significant
from hydra_ray.report.inputs import ENSEMBLE, ReportInputs, compared, predictors, test_rows
from hydra_ray.report.style import INK, TEST_GREY, colours, new_figure, percent_ticks, picture

_CURVE_POINTS = 200


def coverage_by_level(interval_level_N: np.ndarray, levels_K: np.ndarray) -> np.ndarray:
    """[K], share of the targets inside of the central intervals of these probabilities."""
    return np.searchsorted(np.sort(interval_level_N), levels_K, side="right") / len(interval_level_N)


@picture
def intervals_picture(inputs: ReportInputs) -> Figure:
    """Share of test targets inside the central interval, against its probability; on the right the difference."""
    names = compared(inputs)
    colour = colours(predictors(inputs.metrics))
    whole = new_figure(4.0, _title(inputs, names))
    left, right = whole.subplots(1, 2)
    levels = np.linspace(0, 1, _CURVE_POINTS)
    chance = 1.96 * np.sqrt(levels * (1 - levels) / len(test_rows(inputs, names[0]).total))
    right.fill_between(levels, -chance, chance, color=TEST_GREY, alpha=0.5, linewidth=0, label="chance, 95 %")
    for name in names:
        level_N = test_rows(inputs, name).interval_level
        assert level_N is not None, "a regression has it on labelled rows"
        covered = coverage_by_level(level_N, levels)
        style = {"linestyle": (0, (5, 1.5)), "zorder": 3} if name == ENSEMBLE else {}
        width = figure(inputs.metrics, "test", name, "width_95")
        left.plot(levels, covered, color=colour[name], label=f"{name}: {significant(width)}", **style)
        right.plot(levels, covered - levels, color=colour[name], **style)
    left.plot([0, 1], [0, 1], color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    right.axhline(0, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    left.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of test targets inside")
    right.set(xlim=(0, 1), ylabel="that share minus the probability")
    for axes in (left, right):
        axes.set_xlabel("probability of the central interval")
        axes.xaxis.set_major_formatter(percent_ticks())
        axes.yaxis.set_major_formatter(percent_ticks())
    right.legend(loc="lower right")
    left.legend(loc="upper left", title="mean width of the 95 % interval", title_fontsize=8.5, alignment="left")
    return whole


def _title(inputs: ReportInputs, names: list[str]) -> str:
    if len(names) >= 5:
        return "Targets inside of the predicted intervals"
    found = {name: figure(inputs.metrics, "test", name, "coverage_95") for name in names}
    shares = ", ".join(f"{percent(value, 1)} ({name})" for name, value in found.items())
    return f"Test targets inside the 95 % interval: {shares}"
