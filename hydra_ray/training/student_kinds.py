"""What each kind of student is and what it minimises: phases, number of outputs, loss and temperature of a step.

All kinds read the same shards and take the same number of steps. Plain functions of configuration and tensors; the
loop is in `student.py`, the formulas are in `losses/`; the task chooses among them.

B batch, M members, H heads of the student, C classes (in a regression 2: mean and log variance).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from hydra_ray.config import DistillConfig, StudentKind
from hydra_ray.losses import Summed, dirichlet_nll, proxy_dirichlet_rkl
from hydra_ray.tasks import Task

HEADS_PHASE, MEAN_PHASE, DIRICHLET_PHASE = "heads", "mean", "dirichlet"


@dataclass(frozen=True)
class Phase:
    """A stretch of the fit with one loss and one schedule."""

    name: str
    num_heads: int
    num_epochs: int


@dataclass(frozen=True)
class Objective:
    """One student's way through its phases.

    Attributes:
        task: what is learnt.
        kind: which student.
        settings: how it is fitted.
        num_members: members it learns from; a `hydra` has as many heads, a mean head not counted.
    """

    task: Task
    kind: StudentKind
    settings: DistillConfig
    num_members: int

    @property
    def phases(self) -> list[Phase]:
        """What is done in order; every kind takes the same number of epochs in all."""
        before, after = self.settings.mean_phase_epochs, self.settings.epochs
        if self.kind == "hydra":
            phases = [Phase(MEAN_PHASE, 1, before), Phase(HEADS_PHASE, self.num_outputs, after)]
            return [phase for phase in phases if phase.num_epochs]
        return [Phase(MEAN_PHASE if self.kind == "kd" else DIRICHLET_PHASE, 1, before + after)]

    @property
    def num_outputs(self) -> int:
        """Heads of the finished student, a mean head included."""
        return self.num_members + self.settings.mean_head if self.kind == "hydra" else 1

    def temperature(self, phase: Phase, progress: float) -> float:
        """T at a share `progress` of a phase: constant, or from the first to the last value.

        A Dirichlet student keeps its first temperature for a third of the fit, is cooled for another and stays at
        the last value (as the reproduction of EnD2 does); `distill.final_temperature` does the same for others.
        """
        if phase.name == DIRICHLET_PHASE:
            first, last = self.settings.dirichlet.temperature, 1.0
        else:
            first, last = self.settings.temperature, self.settings.final_temperature or self.settings.temperature
        cooled = min(1.0, max(0.0, 3 * progress - 1))
        return first + (last - first) * cooled

    def loss(
        self,
        phase: Phase,
        progress: float,
        student_BHC: Tensor,
        teacher_BMC: Tensor,
        labels_B: Tensor,
        heads: Tensor | None = None,
        mask_BM: Tensor | None = None,
    ) -> list[Summed]:
        """The terms of what is minimised at a step, weighted; each is over the rows that it can be computed for.

        Args:
            phase: where the fit is.
            progress: share of the phase that is done.
            student_BHC: the student's outputs.
            teacher_BMC: outputs of all members.
            labels_B: as the shards have them, with rows that have none.
            heads: numbers of the heads in `student_BHC`, where only some learn; a mean head is not counted.
            mask_BM: members that each row is learnt from; None for all.
        """
        temperature = self.temperature(phase, progress)
        if phase.name == DIRICHLET_PHASE:
            return [self._dirichlet(student_BHC[:, 0], teacher_BMC, temperature, mask_BM)]
        if phase.name == MEAN_PHASE:
            terms = [self.task.mean_loss(student_BHC[:, 0], teacher_BMC, temperature, mask_BM)]
        else:
            terms = self._heads(student_BHC, teacher_BMC, temperature, heads, mask_BM)
        if self.settings.label_weight:
            labels = self.task.label_loss(self._predicting(student_BHC), labels_B)
            terms.append(labels.scaled(self.settings.label_weight))
        return terms

    def _predicting(self, student_BHC: Tensor) -> Tensor:
        """The outputs whose mixture is the student's prediction: the mean head alone where there is one."""
        return student_BHC[:, -1:] if self.settings.mean_head else student_BHC

    def _heads(
        self, student_BHC: Tensor, teacher_BMC: Tensor, temperature: float, heads: Tensor | None, mask_BM: Tensor | None
    ) -> list[Summed]:
        of_heads = slice(self.num_members) if heads is None else heads
        members_BMC, paired_BM = teacher_BMC[:, of_heads], None if mask_BM is None else mask_BM[:, of_heads]
        heads_BMC = student_BHC[:, : members_BMC.shape[1]]
        terms = [self.task.heads_loss(heads_BMC, members_BMC, temperature, paired_BM)]
        if self.settings.mean_head:
            terms.append(self.task.mean_loss(student_BHC[:, -1], teacher_BMC, temperature, mask_BM))
        if self.settings.diversity_weight:
            diversity = self.task.diversity_matching_loss(heads_BMC, members_BMC, paired_BM)
            terms.append(diversity.scaled(self.settings.diversity_weight))
        return terms

    def _dirichlet(self, student_BC: Tensor, teacher_BMC: Tensor, temperature: float, mask_BM: Tensor | None) -> Summed:
        settings = self.settings.dirichlet
        if self.kind == "end2":
            return dirichlet_nll(student_BC, teacher_BMC, temperature, settings.smoothing, mask_BM)
        return proxy_dirichlet_rkl(student_BC, teacher_BMC, max_precision=settings.max_precision, mask_BM=mask_BM)
