"""Everybody's answers on a grid over the inputs, for data of one or two features: what its picture is drawn from.

Part of the stage evaluate. Members and students are asked in Ray tasks; the grid and what is kept are in
`hydra_ray/evaluation/input_grid.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from hydra_ray.cluster.place_of_work import submit
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config
from hydra_ray.evaluation import ENSEMBLE, Plane, grid_points, grid_ticks, shown_rows
from hydra_ray.models import Ensemble, HydraStudent, Member
from hydra_ray.runs import Run, load_published
from hydra_ray.storage import Artifact
from hydra_ray.tasks import Prediction
from hydra_ray.training import predict

_LARGEST = 2


def has_plane(run: Run) -> bool:
    """Whether inputs are so few features, all of them numbers, that they can be drawn, and there are members to ask."""
    shape = run.data.input_shape
    return run.teachers is None and not run.data.categories and len(shape) == 1 and shape[0] <= _LARGEST


def ask_grid(run: Run, config: Config) -> dict[str, np.ndarray]:
    """Outputs [G, K, C] of the ensemble and of each student on the points of the grid."""
    points = grid_points(_ticks(run))
    artifacts = {ENSEMBLE: run.members()} | {kind: [run.student(kind)] for kind in config.student_kinds}
    pending = {name: submit(_ask, config.cluster, found, points, config) for name, found in artifacts.items()}
    return {name: answer() for name, answer in pending.items()}


def plane_of(run: Run, predictions: Mapping[str, Prediction]) -> Plane:
    """What is drawn.

    Args:
        run: whose data set.
        predictions: predictor -> its prediction on the points of the grid.
    """
    train = run.data.splits["train"]
    rows_ND, labels_N = shown_rows(train.read_all())
    names = train.source.feature_names or tuple(f"feature {place}" for place in range(rows_ND.shape[1]))
    return Plane(
        names=names,
        class_names=run.data.class_names,
        ticks=_ticks(run),
        rows_ND=rows_ND,
        labels_N=labels_N,
        scores={name: run.task.figures.row_scores(found, None) for name, found in predictions.items()},
        answers={name: run.task.figures.grid_answers(found) for name, found in predictions.items()},
    )


def _ticks(run: Run) -> tuple[np.ndarray, ...]:
    features = run.features
    assert features is not None, "asked before"
    return grid_ticks(features.low.numpy(), features.high.numpy())


def _ask(artifacts: Sequence[Artifact], points: np.ndarray, config: Config) -> np.ndarray:
    device = set_up_worker(config.cluster)
    models = [load_published(artifact, device) for artifact in artifacts]
    if isinstance(models[0], HydraStudent):
        return predict(models[0], points).numpy()
    ensemble = Ensemble([model for model in models if isinstance(model, Member)])
    batches = torch.from_numpy(points).to(device).split(4096)
    return torch.cat([ensemble(batch).float().cpu() for batch in batches]).numpy()
