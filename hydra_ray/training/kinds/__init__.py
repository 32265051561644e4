"""Kinds of students, one module each, found by its name.

A kind's keys are in `config/students.py`; here is how it learns, what its outputs say and its look in a report.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from hydra_ray.config import STUDENTS, StudentKind
from hydra_ray.training.kinds.base import Kind, Phase

__all__ = ["Kind", "Phase", "kind_named", "kinds"]


def kind_named(name: StudentKind) -> type[Kind[Any]]:
    """The kind of a name of `students`."""
    return import_module(f"{__name__}.{name}").KIND


def kinds() -> list[type[Kind[Any]]]:
    """All kinds, in the order in which reports list them."""
    return [kind_named(name) for name in STUDENTS]
