"""Distilling one student from the shards, plain PyTorch, for any number of ranks.

What a kind of student learns, in which phases, its module in `training/kinds/` says. Training reads shards and nothing
else: no member, no data set, no Ray.

B batch, N rows, M heads or members, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from hydra_ray.config import Config, DistillConfig, StudentKind
from hydra_ray.models import HydraStudent, ModelSpec, Normalise, build_student, suited_head
from hydra_ray.randomness import seed_of
from hydra_ray.shards import Batch, BatchReader, Feed, ShardRows, UnevenDraws
from hydra_ray.tasks import Prediction, Task
from hydra_ray.training.averaging import WeightAverage
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.divergence import Subject, Watch
from hydra_ray.training.kinds import Kind, Phase, kind_named
from hydra_ray.training.loop import DistributedContext, Tick, TrainState, clip_gradients
from hydra_ray.training.student_figures import HeldOut, disagreement_of, validation_figures

Report = Callable[[dict[str, Any]], None]


class InputOutputScaling(NamedTuple):
    """Normalisation of a student's inputs and scaling of its outputs, fitted to rows of shards, not trained."""

    normalise: Normalise
    output: nn.Module

    @classmethod
    def of(cls, task: Task, rows: ShardRows, num_members: int, categories: tuple[int, ...] = ()) -> InputOutputScaling:
        """Fitted to rows of the transfer set and the outputs of their first `num_members` members."""
        first = rows.of_first(num_members)
        output = task.likelihood.fit_student_output(first.logits_NMC, first.mask_NM)
        return cls(Normalise.fit(rows.inputs, categories), output)


@dataclass(frozen=True)
class Distillation:
    """One student to be distilled.

    Attributes:
        objective: its kind, phases and loss.
        spec: of the finished student.
        seed: the run's.
        weights: of the members it learns from; None for equal ones.
        compared_with: how many members its validation figures compare it with, the first ones of the shards; None for
            those that it learns from.
    """

    objective: Kind[Any]
    spec: ModelSpec
    seed: int
    weights: tuple[float, ...] | None = None
    compared_with: int | None = None

    @property
    def phases(self) -> list[Phase]:
        """The phases of training, in order."""
        return self.objective.phases

    @property
    def settings(self) -> DistillConfig:
        """How it is trained."""
        return self.objective.shared

    @property
    def num_members(self) -> int:
        """How many members it learns from: the first ones of the shards."""
        return self.objective.num_members

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.objective.task

    @property
    def draws(self) -> UnevenDraws | None:
        """How often rows of the transfer set are drawn; None for once an epoch."""
        cap = self.settings.disagreement_sampling
        if cap is None or "disagreement_sampling" not in self.objective.own.reads:
            return None
        return UnevenDraws(cap, lambda rows: disagreement_of(self.task, rows.of_first(self.num_members)))

    def prediction(self, outputs_NHC: Tensor) -> Prediction:
        """What the student's outputs say."""
        return self.objective.prediction(self.task, outputs_NHC, weights_H=self.weights)


def plan_of(
    config: Config,
    task: Task,
    kind: StudentKind,
    *,
    num_members: int,
    input_shape: tuple[int, ...],
    num_outputs: int,
    categories: tuple[int, ...] = (),
) -> Distillation:
    """The student of one kind that a configuration describes.

    Args:
        config: the run's.
        task: what is learnt.
        kind: which student.
        num_members: members that are read from the shards.
        input_shape: of one stored row.
        num_outputs: of each head.
        categories: of each feature how many codes it has, 0 for a number; () where none is a category.
    """
    distill = config.distill
    ensemble = config.ensemble
    own = config.student(kind)
    objective = kind_named(kind)(task, own, distill, own.learns_from(num_members))
    spec = ModelSpec(
        "student",
        distill.body or ensemble.architecture,
        input_shape,
        num_outputs,
        distill.body_options if distill.body_options is not None else ensemble.options,
        num_heads=objective.phases[-1].num_heads,
        head_width=distill.head_width,
        head_depth=distill.head_depth,
        cut=(distill.cut or 1) if distill.head == "block" else 0,
        output=task.likelihood.student_output,
        categories=categories,
    )
    spec = replace(spec, head=distill.head or suited_head(spec))
    weights = ensemble.teachers.weights
    return Distillation(
        objective,
        spec,
        config.seed,
        None if weights is None else tuple(weights[member] for member in config.members_learnt_from(kind)),
    )


def distil(
    plan: Distillation,
    batches: BatchReader,
    held_out: HeldOut,
    scaling: InputOutputScaling,
    *,
    device: torch.device,
    ranks: DistributedContext,
    checkpoints: Checkpoints | None,
    report: Report,
    tick: Tick | None = None,
) -> HydraStudent:
    """Train the student, from its checkpoint where there is one.

    Args:
        plan: which student and how.
        batches: the transfer set's shards, this rank's part of every batch.
        held_out: validation rows and views of them, with the members' logits; the same on all ranks. Members beyond
            those that the plan compares with are ignored.
        scaling: of the network's inputs and outputs.
        device: of this rank.
        ranks: this process among its peers.
        checkpoints: in a folder that all ranks see; None to write none.
        report, tick: called on every rank after each epoch, with the same figures, and after each step.

    Returns:
        The student, on `device`.

    Raises:
        DivergedError: its loss, weights or figures are not finite; on all ranks alike.
    """
    student = _first_student(plan, scaling)
    first, state = _beginning(plan, checkpoints)
    for number in range(len(plan.phases)):
        if number:
            noise = seed_of(plan.seed, "head noise", plan.objective.kind)
            student = plan.objective.next_student(student, plan.phases[number], noise)
        if number < first:
            continue
        fit = _PhaseFit(plan, number, student, batches, held_out, ranks, checkpoints, report, tick, device)
        student = fit.run(state if number == first else None)
    return student


def _first_student(plan: Distillation, scaling: InputOutputScaling) -> HydraStudent:
    seed = seed_of(plan.seed, "student weights", plan.objective.kind)
    student = build_student(replace(plan.spec, num_heads=plan.phases[0].num_heads), seed, *scaling)
    if plan.settings.train == "head":
        student.fix_body()
    return student


def _beginning(plan: Distillation, checkpoints: Checkpoints | None) -> tuple[int, dict[str, Tensor] | None]:
    """The last phase that has a checkpoint, with its state; the phases before are done."""
    if checkpoints is None:
        return 0, None
    for number in reversed(range(len(plan.phases))):
        state = checkpoints.of_part(f"phase-{number}").newest()
        if state is not None:
            return number, state
    return 0, None


def step_times(
    plan: Distillation, batches: BatchReader, rows: ShardRows, device: torch.device
) -> list[tuple[Phase, list[float]]]:
    """Seconds of training steps of each phase, with a student that is thrown away.

    Args:
        plan: which student and how.
        batches: of `rows`; two more than are to be timed, as the first ones are slower.
        rows: of a transfer set; what their members say does not matter.
        device: to train on.
    """
    scaling = InputOutputScaling.of(plan.task, rows, plan.num_members, plan.spec.categories)
    student = _first_student(plan, scaling)
    found = []
    alone = DistributedContext()
    for number, phase in enumerate(plan.phases):
        if number:
            student = plan.objective.next_student(student, phase, seed_of(0, "thrown away", number))
        fit = _PhaseFit(plan, number, student, batches, HeldOut(rows), alone, None, lambda _: None, device=device)
        found.append((phase, fit.step_times()[2:]))
    return found


class _PhaseFit:
    """One phase of one student on one rank."""

    def __init__(
        self,
        plan: Distillation,
        number: int,
        student: HydraStudent,
        batches: BatchReader,
        held_out: HeldOut,
        ranks: DistributedContext,
        checkpoints: Checkpoints | None,
        report: Report,
        tick: Tick | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.plan = plan
        self.number = number
        self.phase = plan.phases[number]
        self.student = student
        self.batches = batches
        self.held_out = held_out
        self.ranks = ranks
        self.report = report
        self.checkpoints = checkpoints.of_part(f"phase-{number}") if checkpoints is not None else None
        self.subject = Subject(f"student {plan.objective.kind}", "distill", plan.settings.learning_rate)
        self.steps = batches.steps_per_epoch
        self.feed = Feed(batches, device or next(student.parameters()).device)
        width = plan.settings.average
        self.average = None if width is None else WeightAverage(student, width)
        self.state = TrainState(
            student,
            plan.settings,
            num_steps=self.phase.num_epochs * self.steps,
            seed=seed_of(plan.seed, "student dropout", plan.objective.kind, number),
            ranks=ranks,
            tick=tick and self._of_all_phases(tick),
            device=device,
        )
        if self.average is not None:
            self.state.place(self.average.model)

    def _of_all_phases(self, tick: Tick) -> Tick:
        """Counts the steps of the phases before, and of all."""
        epochs = [phase.num_epochs for phase in self.plan.phases]
        before = sum(epochs[: self.number]) * self.steps
        return lambda done, _: tick(before + done, sum(epochs) * self.steps)

    def run(self, state: dict[str, Tensor] | None) -> HydraStudent:
        """Train every epoch, or those that are left after a checkpoint; the student, with averaged weights if any."""
        if state is not None:
            self.state.load(state)
            if self.average is not None:
                self.average.load(state, self.state.fill)
        started_at = self.state.num_done
        before = sum(phase.num_epochs for phase in self.plan.phases[: self.number])
        for epoch in range(started_at // self.steps, self.phase.num_epochs):
            loss = self._epoch(before + epoch, self.state.num_done - epoch * self.steps)
            figures = validation_figures(self.plan, self._result, self.held_out)
            self.subject.check_figures(figures, before + epoch + 1)
            step = before * self.steps + self.state.num_done
            facts = {"phase": self.phase.name, "epoch": before + epoch + 1, "step": step}
            self.report({**facts, "resumed_at": started_at, "loss": loss, **figures})
        if self.average is not None:
            self.student.load_state_dict(self.average.model.state_dict())
        return cast("HydraStudent", self.state.finished())

    @property
    def _result(self) -> HydraStudent:
        """What the phase would end with if it ended now."""
        return self.student if self.average is None else cast("HydraStudent", self.average.model)

    def step_times(self) -> list[float]:
        """Seconds of each step of one epoch, with nothing checked or written."""
        self.student.train()
        times = []
        for batch in self.feed.batches(0, 0):
            begin = time.perf_counter()
            self._step(batch).item()  # waits for a GPU
            times.append(time.perf_counter() - begin)
        return times

    def _epoch(self, epoch: int, start: int) -> float:
        self.student.train()
        watch = Watch([self.subject], epoch + 1, first_step=start, ranks=self.ranks)
        for batch in self.feed.batches(epoch, start):
            watch.add(self._step(batch))
            if self.state.num_done % self.plan.settings.checkpoint_every == 0:
                self._checkpoint(watch)
        self._checkpoint(watch)
        return watch.means()[0]

    def _step(self, batch: Batch) -> Tensor:
        """One training step; this rank's share of the loss, detached."""
        state = self.state
        state.begin_step()
        student_BHC = state.forward(batch.inputs)
        teacher_BMC = batch.logits_BMC.float()
        terms = self.plan.objective.loss(
            self.phase, state.progress, student_BHC, teacher_BMC, batch.labels_B, batch.mask_BM
        )
        loss = self.ranks.share_of_loss(terms, is_even=self.batches.is_even)
        loss.backward()
        clip_gradients(state.model.parameters(), state.settings.clip_norm)
        state.update()
        if self.average is not None:
            self.average.update(state.model, state.num_done)
        return loss.detach()

    def _checkpoint(self, watch: Watch) -> None:
        state = self.state.state()
        if self.average is not None:
            state |= self.state.gathered(self.average.state())
        watch.check([state])
        if self.checkpoints is not None:
            self.checkpoints.write(state)
