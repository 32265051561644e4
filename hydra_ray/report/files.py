"""The report's files as bytes: metrics.json, report.md, report.html and the pictures. Nothing is written here."""

from __future__ import annotations

import json

from hydra_ray.report.figures import draw_pictures
from hydra_ray.report.inputs import ReportInputs
from hydra_ray.report.page import write_html, write_markdown
from hydra_ray.storage import as_json


def make_report(inputs: ReportInputs) -> dict[str, bytes]:
    """The report's files: name -> content of metrics.json, report.md, report.html and every picture (*.png).

    Figures that are not finite are null in metrics.json, which has no other word for them.
    """
    pictures = draw_pictures(inputs)
    return {
        "metrics.json": (json.dumps(as_json(inputs.metrics), indent=2, allow_nan=False) + "\n").encode(),
        "report.md": write_markdown(inputs).encode(),
        "report.html": write_html(inputs, pictures).encode(),
        **pictures,
    }
