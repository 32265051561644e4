"""Pictures of the input space itself, for data of one or two features: where predictors are unsure, and why.

On a plane: maps of total and knowledge uncertainty and, for three classes, what members and heads say at three points,
in the triangle of all predictions. On a line: bands of data and knowledge uncertainty, or the two as curves.
Not here: who answered on the grid (`evaluation/input_grid.py`).

G points of the grid, K members or heads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from hydra_ray.evaluation import Plane
from hydra_ray.report.inputs import ENSEMBLE, ReportInputs
from hydra_ray.report.style import INK, QUIET, colours, new_figure, note, picture

_CLASS_MARKS = ("#4477aa", "#ccbb44", "#aa3377", "#228833", "#ee6677", "#66ccee")
_MAP = "magma_r"
_TRIANGLE = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
"""Corners of the three classes."""
_BAND = 2.0
"""Standard deviations on each side."""
_POINTS = ("A", "B", "C")
_NO_KNOWLEDGE = "one output:\nno knowledge\nuncertainty"


def has_plane(inputs: ReportInputs) -> bool:
    """Whether inputs have two features."""
    return inputs.plane is not None and len(inputs.plane.ticks) == 2


def has_line(inputs: ReportInputs) -> bool:
    """Whether inputs have one feature."""
    return inputs.plane is not None and len(inputs.plane.ticks) == 1


@picture
def plane_picture(inputs: ReportInputs) -> Figure:
    """Maps of total and of knowledge uncertainty, predictors side by side; for three classes three points below."""
    plane = _plane(inputs)
    names = list(plane.scores)
    points = _three_points(plane)
    size = 7.2 / len(names)
    whole = new_figure(0.75 + 2 * (size + 0.12) + (2.2 if points else 0.0), _map_title(plane))
    heights = [2 * (size + 0.12), *([2.2] if points else [])]
    parts: list[SubFigure] = list(whole.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat)
    grid = parts[0].subplots(2, len(names), squeeze=False, sharex=True, sharey=True)
    for panels, (label, values) in zip(grid, _maps(plane).items(), strict=True):
        _draw_maps(parts[0], panels, plane, label, values)
    for axes, name in zip(grid[0], names, strict=True):
        axes.set_title(name, color=colours(names)[name])
    for axes in grid.flat:
        _mark_points(axes, plane, points)
    if points:
        _draw_triangles(parts[1].subplots(1, len(points)), plane, points)
        _add_triangle_legend(parts[1], plane)
    return whole


@picture
def line_picture(inputs: ReportInputs) -> Figure:
    """What predictors say along the only feature, side by side: a regression's bands, or uncertainties of classes."""
    plane = _plane(inputs)
    names = list(plane.scores)
    whole = new_figure(3.35, _line_title(plane))
    panels = whole.subplots(1, len(names), squeeze=False, sharex=True, sharey=True)[0]
    for axes, name in zip(panels, names, strict=True):
        draw = _draw_curves if plane.has_classes else _draw_bands
        draw(axes, plane, name)
        axes.set_title(name, color=colours(names)[name])
        axes.set_xlabel(plane.names[0])
    panels[0].set_ylabel("uncertainty (nats)" if plane.has_classes else "target")
    if not plane.has_classes:
        panels[0].set_ylim(*_target_range(plane))
    _add_line_legend(whole, plane)
    return whole


def _plane(inputs: ReportInputs) -> Plane:
    assert inputs.plane is not None, "asked before"
    return inputs.plane


# maps


def _map_title(plane: Plane) -> str:
    unit = "nats" if plane.has_classes else "standard deviations"
    return f"Total and knowledge uncertainty over the inputs ({unit}); dots are training rows"


def _maps(plane: Plane) -> dict[str, dict[str, np.ndarray | None]]:
    """Label of a line of panels -> predictor -> its grid; variances as standard deviations."""
    total: dict[str, np.ndarray | None] = {name: _shown(plane, each.total) for name, each in plane.scores.items()}
    return {"total": total, "knowledge": {name: _knowledge(plane, name) for name in plane.scores}}


def _knowledge(plane: Plane, name: str) -> np.ndarray | None:
    found = plane.scores[name].knowledge
    return None if found is None else _shown(plane, found)


def _shown(plane: Plane, values_G: np.ndarray) -> np.ndarray:
    grid = plane.as_grid(values_G)
    return grid if plane.has_classes else np.sqrt(grid)


def _draw_maps(
    part: SubFigure, panels: np.ndarray, plane: Plane, label: str, values: Mapping[str, np.ndarray | None]
) -> None:
    """One line of maps on one scale of colours, which the ensemble's values set."""
    known = {name: grid for name, grid in values.items() if grid is not None}
    top = float(np.quantile(known.get(ENSEMBLE, next(iter(known.values()))), 0.995))
    image = None
    for axes, name in zip(panels, values, strict=True):
        axes.grid(visible=False)
        grid = values[name]
        if grid is None:
            note(axes, _NO_KNOWLEDGE)
            axes.set_facecolor("#f4f4f4")
        else:
            extent = (*plane.ticks[0][[0, -1]], *plane.ticks[1][[0, -1]])
            image = axes.imshow(
                grid.T,
                origin="lower",
                extent=extent,
                cmap=_MAP,
                vmin=0,
                vmax=top,
                aspect="auto",
                interpolation="bilinear",
            )
        _draw_rows(axes, plane)
    panels[0].set_ylabel(f"{label} uncertainty\n{plane.names[1]}")
    if image is not None:
        part.colorbar(image, ax=list(panels), fraction=0.03, pad=0.01, aspect=22)


def _draw_rows(axes: Axes, plane: Plane) -> None:
    x, y = plane.rows_ND.T
    if not plane.has_classes:
        axes.scatter(x, y, s=0.6, color=QUIET, alpha=0.6, linewidths=0)
        return
    marks = np.array(_CLASS_MARKS)[plane.labels_N.astype(np.int64) % len(_CLASS_MARKS)]
    axes.scatter(x, y, s=0.9, c=marks, alpha=0.7, linewidths=0)


# three points


@dataclass(frozen=True)
class _Point:
    """A point of the grid that shows something."""

    index: int
    place: tuple[float, float]
    meaning: str


def _three_points(plane: Plane) -> list[_Point]:
    """Where the ensemble is sure, where classes overlap, and where it does not know; none but for three classes."""
    if not plane.has_classes or plane.answers[ENSEMBLE].shape[-1] != len(_POINTS):
        return []
    scores = plane.scores[ENSEMBLE]
    if scores.knowledge is None:
        return []
    near = _near_rows(plane)
    data_alone = np.where(near, scores.data - scores.knowledge, -np.inf)
    chosen = {
        "all agree": int(np.argmin(np.where(near, scores.total, np.inf))),
        "classes overlap": int(np.argmax(data_alone)),
        "never seen": int(np.argmax(_away_from_the_edge(plane, scores.knowledge))),
    }
    points = np.stack([axis.ravel() for axis in np.meshgrid(*plane.ticks, indexing="ij")], axis=1)
    places = {meaning: (float(points[index, 0]), float(points[index, 1])) for meaning, index in chosen.items()}
    return [_Point(index, places[meaning], meaning) for meaning, index in chosen.items()]


def _near_rows(plane: Plane) -> np.ndarray:
    """Points of the grid next to at least three training rows: bool [G]."""
    edges = [np.concatenate([[-np.inf], (axis[1:] + axis[:-1]) / 2, [np.inf]]) for axis in plane.ticks]
    counts, *_ = np.histogram2d(*plane.rows_ND.T, bins=edges)
    around = sum(np.roll(counts, (down, right), (0, 1)) for down in (-1, 0, 1) for right in (-1, 0, 1))
    return (np.asarray(around) >= 3).ravel()


def _away_from_the_edge(plane: Plane, values_G: np.ndarray) -> np.ndarray:
    """Values with those of the outer tenth of the grid lowered below all others, so that a label has room."""
    grid = plane.as_grid(values_G).astype(np.float64, copy=True)
    inside = np.zeros(grid.shape, np.bool_)
    inside[tuple(slice(size // 10, size - size // 10) for size in grid.shape)] = True
    return np.where(inside, grid, -np.inf).ravel()


def _mark_points(axes: Axes, plane: Plane, points: list[_Point]) -> None:
    for letter, point in zip(_POINTS, points, strict=False):
        for width, colour in ((2.4, "white"), (1.0, INK)):  # seen on dark and on pale
            ring = {"markeredgecolor": colour, "markeredgewidth": width, "markerfacecolor": "none"}
            axes.plot(*point.place, marker="o", markersize=5, **ring)
        at = (point.place[0], point.place[1] + 0.035 * float(np.ptp(plane.ticks[1])))
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
        axes.text(*at, letter, ha="center", va="bottom", fontsize=8, fontweight="bold", bbox=box)


def _draw_triangles(panels: np.ndarray, plane: Plane, points: list[_Point]) -> None:
    colour = colours(plane.answers)
    for axes, letter, point in zip(panels, _POINTS, points, strict=True):
        axes.set_axis_off()
        axes.set_aspect("equal")
        axes.set(xlim=(-0.25, 1.25), ylim=(-0.17, 1.03))
        axes.plot(*_TRIANGLE[[0, 1, 2, 0]].T, color=QUIET, linewidth=0.9)
        for number, (corner, shift) in enumerate(zip(_TRIANGLE, ((-1, -1), (1, -1), (0, 1)), strict=True)):
            axes.text(
                corner[0] + 0.04 * shift[0], corner[1] + 0.04 * shift[1], plane.class_names[number], fontsize=7.5,
                color=_CLASS_MARKS[number], ha=("right", "center", "left")[shift[0] + 1],
                va="top" if shift[1] < 0 else "bottom", fontweight="bold",
            )  # fmt: skip
        for name, answers in plane.answers.items():
            _draw_answers(axes, answers[point.index], colour[name], is_ensemble=name == ENSEMBLE)
        axes.set_title(f"{letter}: {point.meaning}", loc="center")


def _draw_answers(axes: Axes, probs_KC: np.ndarray, colour: str, *, is_ensemble: bool) -> None:
    """Members as rings, heads as dots, a predictor with one output as a cross."""
    x, y = (probs_KC @ _TRIANGLE).T
    if len(probs_KC) == 1:
        axes.scatter(x, y, s=42, color=colour, marker="X", linewidths=0.6, edgecolors="white", zorder=4)
    elif is_ensemble:
        axes.scatter(x, y, s=34, facecolors="none", edgecolors=colour, linewidths=1.0, zorder=3)
    else:
        axes.scatter(x, y, s=13, color=colour, alpha=0.85, linewidths=0, zorder=3)


def _add_triangle_legend(part: SubFigure, plane: Plane) -> None:
    colour = colours(plane.answers)
    handles = {}
    for name, answers in plane.answers.items():
        several = answers.shape[1] > 1
        ring = name == ENSEMBLE and several
        handles[f"{'members' if name == ENSEMBLE else 'heads' if several else 'answer'} of {name}"] = Line2D(
            [], [], linestyle="none", marker="o" if several else "X", markersize=6 if ring or not several else 4,
            markerfacecolor="none" if ring else colour[name], markeredgecolor=colour[name] if several else "white",
        )  # fmt: skip
    part.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))


# a line


def _line_title(plane: Plane) -> str:
    if not plane.has_classes:
        return f"Bands of {_BAND:g} standard deviations: noise in the data, and what the predictor does not know"
    return "Uncertainty along the inputs; ticks at the foot are training rows"


def _draw_bands(axes: Axes, plane: Plane, name: str) -> None:
    """The mean, data uncertainty about it, and knowledge uncertainty beyond that."""
    x = plane.ticks[0]
    scores = plane.scores[name]
    mean = plane.answers[name][:, :, 0].mean(axis=1)
    colour = colours(plane.scores)[name]
    total = _BAND * np.sqrt(scores.total)
    data = _BAND * np.sqrt(scores.data)
    axes.plot(plane.rows_ND[:, 0], plane.labels_N, ".", color=QUIET, markersize=1.6, alpha=0.55, zorder=1)
    if scores.knowledge is not None:
        axes.fill_between(x, mean - total, mean + total, color=colour, alpha=0.2, linewidth=0, zorder=2)
    axes.fill_between(x, mean - data, mean + data, color=colour, alpha=0.35, linewidth=0, zorder=3)
    axes.plot(x, mean, color=colour, zorder=4)
    if scores.knowledge is None:
        note(axes, _NO_KNOWLEDGE)
    axes.set_xlim(float(x[0]), float(x[-1]))


def _target_range(plane: Plane) -> tuple[float, float]:
    """Room for the targets and for the ensemble's band, where that does not dwarf them."""
    low = float(plane.labels_N.min())
    high = float(plane.labels_N.max())
    mean = plane.answers[ENSEMBLE][:, :, 0].mean(axis=1)
    band = _BAND * np.sqrt(plane.scores[ENSEMBLE].total)
    room = high - low
    return max(low - room, min(low, float((mean - band).min()))), min(
        high + room, max(high, float((mean + band).max()))
    )


def _draw_curves(axes: Axes, plane: Plane, name: str) -> None:
    x = plane.ticks[0]
    scores = plane.scores[name]
    colour = colours(plane.scores)[name]
    axes.plot(x, scores.total, color=colour, linewidth=1.0, linestyle=(0, (4, 2)))
    if scores.knowledge is not None:
        axes.fill_between(x, scores.knowledge, color=colour, alpha=0.35, linewidth=0)
    else:
        note(axes, _NO_KNOWLEDGE)
    axes.plot(plane.rows_ND[:, 0], np.zeros(len(plane.rows_ND)), "|", color=QUIET, markersize=5, alpha=0.4)
    axes.set_xlim(float(x[0]), float(x[-1]))


def _add_line_legend(whole: Figure, plane: Plane) -> None:
    if not plane.has_classes:
        handles = {
            "training rows": Line2D([], [], linestyle="none", marker=".", color=QUIET),
            "mean": Line2D([], [], color=INK),
            "data uncertainty": Patch(color=INK, alpha=0.45),
            "with knowledge uncertainty": Patch(color=INK, alpha=0.18),
        }
    else:
        handles = {
            "total uncertainty": Line2D([], [], color=INK, linestyle=(0, (4, 2)), linewidth=1.0),
            "knowledge uncertainty": Patch(color=INK, alpha=0.35),
        }
    whole.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles))
