"""Stages of so little work that starting Ray's workers for them takes longer than the work itself.

The work is counted and not measured, and of the whole stage, not of what an earlier command left of it: the same run
goes the same way every time, so its figures stay the same to the bit. Where the constants are from is in
docs/performance.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from torch import nn

from hydra_ray.config import Config, StudentKind
from hydra_ray.models import build_member, build_student, count_macs
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.training import plan_of

SMALL_SECONDS = 10.0
"""A stage of less work than this is done without workers: to start them takes about as long on two CPUs."""
_STEP_SECONDS = 1e-3  # of a training step, whatever its network
_MACS_A_SECOND = 1e10  # of one thread
_VALUE_SECONDS = 1e-7  # of a view, for each number of a row
_FILE_SECONDS = 0.02  # of a shard
_BACKWARD = 3  # a training step's multiply-adds, in those of a forward pass
_ROWS_OF_LATENCIES = 257  # evaluate measures 1 and 256


def is_small(run: Run, stage: str) -> bool:
    """Whether a whole stage is less than `SMALL_SECONDS` of work for one process without a GPU.

    Args:
        run: with GPUs decided.
        stage: its name; a search is never small, as its trials are Ray Tune's.
    """
    counted = _COUNTED.get(stage)
    return counted is not None and not run.config.cluster.has_gpu and counted(run) < SMALL_SECONDS


def is_small_to_answer(rows: int, files: int, network: nn.Module, input_shape: tuple[int, ...]) -> bool:
    """Whether one process answers so many rows in less than `SMALL_SECONDS`.

    Args:
        rows: number of them.
        files: in so many files.
        network: that answers.
        input_shape: of one stored row.
    """
    values = int(np.prod(input_shape))
    return _to_answer(rows, values, files, lambda: count_macs(network, input_shape)) < SMALL_SECONDS


def _to_answer(rows: int, values: int, files: float, macs: Callable[[], int]) -> float:
    """Seconds to read rows of so many values, answer them with so many multiply-adds each, and write files of them."""
    seconds = rows * values * _VALUE_SECONDS + files * _FILE_SECONDS
    return seconds if seconds >= SMALL_SECONDS else seconds + rows * macs() / _MACS_A_SECOND


def _members(run: Run) -> float:
    ensemble = run.config.ensemble
    if ensemble.objective is not None:
        return math.inf  # what its loss costs beside the network is not counted here
    rows = run.data.splits["train"].num_rows
    steps = ensemble.num_members * ensemble.epochs * math.ceil(rows / ensemble.batch_size)
    seconds = steps * _STEP_SECONDS
    if ensemble.augment is not None:
        seconds += ensemble.num_members * ensemble.epochs * rows * _values(run) * _VALUE_SECONDS
    if seconds >= SMALL_SECONDS:
        return seconds  # no network needs to be built to say so
    return seconds + ensemble.epochs * rows * _BACKWARD * _macs_of_ensemble(run) / _MACS_A_SECOND


def _answers(run: Run) -> float:
    config = run.config
    if config.ensemble.teachers.are_asked:
        return math.inf  # nobody knows how long somebody else's models take
    rows = sum(map(run.num_rows, run.split_names))
    files = rows / config.predict.rows_per_shard + sum(len(run.views(name)) for name in run.split_names)
    return _to_answer(rows, _values(run), files, lambda: _macs_of_ensemble(run) if config.trains_members else 0)


def _students(run: Run) -> float:
    rows = run.num_rows(TRANSFER)
    seconds = 0.0
    for kind in run.config.student_kinds:
        distill = _config_of(run, kind).distill
        epochs = distill.mean_phase_epochs + distill.epochs
        seconds += epochs * math.ceil(rows / distill.batch_size) * _STEP_SECONDS
        if seconds < SMALL_SECONDS:
            seconds += epochs * rows * _BACKWARD * _macs_of_student(run, kind) / _MACS_A_SECOND
    return seconds


def _report(run: Run) -> float:
    config = run.config
    if config.evaluate.attacks is not None or config.ensemble.teachers.are_asked:
        return math.inf
    rows = sum(map(run.num_rows, run.split_names)) - run.num_rows(TRANSFER)
    students = sum(_macs_of_student(run, kind) for kind in config.student_kinds)
    members = _macs_of_ensemble(run) if config.trains_members else 0
    timed = _ROWS_OF_LATENCIES * config.evaluate.latency_repeats
    return (rows * students + timed * (students + members)) / _MACS_A_SECOND


_COUNTED: dict[str, Callable[[Run], float]] = {
    "train_ensemble": _members,
    "predict": _answers,
    "distill": _students,
    "evaluate": _report,
}


def _config_of(run: Run, kind: StudentKind) -> Config:
    """What a student is trained with; of a plan whose search is still to come, what the recipe says."""
    is_searched = run.config.distill.use_best_trial and kind in run.searched_kinds
    return run.config if is_searched and not run.search(kind).is_done else run.tuned(kind)


def _values(run: Run) -> int:
    """Numbers of one row."""
    return int(np.prod(run.data.input_shape))


def _macs_of_ensemble(run: Run) -> int:
    """Multiply-adds of one row by all members."""
    total = 0
    for place, group in enumerate(run.config.ensemble.groups):
        spec = run.group_spec(place)
        total += group.count * count_macs(build_member(spec, THROWN_AWAY), spec.input_shape)
    return total


def _macs_of_student(run: Run, kind: StudentKind) -> int:
    """Multiply-adds of one row by a student."""
    config = _config_of(run, kind)
    plan = plan_of(
        config,
        run.task,
        kind,
        num_members=len(config.members_to_distil),
        input_shape=run.data.input_shape,
        num_outputs=run.data.num_outputs,
        categories=run.data.categories,
    )
    return count_macs(build_student(plan.spec, THROWN_AWAY), plan.spec.input_shape)
