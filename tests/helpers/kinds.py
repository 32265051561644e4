"""Kinds of students without a run: keys of `distill` and of the kind's own, side by side."""

from typing import Any

from hydra_ray.config.sections import DistillConfig
from hydra_ray.config.students import STUDENTS
from hydra_ray.tasks import Task
from hydra_ray.training.kinds import Kind, kind_named


def split_keys(kind: str, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of `distill`, and those of the kind's own section."""
    own = STUDENTS[kind].own_keys()
    shared = {key: value for key, value in settings.items() if key not in own}
    return shared, {key: value for key, value in settings.items() if key in own}


def kind_of(task: Task, kind: str, num_members: int, **settings: Any) -> Kind:
    """A kind that learns a task from so many members."""
    shared, own = split_keys(kind, settings)
    return kind_named(kind)(task, STUDENTS[kind](kind=kind, **own), DistillConfig(**shared), num_members)
