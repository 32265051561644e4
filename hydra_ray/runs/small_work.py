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
from hydra_ray.models import HydraStudent, Member, build_member, build_student, count_macs
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.training import plan_of

SMALL_SECONDS = 20.0
"""A stage of less work than this is done without workers: two of them start in ten seconds and halve the rest."""
_STEP_SECONDS = 1e-3  # of a training step, whatever its network
_TENSOR_SECONDS = 2e-4  # more for each tensor of weights
_MACS_A_SECOND = 1e10  # of one thread
_VALUE_SECONDS = 1e-7  # of a view, for each number of a row
_FILE_SECONDS = 0.02  # of a shard
_OUTPUT_SECONDS = 5e-8  # of a student's loss, for each number that its heads say of a row
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


def _members(run: Run) -> float:
    ensemble = run.config.ensemble
    if ensemble.objective_of_groups is not None:
        return math.inf  # what its loss costs beside the network is not counted here
    rows = run.data.splits["train"].num_rows
    at_least = ensemble.num_members * ensemble.epochs * math.ceil(rows / ensemble.batch_size) * _STEP_SECONDS
    if at_least >= SMALL_SECONDS:
        return at_least  # no network needs to be built to say so
    view = 0.0 if ensemble.augment is None else rows * _values(run) * _VALUE_SECONDS
    epochs = [count * (view + _epoch(member, rows, ensemble.batch_size, run)) for count, member in _groups(run)]
    return ensemble.epochs * sum(epochs)


def _answers(run: Run) -> float:
    config = run.config
    if config.ensemble.teachers.are_asked:
        return math.inf  # nobody knows how long somebody else's models take
    rows = sum(map(run.num_rows, run.split_names))
    files = rows / config.predict.rows_per_shard + sum(len(run.views(name)) for name in run.split_names)
    return _to_answer(rows, _values(run), files, lambda: _macs_of_members(run))


def _students(run: Run) -> float:
    rows = run.num_rows(TRANSFER)
    tuned = {kind: _config_of(run, kind) for kind in run.config.student_kinds}
    epochs = {kind: config.distill.mean_phase_epochs + config.distill.epochs for kind, config in tuned.items()}
    batch_sizes = {kind: config.distill.batch_size for kind, config in tuned.items()}
    at_least = sum(epochs[kind] * math.ceil(rows / batch_sizes[kind]) for kind in tuned) * _STEP_SECONDS
    if at_least >= SMALL_SECONDS:
        return at_least
    seconds = 0.0
    for kind in tuned:
        student = _student(run, kind)
        loss = rows * student.spec.num_heads * run.data.num_outputs * _OUTPUT_SECONDS
        seconds += epochs[kind] * (loss + _epoch(student, rows, batch_sizes[kind], run))
    return seconds


def _report(run: Run) -> float:
    config = run.config
    if config.evaluate.attacks is not None or config.ensemble.teachers.are_asked:
        return math.inf
    rows = sum(map(run.num_rows, run.split_names)) - run.num_rows(TRANSFER)
    students = sum(count_macs(_student(run, kind), run.data.input_shape) for kind in config.student_kinds)
    timed = _ROWS_OF_LATENCIES * config.evaluate.latency_repeats
    return (rows * students + timed * (students + _macs_of_members(run))) / _MACS_A_SECOND


_COUNTED: dict[str, Callable[[Run], float]] = {
    "train_ensemble": _members,
    "predict": _answers,
    "distill": _students,
    "evaluate": _report,
}


def _epoch(network: nn.Module, rows: int, batch_size: int, run: Run) -> float:
    """Seconds to train a network on so many rows once."""
    step = _STEP_SECONDS + _TENSOR_SECONDS * len(list(network.parameters()))
    products = rows * _BACKWARD * count_macs(network, run.data.input_shape) / _MACS_A_SECOND
    return math.ceil(rows / batch_size) * step + products


def _to_answer(rows: int, values: int, files: float, macs: Callable[[], int]) -> float:
    """Seconds to read rows of so many values, answer them with so many multiply-adds each, and write files of them."""
    seconds = rows * values * _VALUE_SECONDS + files * _FILE_SECONDS
    return seconds if seconds >= SMALL_SECONDS else seconds + rows * macs() / _MACS_A_SECOND


def _groups(run: Run) -> list[tuple[int, Member]]:
    """Of each group of members that are alike how many there are, and one with weights that nobody keeps."""
    groups = enumerate(run.config.ensemble.groups)
    return [(group.count, build_member(run.group_spec(place), THROWN_AWAY)) for place, group in groups]


def _macs_of_members(run: Run) -> int:
    """Multiply-adds of one row by all members; 0 where others answer in their place."""
    if not run.config.trains_members:
        return 0
    return sum(count * count_macs(member, run.data.input_shape) for count, member in _groups(run))


def _student(run: Run, kind: StudentKind) -> HydraStudent:
    """A student with weights that nobody keeps."""
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
    return build_student(plan.spec, THROWN_AWAY)


def _config_of(run: Run, kind: StudentKind) -> Config:
    """What a student is trained with; of a plan whose search is still to come, what the recipe says."""
    is_searched = run.config.distill.use_best_trial and kind in run.searched_kinds
    return run.config if is_searched and not run.search(kind).is_done else run.tuned(kind)


def _values(run: Run) -> int:
    """Numbers of one row."""
    return int(np.prod(run.data.input_shape))
