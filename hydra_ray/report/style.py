"""One look for all pictures: size, type, and a colour for every predictor.

Only what pictures share. Figures are drawn by Agg without pyplot, in matplotlib's own font, so that the same
inputs give the same bytes on every machine.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from hydra_ray.report.formats import setting
from hydra_ray.training import kinds

WIDTH = 8.0
"""Inches of every picture: page width."""
_TITLE_LETTERS = 92
_FEW_VALUES = 6
DPI = 160
"""Dots per inch."""
INK = "#333333"
QUIET = "#8a8a8a"
TEST_GREY = "#b9bcc1"

COLOURS = {
    "member": "#8a8a8a",
    "ensemble": "#333333",
    **{kind.kind: kind.colour for kind in kinds()},
}
"""Told apart with any colour vision, and in print by lightness."""
_OTHERS = ("#56b4e9", "#7a4fa3", "#a6761d", "#999933")

_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#ececec",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.titlesize": 11,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")


def picture(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """A function that draws a figure as one that returns its PNG, in the common style whatever the user's."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with style.context(["default", _STYLE]):
            return _to_png(draw(*args, **kwargs))

    return drawn


def new_figure(height: float, title: str, *, compressed: bool = False) -> Figure:
    """An empty figure of page width, `height` inches, with its title at the left.

    `compressed` brings panels of a fixed shape together.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="compressed" if compressed else "constrained")
    figure.suptitle(textwrap.fill(title, _TITLE_LETTERS), x=0.012, ha="left")
    return figure


def colours(predictors: Iterable[str]) -> dict[str, str]:
    """Predictor -> colour; the same in all pictures and in the page's tables."""
    names = list(predictors)
    others = [name for name in names if name not in COLOURS]
    spare = {name: _OTHERS[index % len(_OTHERS)] for index, name in enumerate(others)}
    return {name: COLOURS.get(name) or spare[name] for name in names}


def tint(colour: str) -> LinearSegmentedColormap:
    """A colour map from nearly white to `colour`."""
    return LinearSegmentedColormap.from_list(f"tint {colour}", ["#e3e9ee", colour])


def note(axes: Axes, text: str, *, at: tuple[float, float] = (0.04, 0.95)) -> None:
    """Text inside a panel; `at` is in shares of the panel, its nearer corner the text's."""
    horizontal = "left" if at[0] < 0.5 else "right"
    vertical = "bottom" if at[1] < 0.5 else "top"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1.5}
    axes.text(*at, text, transform=axes.transAxes, ha=horizontal, va=vertical, fontsize=8.5, bbox=box)


def log_axis(axis: Axis, low: float, high: float) -> None:
    """Make an axis logarithmic, labelled with plain numbers that suit data from `low` to `high`."""
    set_scale = axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale
    set_scale("log")
    subs = (1.0, 2.0, 5.0) if high < 20 * low else (1.0, 3.0) if high < 200 * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(plain_numbers())
    axis.set_minor_locator(NullLocator())


def spans(values: Sequence[float], ratio: float) -> bool:
    """Whether positive values span more than `ratio`."""
    return bool(values) and min(values) > 0 and max(values) > ratio * min(values)


def places_of(axis: Axis, values: list[Any]) -> list[float]:
    """Where values stand on an axis, which gets its ticks: numbers at themselves, anything else side by side."""
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        log_where_wide(axis, values, 7)
        if len(set(values)) <= _FEW_VALUES:
            axis.set_ticks(sorted(set(values)))
        return [float(value) for value in values]
    names = list(dict.fromkeys(setting(value) for value in values))
    axis.set_ticks(range(len(names)), names)
    return [float(names.index(setting(value))) for value in values]


def log_where_wide(axis: Axis, values: Sequence[float], ratio: float) -> None:
    """A logarithmic axis where positive values span more than `ratio`; plain numbers either way."""
    if spans(values, ratio):
        log_axis(axis, min(values), max(values))
    else:
        axis.set_major_formatter(plain_numbers())


def plain_numbers() -> FuncFormatter:
    """Tick labels such as 0.05, 2 and 1e-05."""
    return FuncFormatter(lambda value, _: f"{value:g}")


def percent_ticks() -> FuncFormatter:
    """Tick labels of shares: 2.5 %, 10 %."""
    return FuncFormatter(lambda value, _: f"{100 * value:.4g} %")


def _to_png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
