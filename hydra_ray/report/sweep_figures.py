"""A picture of a sweep over one key: what a student keeps of its ensemble at each of the key's values.

Drawn from sweep.json alone, as its tables are (`sweep_tables.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import words
from hydra_ray.report.inputs import task_of
from hydra_ray.report.style import INK, colours, new_figure, picture, places_of
from hydra_ray.training import kinds

Group = Mapping[str, Any]
Points = Sequence[tuple[int, float, float]]
"""Place of a setting among the sweep's, mean, standard deviation over seeds (0 for one run)."""
Line = Literal["-", "--", ":", "-."]
_LINES: tuple[Line, ...] = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class _Panel:
    """One figure of all students.

    Attributes:
        heading: above it.
        curves: (student, split) -> its points; split is None where the figure has one value for all rows.
    """

    heading: str
    curves: Mapping[tuple[str, str | None], Points]


def sweep_picture(sweep: Mapping[str, Any]) -> bytes | None:
    """The students' fidelity against the key; None for several keys, fewer than three values, or no student."""
    keys = {key for group in sweep["groups"] for key in group["settings"]}
    panels = _panels(sweep)
    if len(keys) != 1 or len(sweep["groups"]) < 3 or not panels:
        return None
    return _drawn(sweep, keys.pop(), panels)


@picture
def _drawn(sweep: Mapping[str, Any], key: str, panels: Sequence[_Panel]) -> Figure:
    """NLL, order (rho) and detection (AUROC) of each student beside its ensemble's, against the values of a key."""
    shades = colours(dict.fromkeys(name for panel in panels for name, _ in panel.curves))
    splits = dict.fromkeys(split for panel in panels for _, split in panel.curves if split)
    lines: dict[str, Line] = {split: _LINES[place % len(_LINES)] for place, split in enumerate(splits)}
    whole = new_figure(3.6, f"What students keep, by {_word(key)}")
    for axes, panel in zip(whole.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        places = places_of(axes.xaxis, [group["settings"][key] for group in sweep["groups"]])
        for (student, split), points in panel.curves.items():
            _draw(axes, places, points, color=shades[student], linestyle=lines.get(split or "", "-"))
        axes.set_title(panel.heading)
        axes.set_xlabel(_word(key))
        axes.margins(x=0.06, y=0.12)
    _legend(whole, shades, lines)
    return whole


def _word(key: str) -> str:
    return words(key.rpartition(".")[2])


def _panels(sweep: Mapping[str, Any]) -> list[_Panel]:
    """Those that some student has figures for."""
    task = task_of(sweep)
    knowledge = task.figures.knowledge
    short = task.words.knowledge_short
    groups = sweep["groups"]
    unknown = list(dict.fromkeys(name for group in groups for name in group["figures"].get("unknown", {})))
    panels = [
        _Panel("NLL / ensemble", _curves(groups, "nll_ratio", [None])),
        _Panel(f"rho of {short}", _curves(groups, f"spearman_{knowledge}", ["test", *unknown])),
        _Panel(f"AUROC of {short} / ensemble", _curves(groups, "auroc_ratio", unknown)),
    ]
    return [panel for panel in panels if panel.curves]


def _curves(groups: Sequence[Group], name: str, splits: Sequence[str | None]) -> dict[tuple[str, str | None], Points]:
    """(student, split) -> its points, of those that have any.

    A student without its calibration is left out: it orders rows as the calibrated one does, and stands in the table.
    """
    known = {kind.kind for kind in kinds()}
    students = dict.fromkeys(each for group in groups for each in group["figures"].get("fidelity", {}) if each in known)
    wanted = {(student, split): _points(groups, student, name, split) for split in splits for student in students}
    return {place: points for place, points in wanted.items() if points}


def _points(groups: Sequence[Group], student: str, name: str, split: str | None) -> Points:
    path = ("fidelity", student, name, *([split] if split else []))
    values = [figure(group["figures"], *path, "mean") for group in groups]
    spreads = [figure(group["figures"], *path, "deviation") or 0.0 for group in groups]
    return [(place, mean, spreads[place]) for place, mean in enumerate(values) if mean is not None]


def _draw(axes: Axes, places: Sequence[float], points: Points, **look: Any) -> None:
    drawn = sorted((places[place], mean, spread) for place, mean, spread in points)
    x, means, spreads = zip(*drawn, strict=True)
    axes.errorbar(x, means, spreads if any(spreads) else None, elinewidth=0.8, marker="o", markersize=3.5, **look)


def _legend(whole: Figure, shades: Mapping[str, str], lines: Mapping[str, Line]) -> None:
    """Students by colour, rows by line."""
    entries = [Line2D([], [], color=colour, label=name) for name, colour in shades.items()]
    entries += [Line2D([], [], color=INK, linestyle=line, label=words(split)) for split, line in lines.items()]
    whole.legend(handles=entries, loc="outside lower center", ncols=min(len(entries), 6))
