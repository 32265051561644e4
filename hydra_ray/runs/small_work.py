"""Stages of so little work that starting Ray's workers for them takes longer than the work itself.

The work is counted and not measured, and of the whole stage, not of what an earlier command left of it: the same run
goes the same way every time, so its figures stay the same to the bit. Where the constants are from is in
docs/performance.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from torch import nn

from hydra_ray.config import Config, StudentKind
from hydra_ray.models import ModelSpec, build_member, build_student, count_macs, count_weights
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

_SpecOf = Callable[[Run, StudentKind], ModelSpec]


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
    seconds = _reading(rows, input_shape) + files * _FILE_SECONDS
    return (
        seconds < SMALL_SECONDS and seconds + rows * count_macs(network, input_shape) / _MACS_A_SECOND < SMALL_SECONDS
    )


def _members(run: Run) -> float:
    ensemble = run.config.ensemble
    if ensemble.objective_of_groups is not None:
        return math.inf  # what its loss costs beside the network is not counted here
    rows = run.data.splits["train"].num_rows
    view = 0.0 if ensemble.augment is None else ensemble.epochs * _reading(rows, run.data.input_shape)
    return sum(
        count * (view + _training(spec, rows, ensemble.batch_size, ensemble.epochs)) for count, spec in _groups(run)
    )


def _answers(run: Run) -> float:
    config = run.config
    if config.ensemble.teachers.are_asked:
        return math.inf  # nobody knows how long somebody else's models take
    rows = sum(map(run.num_rows, run.split_names))
    files = rows / config.predict.rows_per_shard + sum(len(run.views(name)) for name in run.split_names)
    seconds = _reading(rows, run.data.input_shape) + files * _FILE_SECONDS
    return seconds if seconds >= SMALL_SECONDS else seconds + _asking_members(run, rows)


def _students(run: Run) -> float:
    rows = run.num_rows(TRANSFER)

    def training(spec_of: _SpecOf) -> float:
        seconds = 0.0
        for kind in run.config.student_kinds:
            distill = _config_of(run, kind).distill
            spec = spec_of(run, kind)
            epochs = distill.mean_phase_epochs + distill.epochs
            seconds += epochs * rows * spec.num_heads * spec.num_outputs * _OUTPUT_SECONDS
            seconds += _training(spec, rows, distill.batch_size, epochs)
        return seconds

    return _at_least_of_bodies(training)


def _report(run: Run) -> float:
    config = run.config
    if config.evaluate.attacks is not None or config.ensemble.teachers.are_asked:
        return math.inf
    rows = sum(map(run.num_rows, run.split_names)) - run.num_rows(TRANSFER)
    timed = _ROWS_OF_LATENCIES * config.evaluate.latency_repeats

    def asking(spec_of: _SpecOf) -> float:
        students = sum(_products(spec_of(run, kind), rows + timed) for kind in config.student_kinds)
        return students + _asking_members(run, timed)

    return _at_least_of_bodies(asking)


def _at_least_of_bodies(seconds_with: Callable[[_SpecOf], float]) -> float:
    """Seconds with students' bodies alone where they are long already; to say what heads suit takes a built network."""
    seconds = seconds_with(_body)
    return seconds if seconds >= SMALL_SECONDS else seconds_with(_student)


_COUNTED: dict[str, Callable[[Run], float]] = {
    "train_ensemble": _members,
    "predict": _answers,
    "distill": _students,
    "evaluate": _report,
}


def _reading(rows: int, input_shape: tuple[int, ...]) -> float:
    """Seconds to read so many rows, or to make a view of them."""
    return rows * math.prod(input_shape) * _VALUE_SECONDS


def _training(spec: ModelSpec, rows: int, batch_size: int, epochs: int) -> float:
    """Seconds to train a network on so many rows; a part of them where that is long already."""
    steps = epochs * math.ceil(rows / batch_size)
    seconds = steps * _STEP_SECONDS
    if seconds < SMALL_SECONDS:
        seconds += _products(spec, epochs * rows * _BACKWARD)
    if seconds < SMALL_SECONDS:
        seconds += steps * _size_of(_text(spec)).num_tensors * _TENSOR_SECONDS
    return seconds


def _asking_members(run: Run, rows: int) -> float:
    """Seconds in which all members answer so many rows; 0 where others have answered in their place."""
    if not run.config.trains_members:
        return 0.0
    return sum(count * _products(spec, rows) for count, spec in _groups(run))


def _products(spec: ModelSpec, rows: int) -> float:
    """Seconds of a network's products for so many rows; of a large one for images, less: it is not built for it."""
    if len(spec.input_shape) == 3:  # embeddings of tables have weights that nothing is multiplied with
        at_least = rows * _weights_of(_text(spec)) / _MACS_A_SECOND
        if at_least >= SMALL_SECONDS:
            return at_least
    return rows * _size_of(_text(spec)).macs / _MACS_A_SECOND


@dataclass(frozen=True)
class _Size:
    """Multiply-adds of a row, and tensors of weights."""

    macs: int
    num_tensors: int


def _text(spec: ModelSpec) -> str:
    """A spec as a key of what is remembered: stages ask about the same networks."""
    return json.dumps(spec.to_json(), sort_keys=True)


@lru_cache(maxsize=64)
def _weights_of(text: str) -> int:
    return count_weights(ModelSpec.from_json(json.loads(text)).build_network)


@lru_cache(maxsize=64)
def _size_of(text: str) -> _Size:
    """Of a network that is built and thrown away."""
    spec = ModelSpec.from_json(json.loads(text))
    build = build_student if spec.kind == "student" else build_member
    network = build(spec, THROWN_AWAY)
    return _Size(count_macs(network, spec.input_shape), len(list(network.parameters())))


def _groups(run: Run) -> list[tuple[int, ModelSpec]]:
    """Of each group of members that are alike how many there are, and what they are."""
    return [(group.count, run.group_spec(place)) for place, group in enumerate(run.config.ensemble.groups)]


def _body(run: Run, kind: StudentKind) -> ModelSpec:
    """A student's body with a single linear head."""
    config = _config_of(run, kind)
    options = config.distill.body_options
    return ModelSpec(
        "member",
        config.distill.body or config.ensemble.architecture,
        run.data.input_shape,
        run.data.num_outputs,
        config.ensemble.options if options is None else options,
        categories=run.data.categories,
    )


def _student(run: Run, kind: StudentKind) -> ModelSpec:
    config = _config_of(run, kind)
    return plan_of(
        config,
        run.task,
        kind,
        num_members=len(config.members_to_distil),
        input_shape=run.data.input_shape,
        num_outputs=run.data.num_outputs,
        categories=run.data.categories,
    ).spec


def _config_of(run: Run, kind: StudentKind) -> Config:
    """What a student is trained with; of a plan whose search is still to come, what the recipe says."""
    is_searched = run.config.distill.use_best_trial and kind in run.searched_kinds
    return run.config if is_searched and not run.search(kind).is_done else run.tuned(kind)
