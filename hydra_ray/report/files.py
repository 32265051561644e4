"""The report's files: metrics.json, report.md, report.html and the pictures, from inputs. Nothing is written here."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any

from hydra_ray.report.figures import draw_pictures
from hydra_ray.report.inputs import ReportInputs
from hydra_ray.report.page import write_html, write_markdown


def make_report(inputs: ReportInputs) -> dict[str, bytes]:
    """The report's files: name -> content of metrics.json, report.md, report.html and every picture (*.png).

    Figures that are not finite are null in metrics.json, which has no other word for them.
    """
    pictures = draw_pictures(inputs)
    return {
        "metrics.json": (json.dumps(_to_json(inputs.metrics), indent=2, allow_nan=False) + "\n").encode(),
        "report.md": write_markdown(inputs).encode(),
        "report.html": write_html(inputs, pictures).encode(),
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
