"""Distilling one student from the shards, plain PyTorch, for any number of ranks.

Phase 1 teaches one head the members' mean; phase 2 starts M heads from it, moved a little, and head m
learns to imitate member m (Tran et al. 2020). A `kd` student stays in phase 1 for the same number of
epochs. Nothing is frozen. It reads shards and nothing else: no member, no data set, no Ray.

B batch, N rows, M heads or members, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from hydra_ray.config import DistillConfig, StudentKind
from hydra_ray.ensemble import CHECKPOINT
from hydra_ray.losses import hydra_loss, mean_loss
from hydra_ray.models.hydra import HydraStudent, build_student
from hydra_ray.models.members import ModelSpec, Normalise
from hydra_ray.models.seeding import seed_to_int
from hydra_ray.predictions import BatchReader, Predictions
from hydra_ray.storage import Folder
from hydra_ray.training import Fitting, Ranks, to_device
from hydra_ray.uncertainty import mixture_log_probs, uncertainty

Report = Callable[[dict[str, Any]], None]
_BATCH_WITHOUT_GRADIENT = 2048


@dataclass(frozen=True)
class Phase:
    """A stretch of the fit with one loss and one schedule."""

    name: str
    num_heads: int
    num_epochs: int


@dataclass(frozen=True)
class Distillation:
    """One student to be distilled.

    Attributes:
        kind: which student.
        settings: how it is fitted.
        spec: what it is in the end.
        seed: the run's.
    """

    kind: StudentKind
    settings: DistillConfig
    spec: ModelSpec
    seed: int

    @property
    def phases(self) -> list[Phase]:
        """What is done in order; every kind takes the same number of epochs in all."""
        before, after = self.settings.mean_epochs, self.settings.epochs
        if self.kind == "kd":
            return [Phase("mean", 1, before + after)]
        phases = [Phase("mean", 1, before), Phase("heads", self.spec.num_heads, after)]
        return [phase for phase in phases if phase.num_epochs]

    def loss(self, phase: Phase) -> Callable[[Tensor, Tensor], Tensor]:
        """(student_BMC, teacher_BMC) -> scalar."""
        temperature = self.settings.temperature
        if phase.name == "mean":
            return lambda student_BMC, teacher_BMC: mean_loss(student_BMC[:, 0], teacher_BMC, temperature)
        return lambda student_BMC, teacher_BMC: hydra_loss(student_BMC, teacher_BMC, temperature)


def distil(
    task: Distillation,
    batches: BatchReader,
    validation: Predictions,
    normalise: Normalise,
    *,
    device: torch.device,
    ranks: Ranks,
    checkpoints: Folder | None,
    report: Report,
) -> tuple[HydraStudent, dict[str, float]]:
    """Fit the student, from its checkpoint where there is one.

    Args:
        task: which student and how.
        batches: the transfer set's shards, this rank's part of every batch.
        validation: validation rows with the members' logits; the same on all ranks.
        normalise: of the inputs.
        device: of this rank.
        ranks: this process among its peers.
        checkpoints: a folder that all ranks see; None to keep none.
        report: called on every rank after each epoch, with the same figures.

    Returns:
        The student, and its figures on the validation rows.
    """
    student, figures = _first_student(task, normalise), {}
    done = _epochs_before(task, checkpoints)
    for number in range(len(task.phases)):
        if number:
            student = student.expand(task.spec.num_heads, task.settings.init_noise, (task.seed, number))
        if number < done:
            continue
        fit = _PhaseFit(task, number, student.to(device), batches, validation, ranks, checkpoints, report)
        figures = fit.run()
    return student, figures


def _first_student(task: Distillation, normalise: Normalise) -> HydraStudent:
    heads = task.phases[0].num_heads
    return build_student(replace(task.spec, num_heads=heads), (task.seed, heads), normalise)


def _epochs_before(task: Distillation, checkpoints: Folder | None) -> int:
    """Phases that a checkpoint of a later one makes superfluous."""
    present = checkpoints.files() if checkpoints is not None else {}
    return max((n for n in range(len(task.phases)) if _checkpoint_name(n) in present), default=0)


def _checkpoint_name(phase: int) -> str:
    return f"phase-{phase}-{CHECKPOINT}"


class _PhaseFit:
    """One phase of one student on one rank."""

    def __init__(
        self,
        task: Distillation,
        number: int,
        student: HydraStudent,
        batches: BatchReader,
        validation: Predictions,
        ranks: Ranks,
        checkpoints: Folder | None,
        report: Report,
    ) -> None:
        self.task, self.number, self.phase = task, number, task.phases[number]
        self.student, self.batches, self.validation = student, batches, validation
        self.ranks, self.checkpoints, self.report = ranks, checkpoints, report
        self.steps = batches.steps_per_epoch
        self.fitting = Fitting(
            student,
            task.settings,
            num_steps=self.phase.num_epochs * self.steps,
            seed=seed_to_int((task.seed, number)),
            ranks=ranks,
        )
        self.device = next(student.parameters()).device
        if checkpoints is not None and _checkpoint_name(number) in checkpoints.files():
            self.fitting.load_bytes(checkpoints.read(_checkpoint_name(number)))

    def run(self) -> dict[str, float]:
        """Every epoch that is left; the figures after the last."""
        figures = {}
        started_at = self.fitting.num_done
        before = sum(phase.num_epochs for phase in self.task.phases[: self.number])
        for epoch in range(started_at // self.steps, self.phase.num_epochs):
            loss = self._epoch(before + epoch, self.fitting.num_done - epoch * self.steps)
            figures = validation_figures(self.student, self.validation)
            facts = {"phase": self.phase.name, "epoch": before + epoch + 1, "step": self._step(before)}
            self.report({**facts, "resumed_at": started_at, "loss": loss, **figures})
        return figures or validation_figures(self.student, self.validation)

    def _epoch(self, epoch: int, start: int) -> float:
        self.student.train()
        loss, total = self.task.loss(self.phase), torch.zeros((), device=self.device)
        for inputs, _, logits_BMC in self.batches.batches(epoch, start):
            teacher_BMC = to_device(logits_BMC, self.device).float()
            total += self.fitting.step(loss, to_device(inputs, self.device), teacher_BMC)
            if self.fitting.num_done % self.task.settings.checkpoint_every == 0:
                self._checkpoint()
        self._checkpoint()
        return float(self.ranks.mean(total)) / max(1, self.steps - start)

    def _step(self, epochs_before: int) -> int:
        return epochs_before * self.steps + self.fitting.num_done

    def _checkpoint(self) -> None:
        if self.checkpoints is not None and self.ranks.is_first:
            self.checkpoints.write(_checkpoint_name(self.number), self.fitting.to_bytes())


@torch.no_grad()
def predict(student: HydraStudent, inputs: Any) -> Tensor:
    """float32 logits_NMC of stored inputs (numpy), a bounded batch at a time, on the CPU."""
    student.eval()
    device = next(student.parameters()).device
    parts = (inputs[i : i + _BATCH_WITHOUT_GRADIENT] for i in range(0, len(inputs), _BATCH_WITHOUT_GRADIENT))
    return torch.cat([student(to_device(part, device)).float().cpu() for part in parts])


def validation_figures(student: HydraStudent, rows: Predictions) -> dict[str, float]:
    """What a fit is judged by while it runs: the mixture's NLL and accuracy, and the disagreement kept."""
    student_NMC = predict(student, rows.inputs).double()
    teacher_NMC = to_device(rows.logits_NMC, torch.device("cpu")).double()
    log_probs_NC, labels = mixture_log_probs(student_NMC), to_device(rows.labels, torch.device("cpu"))
    figures = {
        "validation_nll": float(-log_probs_NC.gather(1, labels[:, None]).mean()),
        "validation_accuracy": float((log_probs_NC.argmax(1) == labels).double().mean()),
    }
    if student_NMC.shape[1] > 1:
        heads = student_NMC.shape[1]
        kept = uncertainty(student_NMC).knowledge.mean() / uncertainty(teacher_NMC).knowledge.mean()
        figures["validation_member_kl"] = float(hydra_loss(student_NMC, teacher_NMC[:, :heads], 1.0))
        figures["validation_mutual_information_ratio"] = float(kept)
    return figures
