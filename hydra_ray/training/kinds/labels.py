"""`labels`: the control, the student's own network trained on labels alone, with the rows and steps of the others.

What a student gains by its teachers is what it is better than this. Rows without a label, as mixed ones are, teach it
nothing.
"""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import LABELS, Correlated, Summed
from hydra_ray.training.kinds.base import Kind, Phase, Step


class Labels(Kind[students.LabelsConfig]):
    """See the module."""

    kind = "labels"
    colour = "#e69f00"
    words = dict.fromkeys(("classification", "regression"), "the same network taught by labels, without members")

    @property
    def phases(self) -> list[Phase]:
        """One."""
        return [self.only_phase("labels")]

    def main_loss(self, step: Step) -> Summed | Correlated:
        """Negative log likelihood of the labels, whoever of the members answered."""
        return LABELS.form(self.task.name)(step.student_BHC, step.members_BMC, step.labels_B, step.mask_BM)


KIND = Labels
