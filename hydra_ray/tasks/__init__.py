"""Classification and regression as objects of one interface; which one a run is, its data set says."""

from __future__ import annotations

from hydra_ray.data.rows import Task as TaskName
from hydra_ray.tasks.base import Prediction, Task
from hydra_ray.tasks.classification import Classification
from hydra_ray.tasks.regression import Regression

__all__ = ["CLASSIFICATION", "REGRESSION", "Prediction", "Task", "task_named"]

CLASSIFICATION, REGRESSION = Classification(), Regression()


def task_named(name: TaskName) -> Task:
    """The task that `DataSet.task` names."""
    return REGRESSION if name == "regression" else CLASSIFICATION
