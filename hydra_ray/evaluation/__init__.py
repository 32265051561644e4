"""From answers to metrics.json: ensemble, single member and students on the same rows.

Runs no network itself.
"""

from hydra_ray.evaluation.claims import all_of, difference, interval, share, verdict
from hydra_ray.evaluation.input_grid import Plane, grid_points, grid_ticks, shown_rows
from hydra_ray.evaluation.metrics_json import ENSEMBLE, MEMBER, Answers, StudentVersion, metrics_of, row_scores
from hydra_ray.evaluation.metrics_tree import figure, figures
from hydra_ray.evaluation.view_diversity import merged

__all__ = [
    "ENSEMBLE",
    "MEMBER",
    "Answers",
    "Plane",
    "StudentVersion",
    "all_of",
    "difference",
    "figure",
    "figures",
    "grid_points",
    "grid_ticks",
    "interval",
    "merged",
    "metrics_of",
    "row_scores",
    "share",
    "shown_rows",
    "verdict",
]
