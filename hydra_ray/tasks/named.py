"""The two tasks, and which of them a data set has. Everybody else holds a `Task` and asks no further."""

from __future__ import annotations

from hydra_ray.data import TaskName
from hydra_ray.tasks.base import Task
from hydra_ray.tasks.classification import Classification
from hydra_ray.tasks.regression import Regression

CLASSIFICATION, REGRESSION = Classification(), Regression()


def task_named(name: TaskName) -> Task:
    """The task that `DataSet.task` names."""
    return REGRESSION if name == "regression" else CLASSIFICATION
