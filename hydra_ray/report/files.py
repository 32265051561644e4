"""The report's files: metrics.json, report.md, report.html and the pictures, from evidence. Nothing is written here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from hydra_ray.report.figures import draw_pictures
from hydra_ray.report.inputs import Evidence
from hydra_ray.report.page import write_html, write_markdown


def make_report(evidence: Evidence) -> dict[str, bytes]:
    """The report's files: name -> content of metrics.json, report.md, report.html and every picture (*.png).

    Figures that are not finite are null in metrics.json, which has no other word for them.
    """
    pictures = draw_pictures(evidence)
    return {
        "metrics.json": (json.dumps(_to_json(evidence.metrics), indent=2, allow_nan=False) + "\n").encode(),
        "report.md": write_markdown(evidence).encode(),
        "report.html": write_html(evidence, pictures).encode(),
        **pictures,
    }


def _to_json(value: Any) -> Any:
    """Figures of numpy as plain ones, what is not finite as None."""
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, Real) and not isinstance(value, (bool, Integral)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value
