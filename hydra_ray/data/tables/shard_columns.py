"""Shards as a data set: which tables are shards, and the classes that the places of their `logits` stand for.

Whoever wrote them, the numbers in `label` are places along the last axis of `logits`, so no class is left out or moved.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from hydra_ray.data.tables.column_types import is_tensor

LABEL = "label"
PREDICTIONS = ("logits", "probabilities")
"""The column that holds what members say, one or the other."""
_KEY = b"hydra_ray"
"""In the footers of our own shards."""
_MEANT = ("input", LABEL)
"""The columns of shards that are inputs and labels."""


def is_shards(schema: pa.Schema) -> bool:
    """Whether a table's columns have the fixed meanings of shards (docs/shards.md)."""
    return _KEY in (schema.metadata or {}) or (are_of_shards(schema.names) and is_tensor(schema.field("input").type))


def are_of_shards(names: Sequence[str]) -> bool:
    """Whether column names are those of shards."""
    return {"row_id", "input"} <= set(names) and any(name in names for name in PREDICTIONS)


def is_meant(name: str) -> bool:
    """Whether a column of shards is inputs or labels."""
    return name in _MEANT


def class_names_of(schema: pa.Schema) -> tuple[str, ...] | None:
    """Names of the classes in order: those of the footer, else numbers; None where the shape of predictions is open."""
    try:
        names = json.loads((schema.metadata or {}).get(_KEY, b"{}")).get("class_names")
    except (ValueError, AttributeError):
        names = None
    if isinstance(names, list) and names:
        return tuple(map(str, names))
    column = next((name for name in PREDICTIONS if name in schema.names), None)
    if column is None:
        return None
    kind: Any = schema.field(column).type
    shape = getattr(kind, "shape", None)
    return tuple(map(str, range(shape[-1]))) if shape and math.prod(shape) else None
