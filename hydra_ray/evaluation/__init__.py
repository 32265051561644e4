"""From answers to metrics.json: ensemble, single member and students on the same rows.

Runs no network itself, but where it is attacked.
"""

from hydra_ray.evaluation.attacks import (
    AttackedRows,
    answered_right,
    mean_gradient_cosine,
    member_name,
    predictors_of,
    right_under_attack,
)
from hydra_ray.evaluation.claims import all_of, difference, interval, share, verdict
from hydra_ray.evaluation.input_grid import Plane, grid_points, grid_ticks, shown_rows
from hydra_ray.evaluation.metrics_json import ENSEMBLE, MEMBER, Answers, StudentVersion, metrics_of, row_scores
from hydra_ray.evaluation.metrics_tree import figure, figures
from hydra_ray.evaluation.robustness import UnderAttack
from hydra_ray.evaluation.view_diversity import merged

__all__ = [
    "ENSEMBLE",
    "MEMBER",
    "Answers",
    "AttackedRows",
    "Plane",
    "StudentVersion",
    "UnderAttack",
    "all_of",
    "answered_right",
    "difference",
    "figure",
    "figures",
    "grid_points",
    "grid_ticks",
    "interval",
    "mean_gradient_cosine",
    "member_name",
    "merged",
    "metrics_of",
    "predictors_of",
    "right_under_attack",
    "row_scores",
    "share",
    "shown_rows",
    "verdict",
]
