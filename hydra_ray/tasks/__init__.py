"""Classification and regression, the one seam between them.

Everybody else holds a `Task`, asks its likelihood, figures and words, and never compares its name.
"""

from hydra_ray.data import TaskName
from hydra_ray.tasks.base import Likelihood, MemberLoss, Prediction, Softening, Task, TaskFigures, TaskWords
from hydra_ray.tasks.classification import CLASSIFICATION
from hydra_ray.tasks.regression import REGRESSION

__all__ = [
    "CLASSIFICATION",
    "REGRESSION",
    "Likelihood",
    "MemberLoss",
    "Prediction",
    "Softening",
    "Task",
    "TaskFigures",
    "TaskWords",
    "task_named",
]

_TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION)}


def task_named(name: TaskName) -> Task:
    """The task that `DataSet.task` names."""
    return _TASKS[name]
