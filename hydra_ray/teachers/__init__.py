"""Who answers in the members' place: somebody's models, predictions that exist already, or somebody's shards.

Each library is imported in its own module alone. No Ray here.
"""

from __future__ import annotations

from hydra_ray.config import Config
from hydra_ray.data import DataSet
from hydra_ray.teachers.arrays import ArrayTeachers
from hydra_ray.teachers.asked import AskedTeachers, Loaded, ModelFiles, batch_of
from hydra_ray.teachers.foreign_shards import ForeignShards
from hydra_ray.teachers.keys import teacher_digests
from hydra_ray.teachers.outputs import LEAST_PROBABILITY, OF_TASK, Found

__all__ = [
    "LEAST_PROBABILITY",
    "OF_TASK",
    "ArrayTeachers",
    "AskedTeachers",
    "ForeignShards",
    "Found",
    "Loaded",
    "ModelFiles",
    "Teachers",
    "batch_of",
    "teacher_digests",
    "teachers_of",
]

Teachers = AskedTeachers | ArrayTeachers | ForeignShards


def teachers_of(config: Config, data: DataSet) -> Teachers | None:
    """Who answers in the members' place; None where members are trained here."""
    teachers = config.ensemble.teachers
    members = config.ensemble.num_members
    if config.predict.shards is not None:
        return ForeignShards(config.predict.shards, members, data)
    if teachers.are_trained:
        return None
    kind = ArrayTeachers if teachers.kind == "arrays" else AskedTeachers
    return kind(teachers, members, data)
