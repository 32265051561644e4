"""What a run has done and what it would do: the states of its stages, and what they cost. Starts nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from hydra_ray.config import Config
from hydra_ray.runs.preflight import check_shards
from hydra_ray.runs.run import STAGES, TRANSFER, Run
from hydra_ray.storage import Artifact

State = Literal["done", "to do", "waits", "off"]
_ROW_OVERHEAD = 20  # bytes of row_id, view and label


@dataclass(frozen=True)
class StageState:
    """One stage: its state, and in words what is there, what would run and why."""

    name: str
    state: State
    detail: str


def stage_states(run: Run) -> list[StageState]:
    """Every stage in order; what depends on a stage that is not done waits for it.

    Raises:
        UserError: the run folder could not be made, or something published in it is damaged.
    """
    run.folder.check_place("storage")
    states: list[StageState] = []
    for name in STAGES:
        waits_for = [state.name for state in states if state.state in ("to do", "waits")]
        states.append(_waiting(run, name, waits_for) if waits_for else stage_state(run, name))
    return states


def stage_state(run: Run, name: str) -> StageState:
    """One stage whose inputs are done.

    Raises:
        UserError: something published is damaged, or the shards it would learn from are not those it needs.
    """
    if name == "tune" and not run.config.tune.num_trials:
        return StageState(name, "off", "tune.num_trials=0")
    artifacts = artifacts_of(run, name)
    missing = [artifact for artifact in artifacts if not artifact.is_done]
    if missing and name in ("tune", "distill"):
        check_shards(run)
    stale = [artifact for artifact in missing if artifact.manifest() is not None]
    detail = f"{len(artifacts) - len(missing)}/{len(artifacts)} {_UNITS[name]} done"
    if stale:
        changes = "; ".join(_shortened(change) for change in stale[0].changes()[:2])
        detail += f", {len(stale)} redone because {changes}"
    return StageState(name, "to do" if missing else "done", detail)


def artifacts_of(run: Run, name: str) -> list[Artifact]:
    """The results of a stage."""
    if name == "train_ensemble":
        return run.members()
    if name == "predict":
        return [run.shards(split) for split in run.split_names]
    if name == "tune":
        return [run.search(kind) for kind in run.searched_kinds]
    if name == "distill":
        return [run.student(kind) for kind in run.config.student_kinds]
    return [run.report()]


_UNITS = {
    "train_ensemble": "members",
    "predict": "splits",
    "tune": "searches",
    "distill": "students",
    "evaluate": "reports",
}


def costs(run: Run) -> dict[str, str]:
    """What each stage costs when all of it has to be done, in words."""
    config, data = run.config, run.data
    members, trials, students = config.ensemble.num_members, config.tune.num_trials, len(config.student_kinds)
    train = data.splits["train"].num_rows
    rows = {name: sum(len(run.rows_of_view(name, view)) for view in run.views(name)) for name in run.split_names}
    transfer = rows.pop(TRANSFER)
    others = sum(rows.values())
    epochs = students * (config.distill.mean_phase_epochs + config.distill.epochs)
    searched = len(run.searched_kinds)
    trial_epochs = (
        searched * trials * (config.distill.mean_phase_epochs + (config.tune.epochs or config.distill.epochs))
    )
    shards = readable_bytes((transfer + others) * row_bytes(config, run))
    return {
        "train_ensemble": f"{members * config.ensemble.epochs:,} member-epochs of {train:,} rows",
        "predict": f"{transfer + others:,} rows x {members} members, up to {shards} of shards",
        "tune": f"{trials} trials of {searched} kinds, {trial_epochs:,} epochs of {transfer:,} rows at most",
        "distill": f"{students} students, {epochs:,} epochs of {transfer:,} rows",
        "evaluate": f"{others:,} rows x {students} students",
    }


def row_bytes(config: Config, run: Run) -> int:
    """Bytes of one row of the shards before compression."""
    split = run.data.splits["train"].source
    inputs = int(np.prod(split.input_shape)) * np.dtype(split.dtype).itemsize
    logits = config.ensemble.num_members * run.data.num_outputs * np.dtype(run.shard_dtype).itemsize
    return inputs + logits + _ROW_OVERHEAD


def readable_bytes(number: float) -> str:
    """12.3 MB and the like."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:  # what rounds to 1000 is one of the next unit
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def _waiting(run: Run, name: str, waits_for: list[str]) -> StageState:
    if name == "tune" and not run.config.tune.num_trials:
        return StageState(name, "off", "tune.num_trials=0")
    return StageState(name, "waits", f"after {waits_for[0]}")


def _shortened(text: str) -> str:
    return text if len(text) <= 90 else text[:87] + "..."
