"""What a task is: everything that classification and regression do differently, split by subject.

A `Task` holds three objects: the likelihood (what outputs mean, and what is minimised), the figures (what is measured)
and the words (what terminal and report call things). Stages, loops, files and the report ask them and never compare
a task's name. Nothing here reads files or knows Ray.

Shapes: N or B rows, M members or heads, H outputs of a student. `outputs_NMC` are what networks say: C logits, or in a
regression means and log variances (C = 2) in target units. Labels are int64 numbers of classes with -1 for none, or
float32 targets with NaN for none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from torch import Tensor, nn

from hydra_ray.config import STUDENTS, Config
from hydra_ray.data import TaskName
from hydra_ray.errors import UserError
from hydra_ray.losses import Summed
from hydra_ray.metrics import (
    ALL_MEMBERS,
    Figures,
    Members,
    Outputs,
    RowScores,
    Scores,
    diversity_figures,
)
from hydra_ray.models import Member, OutputKind

MemberLoss = Callable[[Tensor, Tensor], Summed]


@dataclass(frozen=True)
class Prediction:
    """One predictor on one set of rows.

    Attributes:
        distribution: what it predicts, float64: log-probabilities [N, C]; in a regression the Gaussians of a mixture,
            means and log variances [N, K, 2], and in a third column the logarithms of their weights where these differ.
        scores: measures of uncertainty by name, each float64 [N].
        outputs_NMC: of members or heads; None for a Dirichlet, which has none.
        members: which of them each row has, and their weights.
    """

    distribution: Tensor
    scores: Scores
    outputs_NMC: Tensor | None
    members: Members = ALL_MEMBERS

    @property
    def answered_by_all(self) -> Tensor | None:
        """Rows that every member answered, bool [N]; None where all are."""
        weights_NM = self.members.weights_BM
        return None if weights_NM is None else (weights_NM > 0).all(dim=1)


class Softening(NamedTuple):
    """How logits of members and students are softened before they are compared; a regression has none."""

    temperature: float = 1.0
    """What they are divided by."""
    standardise: bool = False
    """Whether that is in units of the members' deviation over classes, row by row; see `losses/classification.py`."""


class Likelihood(ABC):
    """What outputs mean: the output layer, what members and students minimise, and the moments of a prediction."""

    shard_dtype: ClassVar[str]
    """Type of stored outputs where the configuration names none."""
    student_output: ClassVar[OutputKind]
    """What a student's outputs mean."""

    @abstractmethod
    def member_output(self, config: Config, num_outputs: int) -> tuple[OutputKind, int]:
        """What members' outputs mean and how many raw ones their networks have, for `DataSet.num_outputs`."""

    @abstractmethod
    def fit_output(self, kind: OutputKind, labels_N: np.ndarray) -> nn.Module:
        """The end of a member, in the units of the training rows' labels."""

    @abstractmethod
    def fit_student_output(self, outputs_NMC: np.ndarray, mask_NM: np.ndarray | None = None) -> nn.Module:
        """The end of a student, in the units of what members say of some rows: shards are all that it learns from.

        Args:
            outputs_NMC: of the members.
            mask_NM: which of them answered a row, or their weights.
        """

    @abstractmethod
    def member_loss(self, member: Member) -> MemberLoss:
        """What a member minimises: its outputs_BC, labels_B -> a sum over rows, nats."""

    @abstractmethod
    def fit_residual_variance(self, member: Member, outputs_NC: Tensor, labels_N: Tensor) -> Tensor:
        """Set what is no weight of a member but taken from validation rows; its outputs on them with that."""

    # losses of students: sums over the rows that count, and their number

    @abstractmethod
    def heads_loss(
        self, student_BMC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """Every head imitates its member; nats."""

    @abstractmethod
    def mean_loss(
        self, student_BC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """One output imitates the members' mixture; nats."""

    # predictions

    @abstractmethod
    def distribution(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """The mixture of outputs as `Prediction.distribution`."""

    @abstractmethod
    def each_distribution(self, outputs_NMC: Tensor) -> Tensor:
        """What each member or head says by itself, float64 [N, M, C]: probabilities, or the Gaussians as they are."""

    @abstractmethod
    def knowledge_of(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """Knowledge uncertainty alone: float64 [N]."""

    @abstractmethod
    def as_one_output(self, distribution: Tensor) -> Tensor:
        """What one head would say that predicts a mixture (`Prediction.distribution`): outputs [N, C]."""

    @abstractmethod
    def rescale_disagreement(self, outputs_NMC: Tensor, scale: float | Tensor) -> Tensor:
        """Outputs that disagree more (`scale` above 1; one, or [N]) or less about the same mean."""

    @abstractmethod
    def disagreement_scale(self, outputs_NMC: Tensor, knowledge_N: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """The scale of each row at which its knowledge uncertainty is `knowledge_N`: [N], within `SCALE_RANGE`."""

    @abstractmethod
    def member_kl(self, heads_NMC: Tensor, members_NMC: Tensor) -> float:
        """Mean over rows and heads of KL(member m || head m), nats."""


class TaskFigures(ABC):
    """What is measured: scores of rows, figures of predictors and how near a student is to its ensemble."""

    outputs: ClassVar[Outputs]
    """What scores and measures of diversity are computed from."""
    knowledge: ClassVar[str]
    """Name of the score that measures knowledge uncertainty."""
    total: ClassVar[str]
    """Name of the score that measures total uncertainty."""
    data: ClassVar[str]
    """Name of the score that measures data uncertainty."""
    quality: ClassVar[str]
    """Name of the figure, beside the NLL, that a predictor is known by."""

    @abstractmethod
    def scores(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Scores:
        """Measures of uncertainty of outputs; one output has none of disagreement."""

    @abstractmethod
    def disagreement(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> dict[str, Tensor]:
        """Figures of rows, [N] each, that say how much members disagree on them."""

    @abstractmethod
    def member_figures(self, outputs_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
        """`validation_nll` and the other figure a member is known by, of one member."""

    @abstractmethod
    def validation_figures(self, found: Prediction, labels_N: Tensor) -> dict[str, float]:
        """What a fit is judged by: `validation_nll` and the other figure of quality."""

    @abstractmethod
    def test_figures(
        self, test: Prediction, labels_N: Tensor, validation: Prediction, validation_labels: Tensor
    ) -> Figures:
        """Quality and mean uncertainty on test rows, under "test" in metrics.json."""

    @abstractmethod
    def single_figures(self, outputs_NC1: Tensor, labels_N: Tensor) -> Figures:
        """The same of one member alone, [N, 1, C]; what needs validation rows is left out."""

    def diversity(self, outputs_NMC: Tensor, labels_N: Tensor) -> Figures:
        """How members differ on labelled rows, beyond their scores: every registered measure."""
        return diversity_figures(outputs_NMC, labels_N, self.outputs)

    @abstractmethod
    def fidelity(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, paired: Sequence[Tensor] | None
    ) -> dict[str, float | None]:
        """How near a student's test predictions are to the ensemble's.

        Args:
            student: on test rows.
            ensemble: on the same.
            labels_N: theirs.
            paired: outputs of heads and of members, where there are heads that imitate members.
        """

    @abstractmethod
    def fidelity_intervals(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, num_samples: int, seed: int
    ) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of the figures of `fidelity` that are means over rows; the seed is the samples'."""

    @abstractmethod
    def row_scores(self, found: Prediction, labels_N: Tensor | None) -> RowScores:
        """What the report's pictures are drawn from."""

    @abstractmethod
    def quality_of(self, mean_error: np.ndarray) -> np.ndarray:
        """The figure `quality` of rows whose mean `RowScores.error` is `mean_error`."""

    @abstractmethod
    def grid_answers(self, found: Prediction) -> np.ndarray:
        """What each member or head answers, as pictures of the input space draw it: [N, K, C]."""


class TaskWords(ABC):
    """What terminal and report call things."""

    knowledge_short: ClassVar[str]
    """What knowledge uncertainty is called beside numbers."""
    knowledge_axis: ClassVar[str]
    """What it is called on an axis, with its unit where it has one of its own."""
    has_unit: ClassVar[bool]
    """Whether uncertainty is in a unit of its own, nats; else it is in the target's, squared."""
    total_short: ClassVar[str]
    """What total uncertainty is called."""
    better: ClassVar[str]
    """What the figure `TaskFigures.quality` does as predictions get better: rise or fall."""
    compared: ClassVar[Mapping[str, str]]
    """Figures of test rows in the first table: name in metrics.json -> heading."""
    published: ClassVar[Mapping[str, str]]
    """The same in tables of several runs."""
    comparison_note: ClassVar[str]
    """Below the first table of the report."""
    fidelity_note: ClassVar[str]
    """Below the second."""

    @abstractmethod
    def quality(self, figures: Mapping[str, Any]) -> str:
        """`validation_nll` and the other figure that a network is known by."""

    @abstractmethod
    def disagreement(self, facts: Mapping[str, float], train_labels: np.ndarray) -> str:
        """Means of `TaskFigures.disagreement`; the training rows' labels give them a measure."""


def check_students(task: TaskName, config: Config) -> None:
    """Refuse kinds of students that cannot learn a task.

    Raises:
        UserError: one line, the first of them.
    """
    able = [kind for kind, student in STUDENTS.items() if task in student.tasks]
    for kind in config.student_kinds:
        if kind not in able:
            is_for = ", ".join(STUDENTS[kind].tasks)
            raise UserError(
                f"students: {kind} is for {is_for}, and data.source={config.data.source} is a {task}; "
                f"use {' or '.join(able)}"
            )


@final
@dataclass(frozen=True)
class Task:
    """One kind of learning problem.

    Attributes:
        name: classification or regression.
        likelihood: what outputs mean and what is minimised.
        figures: what is measured.
        words: what things are called.
        check: refuses, as a `UserError` of one line, a configuration that asks for what this task has no use for.
    """

    name: TaskName
    likelihood: Likelihood
    figures: TaskFigures
    words: TaskWords
    check: Callable[[Config], None]

    def of_members(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Prediction:
        """An ensemble's prediction, or that of a student with heads and nothing more.

        Args:
            outputs_NMC: of members or heads.
            members: which of them each row has, and their weights.
        """
        distribution = self.likelihood.distribution(outputs_NMC, members)
        return Prediction(distribution, self.figures.scores(outputs_NMC, members), outputs_NMC, members)
