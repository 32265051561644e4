"""What a kind of student is: its phases, what it minimises at a step, what its outputs say, its look in a report.

All kinds read the same shards and take the same number of steps. The training loop is in `training/student.py`, the
formulas are in `losses/`; which of them a task takes, the task says.

B batch, N rows, M members, H heads of the student, C classes (in a regression 2: mean and log variance).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Generic, NamedTuple, TypeVar

from torch import Tensor

from hydra_ray.config import DistillConfig, StudentConfig, StudentKind
from hydra_ray.data import TaskName
from hydra_ray.losses import Correlated, Summed, Term, own_term, terms_of
from hydra_ray.metrics import Members
from hydra_ray.models import HydraStudent
from hydra_ray.tasks import Prediction, Softening, Task
from hydra_ray.training.calibration import Calibration

Own = TypeVar("Own", bound=StudentConfig)


@dataclass(frozen=True)
class Phase:
    """A stretch of the training with one loss and one schedule."""

    name: str
    num_heads: int
    num_epochs: int


class Step(NamedTuple):
    """What a kind's loss is computed from at a step."""

    phase: Phase
    progress: float
    """Share of the phase that is done."""
    student_BHC: Tensor
    members_BMC: Tensor
    """Of the members that it learns from."""
    labels_B: Tensor
    mask_BM: Tensor | None


@dataclass(frozen=True)
class Kind(ABC, Generic[Own]):
    """One kind of student, with the settings of one run.

    Attributes:
        task: what is learnt.
        own: its own section of the configuration.
        shared: what all kinds share, `distill`.
        num_members: members it learns from, the first so many.
    """

    kind: ClassVar[StudentKind]
    colour: ClassVar[str]
    """In pictures and tables; after Okabe and Ito, so that all are told apart with any colour vision."""
    words: ClassVar[Mapping[TaskName, str]]
    """What it is, for each task that it can learn."""

    task: Task
    own: Own
    shared: DistillConfig
    num_members: int

    @property
    @abstractmethod
    def phases(self) -> list[Phase]:
        """What is done in order; every kind takes the same number of epochs in all."""

    def only_phase(self, name: str) -> Phase:
        """That of a kind with one head and one loss: as many epochs as all phases of another kind."""
        return Phase(name, 1, self.shared.mean_phase_epochs + self.shared.epochs)

    @abstractmethod
    def main_loss(self, step: Step) -> Summed | Correlated:
        """What it minimises at a step, before the terms that have a weight."""

    def loss(
        self,
        phase: Phase,
        progress: float,
        student_BHC: Tensor,
        teacher_BMC: Tensor,
        labels_B: Tensor,
        mask_BM: Tensor | None = None,
    ) -> list[Summed | Correlated]:
        """The terms of what is minimised at a step, weighted; each is over the rows that it can be computed for.

        Args:
            phase: where the training is.
            progress: share of the phase that is done.
            student_BHC: the student's outputs.
            teacher_BMC: outputs of all members.
            labels_B: as the shards have them, with rows that have none.
            mask_BM: members that each row is learnt from, or their weights; None for all alike.
        """
        members_BMC = teacher_BMC[:, : self.num_members]
        mask_BM = None if mask_BM is None else mask_BM[:, : self.num_members]
        step = Step(phase, progress, student_BHC, members_BMC, labels_B, mask_BM)
        terms: list[Summed | Correlated] = [self.main_loss(step)]
        for term, weight in self.terms:
            if phase.num_heads > 1 or not term.needs_heads:
                found = term.form(self.task.name)(student_BHC, members_BMC, labels_B, mask_BM)
                terms.append(found.scaled(weight))
        return terms

    @cached_property
    def terms(self) -> list[tuple[Term, float]]:
        """The terms with a weight above 0 whose key is the kind's own or one of `distill` it reads, and the user's."""
        shared = {key: getattr(self.shared, key) for key in self.own.reads}
        users = [(own_term(each.import_path), each.weight) for each in self.own.terms]
        return terms_of({**shared, **dict(self.own)}) + users

    @property
    def softening(self) -> Softening:
        """Of the kinds that compare softened logits."""
        return Softening(self.shared.temperature, bool(self.shared.standardise))

    def next_student(self, student: HydraStudent, phase: Phase, seed: int) -> HydraStudent:
        """The student that a phase begins with, from that of the phase before."""
        raise NotImplementedError(f"{self.kind} has one phase")

    @staticmethod
    def prediction(
        task: Task,
        outputs_NHC: Tensor,
        calibration: Calibration | None = None,
        weights_H: Sequence[float] | None = None,
    ) -> Prediction:
        """What the student's outputs say.

        Args:
            task: what was learnt.
            outputs_NHC: of the student.
            calibration: of the heads' disagreement; None leaves them as they are.
            weights_H: of the heads in the mixture, where their members have weights.
        """
        heads = Members.weighted(weights_H if outputs_NHC.shape[1] > 1 else None, outputs_NHC)
        if calibration is not None:
            outputs_NHC = calibration.applied(task, outputs_NHC.double(), heads)
        return task.of_members(outputs_NHC, heads)
