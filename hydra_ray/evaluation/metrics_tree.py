"""Reading metrics.json: one figure by its path, or all of them in order. What is not finite counts as absent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any


def figure(tree: Mapping[str, Any], *path: str) -> float | None:
    """The number at `path`; None where it is absent, None or not finite."""
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, Real) and math.isfinite(value) else None


def figures(tree: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """Every (path, number or None) below `tree`, in order; what is neither is left out."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from (((name, *path), number) for path, number in figures(value))
        elif value is None or isinstance(value, Real):
            yield (name,), figure(tree, name)
