"""A picture of teams: the diversity of each on validation rows, and how well it predicts test rows."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hydra_ray.evaluation.teams import MEASURES, best_team
from hydra_ray.report.style import new_figure, note, percent_ticks, picture
from hydra_ray.report.team_tables import ScoredTeams, as_rho, heading_of, rho_with_accuracy

_NUM_COLUMNS = 3
_TEAM = "#0072b2"
_CHOSEN = "#d55e00"
_EVERYBODY = "#333333"


@picture
def teams_picture(scored: ScoredTeams) -> Figure:
    """Test accuracy against each measure on all validation rows, and against its focal form, one panel each."""
    criteria = [*MEASURES, *(f"focal_{name}" for name in MEASURES)]
    num_lines = len(criteria) // _NUM_COLUMNS
    whole = new_figure(0.8 + 1.9 * num_lines, f"Teams of {scored.size}: who is diverse, and who is right")
    grid = whole.subplots(num_lines, _NUM_COLUMNS, sharey=True)
    for axes, criterion in zip(grid.flat, criteria, strict=True):
        _draw(axes, scored, criterion)
    for axes in grid[:, 0]:
        axes.set_ylabel("test accuracy")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    whole.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return whole


def _draw(axes: Axes, scored: ScoredTeams, criterion: str) -> None:
    x_T = scored.validation[criterion].numpy()
    y_T = scored.test["accuracy"].numpy()
    alpha = float(np.clip(40 / len(x_T), 0.05, 0.7))
    axes.scatter(x_T, y_T, s=10, color=_TEAM, alpha=alpha, linewidths=0)
    axes.scatter([], [], s=10, color=_TEAM, label="team")
    best = best_team(scored.validation, criterion)
    axes.scatter(
        x_T[best], y_T[best], s=70, facecolors="none", edgecolors=_CHOSEN, linewidths=1.6, label="most diverse"
    )
    axes.axhline(
        scored.everybody["accuracy"], color=_EVERYBODY, linewidth=1, linestyle=(0, (4, 3)), label="all members"
    )
    note(axes, f"rho {as_rho(rho_with_accuracy(scored, criterion))}", at=(0.04, 0.05))
    sign = MEASURES[criterion.removeprefix("focal_")].sign
    axes.set_xlabel(f"{heading_of(criterion)}\n({'more' if sign > 0 else 'less'} is more diverse)")
    axes.yaxis.set_major_formatter(percent_ticks())
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.2)
