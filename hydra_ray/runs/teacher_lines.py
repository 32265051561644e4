"""Who answers in the members' place, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_ray.data import shortened
from hydra_ray.runs.suitable_views import has_fixed_rows
from hydra_ray.teachers import LEAST_PROBABILITY

if TYPE_CHECKING:
    from hydra_ray.runs.run import Run


def teacher_lines(run: Run) -> list[str]:
    """Who answers in the members' place, one line each; none where members are trained here."""
    config = run.config
    if config.trains_members:
        return []
    members = config.ensemble.num_members
    if config.predict.shards is not None:
        return [f"{members} members' predictions are read from {config.predict.shards}; no views are asked about"]
    teachers = config.ensemble.teachers
    who = teachers.function or shortened(teachers.files, most=3) or "predictions in files"
    lines = [f"{members} members of kind {teachers.kind}: {who}"]
    if teachers.outputs in ("probabilities", None) and run.data.task == "classification":
        where = "" if teachers.outputs else ", where they say probabilities and not logits"
        lines.append(f"probabilities below {LEAST_PROBABILITY:g} count as that{where}")
    if has_fixed_rows(config):
        lines.append(
            "no views are asked about: on training rows members agree, and students keep little of their "
            "disagreement (hydra-ray write-transfer writes views to be answered)"
        )
    return lines
