"""How long the stages of a run take on this machine: a few steps are measured, and counted up to the whole stage.

The first batch of training rows is used, with networks and answers that are thrown away. What else a stage does
(starting Ray, checking, writing) is a matter of seconds and left out.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hydra_ray.config import Config, StudentKind
from hydra_ray.data import Rows
from hydra_ray.models import ModelSpec, build_member, to_device
from hydra_ray.randomness import THROWN_AWAY, numpy_generator, seed_of
from hydra_ray.runs.pace import time_in_words
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards import BatchReader, ShardRows
from hydra_ray.training import LabelledRows, MemberSpec, plan_of, step_times
from hydra_ray.training.stack_size import stack_size
from hydra_ray.training.stack_size import step_times as member_step_times
from hydra_ray.views import NumberedView, apply_view, view_block_rows, view_named

_BATCHES = 7  # of which five are timed
_ROWS_OF_A_VIEW = 512
_GRADIENT_STEPS = 3  # a view that moves rows by members' gradients costs about as many times their answers


@dataclass(frozen=True)
class StageTime:
    """Seconds that a stage would take, and who works on it.

    Attributes:
        name: of the stage.
        seconds: from its first step to its last.
        processes: how many work on it at the same time, each with a worker's CPUs and GPU.
        unit: what one of them is called.
    """

    name: str
    seconds: float
    processes: int
    unit: Literal["process", "CPU", "worker"]

    def __str__(self) -> str:
        where = "in this process" if self.unit == "process" else f"on {self._processes}"
        return f"{self.name:<15} about {time_in_words(self.seconds)} {where}"

    @property
    def hours(self) -> float:
        """Of each process."""
        return self.seconds / 3600

    def cost(self, hourly: float) -> float:
        """Of all processes together, at so much an hour of one."""
        return self.hours * self.processes * hourly

    def cost_line(self, hourly: float) -> str:
        """The same in words, with what it is made of."""
        return f"{self.name:<15} {self.hours:,.2f} hours x {self._processes} x {hourly:g} = {self.cost(hourly):,.2f}"

    @property
    def _processes(self) -> str:
        plural = {"process": "processes"}.get(self.unit, f"{self.unit}s")
        return f"{self.processes} {self.unit if self.processes == 1 else plural}"


def stage_times(run: Run, cpus: float, here: Collection[str] = ()) -> list[StageTime]:
    """Of the stages that train or ask the members, or train students, as far as they are still to be done.

    Args:
        run: with GPUs decided.
        cpus: of the machine or cluster.
        here: stages that work in this process.
    """
    cluster = run.config.cluster
    device = torch.device("cuda" if cluster.has_gpu and torch.cuda.is_available() else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, int(cluster.cpus_per_worker)))
    members = sum(not member.is_done for member in run.members())
    seconds = {
        "train_ensemble": lambda: _members(run, device),
        "predict": lambda: _predict(run, members, device) / _askers(run, cpus),
        "distill": lambda: _students(run, members, device),
    }
    found = []
    try:
        for name, measure in seconds.items():
            with run.working(is_local=name in here):
                found.append(StageTime(name, measure(), *_workers(run, name, cpus)))
    finally:
        torch.set_num_threads(threads)
    return [each for each in found if each.seconds]


def _askers(run: Run, cpus: float) -> int:
    """How many processes ask the members."""
    cluster = run.config.cluster
    if cluster.is_local or cluster.has_gpu:
        return cluster.most_processes
    return max(1, int(cpus / cluster.cpus_per_worker))


def _workers(run: Run, stage: str, cpus: float) -> tuple[int, Literal["process", "CPU", "worker"]]:
    cluster = run.config.cluster
    if cluster.is_local:
        return 1, "process"
    if stage == "predict" and not cluster.has_gpu:
        return _askers(run, cpus), "CPU"
    return cluster.most_workers, "worker"


def _members(run: Run, device: torch.device) -> float:
    missing = Counter(
        run.config.ensemble.group_of(number) for number, member in enumerate(run.members()) if not member.is_done
    )
    if not missing:
        return 0.0
    team = _workers_of_member(run.config)
    rows = _first_rows(run, math.ceil(run.config.ensemble.batch_size / team))  # each takes its part of a batch
    assert rows.labels is not None
    train = LabelledRows.of(rows, device, run.features)
    of_first = MemberSpec.of(run.task, run.member_spec(), rows.inputs, rows.labels)
    has_fixed_body = run.config.ensemble.train == "head"
    tells_diversity = run.config.ensemble.own_objective is not None
    total = 0.0
    for place, number in missing.items():
        spec = of_first.of_group(run.group_spec(place), has_fixed_body=has_fixed_body, tells_diversity=tells_diversity)
        total += _group(run, spec, train, number, device)
    return total


def _workers_of_member(config: Config) -> int:
    return 1 if config.cluster.is_local else config.ensemble.workers_per_member


def _group(run: Run, spec: MemberSpec, train: LabelledRows, missing: int, device: torch.device) -> float:
    """Seconds to train so many members that are alike."""
    config = run.config
    rounds = math.ceil(missing / (config.cluster.most_processes // _workers_of_member(config)))
    size = stack_size(config.ensemble, rounds, spec, train)
    networks = [spec.build(seed_of(0, "thrown away", number)).to(device) for number in range(size)]
    step = statistics.median(member_step_times(networks, config.ensemble, train, run.task)) / size
    steps = math.ceil(run.data.splits["train"].num_rows / config.ensemble.batch_size)
    return rounds * config.ensemble.epochs * steps * step


def _predict(run: Run, missing_members: int, device: torch.device) -> float:
    names = run.split_names
    if not missing_members:
        names = [name for name in names if not run.shards(name).is_done]
    if not names:
        return 0.0
    config = run.config
    if run.teachers is not None:
        return 0.0  # what they take is not known before they are asked
    inputs = to_device(_first_rows(run, config.predict.batch_size).inputs, device)
    ask = sum(
        group.count * _answer_seconds(run.group_spec(place), inputs)
        for place, group in enumerate(config.ensemble.groups)
    )
    total = 0.0
    for name in names:
        for view in run.views(name).values():
            moves = view_named(view.view.view).needs_members
            each = ask * (1 + _GRADIENT_STEPS) if moves else ask + _view_seconds(run, view)
            total += each * run.num_rows(name) / len(run.views(name))
    return total


def _answer_seconds(spec: ModelSpec, inputs: Tensor) -> float:
    """Seconds of one row's answer by a member."""
    network = build_member(spec, THROWN_AWAY).to(inputs.device).eval()
    with torch.inference_mode():
        return _seconds(lambda: network(inputs).sum().item()) / len(inputs)


def _view_seconds(run: Run, numbered: NumberedView) -> float:
    """Seconds to show one row under a view."""
    view = numbered.view
    rows = _first_rows(run, max(_ROWS_OF_A_VIEW, view_block_rows(view.view, view.options)))
    features = run.features
    return _seconds(
        lambda: apply_view(view.view, view.options, rows.inputs, rows.row_id, seed=0, features=features)
    ) / len(rows)


def _students(run: Run, missing_members: int, device: torch.device) -> float:
    kinds = run.config.student_kinds
    if not missing_members and all(run.shards(name).is_done for name in (TRANSFER, "validation")):
        kinds = [kind for kind in kinds if not run.student(kind).is_done]
    seconds = [_student(run, kind, device) for kind in kinds]
    cluster = run.config.cluster
    if not cluster.workers_share_gpus:
        return sum(seconds)
    return max(sum(seconds[rank :: cluster.most_processes]) for rank in range(cluster.most_processes))


def _student(run: Run, kind: StudentKind, device: torch.device) -> float:
    config = run.config
    ranks = 1 if config.cluster.workers_share_gpus else config.cluster.most_processes
    batch_size = math.ceil(config.distill.batch_size / ranks)
    rows = _answered(run, _first_rows(run, batch_size * _BATCHES))
    plan = plan_of(
        config,
        run.task,
        kind,
        num_members=len(config.members_to_distil),
        input_shape=rows.inputs.shape[1:],
        num_outputs=run.data.num_outputs,
        categories=run.data.categories,
    )
    batches = BatchReader(rows, batch_size=min(batch_size, len(rows) // _BATCHES), seed=0, num_members=plan.num_members)
    steps = max(1, run.num_rows(TRANSFER) // config.distill.batch_size)
    found = step_times(plan, batches, rows, device)
    return sum(phase.num_epochs * steps * statistics.median(times) for phase, times in found)


def _answered(run: Run, rows: Rows) -> ShardRows:
    """The rows as shards have them, with made-up answers of the members."""
    members = run.config.ensemble.num_members
    answers = numpy_generator(THROWN_AWAY).normal(size=(len(rows.row_id), members, run.data.num_outputs))
    assert rows.labels is not None
    views = np.zeros(len(rows.row_id), np.int32)
    return ShardRows(rows.row_id, views, rows.inputs, rows.labels, answers.astype(run.shard_dtype))


def _first_rows(run: Run, number: int) -> Rows:
    """So many training rows from the first on, or again from the first where there are fewer."""
    train = run.data.splits["train"]
    stop = math.ceil(number * train.source_rows / train.num_rows * 1.5)
    rows = train.read(0, min(stop, train.source_rows))
    places = np.resize(np.arange(len(rows.row_id)), number)
    labels = None if rows.labels is None else rows.labels[places]
    return Rows(rows.row_id[places], rows.inputs[places], labels)


def _seconds(call: Callable[[], object]) -> float:
    """The median of five calls, after one that warms up."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return statistics.median(times[1:])
