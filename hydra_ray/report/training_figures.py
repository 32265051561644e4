"""Pictures of how the networks were trained: validation NLL and loss by epoch.

Not here: anything about the finished predictors, and the search (`search_figures.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import DASH, decimal
from hydra_ray.report.inputs import ReportInputs, predictors
from hydra_ray.report.style import INK, QUIET, colours, log_axis, new_figure, picture, spans

Curves = dict[str, list[Mapping[str, Any]]]


def training_curves(epochs: Sequence[Mapping[str, Any]], owner: str) -> Curves:
    """Whose ("3", "hydra") -> its epoch events in order; of an epoch that was done twice, the later one.

    Args:
        epochs: all epoch events.
        owner: the key that says whose an event is: `member` or `student`.
    """
    latest: dict[str, dict[int, Mapping[str, Any]]] = {}
    for event in epochs:
        if event.get(owner) is not None:
            latest.setdefault(str(event[owner]), {})[int(event["epoch"])] = event
    return {name: [events[epoch] for epoch in sorted(events)] for name, events in latest.items()}


@picture
def training_picture(inputs: ReportInputs) -> Figure:
    """Validation NLL above, loss below; members as thin lines, students bold."""
    members, students = (training_curves(inputs.epochs, owner) for owner in ("member", "student"))
    whole = new_figure(5.0, _training_title(members, students))
    above, below = whole.subfigures(2, 1, squeeze=False)[:, 0]
    groups = [curves for curves in (members, students) if curves]
    upper = above.subplots(1, len(groups), squeeze=False, sharey=True)[0]
    lower = below.subplots(1, bool(members) + len(students), squeeze=False)[0]
    for axes, curves in zip(upper, groups, strict=True):
        _draw_curves(axes, inputs, curves, "validation_nll")
    upper[0].set_ylabel("validation NLL (nats)")
    lower[0].set_ylabel("training loss (nats)")
    singles = ([members] if members else []) + [{name: events} for name, events in students.items()]
    for axes, curves in zip(lower, singles, strict=True):
        _draw_curves(axes, inputs, curves, "loss")
    _same_scale(upper, inputs.epochs, "validation_nll")
    _same_scale(lower, inputs.epochs, "loss")
    for axes in (*upper, *lower):
        axes.set_xlabel("epoch")
    return whole


def _training_title(members: Curves, students: Curves) -> str:
    parts = [f"members {_last_nll(members)}"] if members else []
    if len(students) < 4:
        parts += [f"{name} {_last_nll({name: events})}" for name, events in students.items()]
    else:
        parts.append(f"students {_last_nll(students)}")
    return "Validation NLL at the end of training: " + ", ".join(parts)


def _last_nll(curves: Curves) -> str:
    """Of all curves' last epochs: 0.084, or 0.084 to 0.091."""
    ends = [figure(events[-1], "validation_nll") for events in curves.values()]
    known = [value for value in ends if value is not None]
    texts = [decimal(value, 3) for value in (min(known), max(known))] if known else [DASH]
    return " to ".join(dict.fromkeys(texts))


def _draw_curves(axes: Axes, inputs: ReportInputs, curves: Curves, key: str) -> None:
    names = predictors(inputs.metrics)
    colour = colours([*names, *(name for name in curves if name not in names and not name.isdigit())])
    for name, events in curves.items():
        known = [(event["epoch"], value) for event in events if (value := figure(event, key)) is not None]
        epochs = [epoch for epoch, _ in known]
        values = [value for _, value in known]
        if name in colour:
            axes.plot(epochs, values, color=colour[name], linewidth=2, label=name)
        else:
            axes.plot(epochs, values, color=QUIET, linewidth=0.7, alpha=0.8)
    _mark_phases(axes, curves, colour.get(next(iter(curves)), INK) if len(curves) == 1 else INK)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _title_curves(axes, list(curves))


def _same_scale(panels: Sequence[Axes], epochs: Sequence[Mapping[str, Any]], key: str) -> None:
    """All panels logarithmic or none, by the values of all."""
    values = [value for event in epochs if (value := figure(event, key)) is not None]
    for axes in panels:
        if spans(values, 8):
            log_axis(axes.yaxis, *axes.dataLim.intervaly)


def _title_curves(axes: Axes, names: list[str]) -> None:
    if names[0].isdigit():
        axes.set_title(f"{len(names)} members")
    elif len(names) == 1:
        axes.set_title(names[0])
    else:
        axes.set_title("students")
        axes.legend(loc="upper right")


def _mark_phases(axes: Axes, curves: Curves, colour: str) -> None:
    """A dotted line where one phase ends and the next begins; one for all curves that change there."""
    changes = {
        ((before["epoch"] + after["epoch"]) / 2, after["phase"])
        for events in curves.values()
        for before, after in pairwise(events)
        if "phase" in after and before.get("phase") != after["phase"]
    }
    for at, phase in sorted(changes):
        axes.axvline(at, color=colour, linewidth=1, linestyle=(0, (1, 1.5)))
        where = axes.get_xaxis_transform()
        axes.text(at, 0.02, f" {phase}", transform=where, color=colour, fontsize=8, va="bottom")
