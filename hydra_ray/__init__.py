"""Distil an ensemble into one network that keeps its predictions and its disagreement.

    student = hydra_ray.load_student("runs/digits/students/hydra")
    answer = student.predict(images)

What is listed here is promised to stay; everything below it may change. Importing this package imports neither torch
nor ray: what a name needs is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra_ray.cluster.api import run
    from hydra_ray.config import Config
    from hydra_ray.inference import Prediction, Student, load_student
    from hydra_ray.inference.from_arrays import distill
    from hydra_ray.shards.by_hand import verify_shards, write_shards

__all__ = [
    "Config",
    "Prediction",
    "Student",
    "distill",
    "load_student",
    "run",
    "verify_shards",
    "write_shards",
]

_HOMES = {
    "Config": "hydra_ray.config",
    "Prediction": "hydra_ray.inference",
    "Student": "hydra_ray.inference",
    "distill": "hydra_ray.inference.from_arrays",
    "load_student": "hydra_ray.inference",
    "run": "hydra_ray.cluster.api",
    "verify_shards": "hydra_ray.shards.by_hand",
    "write_shards": "hydra_ray.shards.by_hand",
}


def __getattr__(name: str) -> Any:
    """Import a name of the front door when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module 'hydra_ray' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """For completion in a notebook."""
    return sorted([*globals(), *__all__])
