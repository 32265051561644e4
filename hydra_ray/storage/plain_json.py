"""Values as JSON has them: what stands in files that others read holds neither numpy's types nor NaN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def as_json(value: Any) -> Any:
    """A value in JSON's types: numpy's and torch's as plain ones, tuples as lists, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): as_json(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_json(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return as_json(value.tolist()) if hasattr(value, "tolist") else str(value)
