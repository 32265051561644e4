"""The plan of a run: which stages are done, and what would run and why. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hydra_ray.runs.preflight import check_shards
from hydra_ray.runs.run import Run
from hydra_ray.runs.stages import STAGES, StageSpec

State = Literal["done", "to do", "waits", "off"]


@dataclass(frozen=True)
class StageState:
    """The state of one stage; `detail` says how many results are done and why others are redone."""

    name: str
    state: State
    detail: str


def stage_states(run: Run) -> list[StageState]:
    """The state of every stage, in order; a stage after one that is not done waits for it.

    Raises:
        UserError: the run folder could not be made, or something published in it is damaged.
    """
    run.folder.check_place("storage")
    states: list[StageState] = []
    for stage in STAGES.values():
        waits_for = next((each.name for each in states if each.state in ("to do", "waits")), None)
        states.append(_waiting(run, stage, waits_for) if waits_for else stage_state(run, stage))
    return states


def stage_state(run: Run, stage: StageSpec) -> StageState:
    """The state of a stage whose inputs are done.

    Raises:
        UserError: something published is damaged, or the shards it would train on are not those it needs.
    """
    switched_off = _switched_off(run, stage)
    if switched_off is not None:
        return switched_off
    artifacts = stage.artifacts(run)
    missing = [artifact for artifact in artifacts if not artifact.is_done]
    if missing:
        check_shards(run, run.splits_students_read if stage.trains_on_shards else ())
    stale = [artifact for artifact in missing if artifact.manifest() is not None]
    detail = f"{len(artifacts) - len(missing)}/{len(artifacts)} {stage.unit} done"
    detail += stage.remark(run)
    if stale:
        changes = "; ".join(_shortened(change) for change in stale[0].changes()[:2])
        detail += f", {len(stale)} redone because {changes}"
    return StageState(stage.name, "to do" if missing else "done", detail)


def _waiting(run: Run, stage: StageSpec, waits_for: str) -> StageState:
    return _switched_off(run, stage) or StageState(stage.name, "waits", f"after {waits_for}")


def _switched_off(run: Run, stage: StageSpec) -> StageState | None:
    """The state of a stage that the configuration switches off; None for any other."""
    why = stage.off(run.config)
    return None if why is None else StageState(stage.name, "off", why)


def _shortened(text: str) -> str:
    return text if len(text) <= 90 else text[:87] + "..."
