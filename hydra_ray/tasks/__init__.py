"""Classification and regression, the one seam between them.

Everybody else holds a `Task` and never asks which it is.
"""

from hydra_ray.tasks.base import MemberLoss, Prediction, Task
from hydra_ray.tasks.named import task_named

__all__ = [
    "MemberLoss",
    "Prediction",
    "Task",
    "task_named",
]
