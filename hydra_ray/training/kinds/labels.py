"""`labels`: the control, the student's own network trained on labels alone, with the rows and steps of the others.

What a student gains by its teachers is what it is better than this. Rows without a label, as mixed ones are, teach it
nothing.
"""

from __future__ import annotations

from torch import Tensor

from hydra_ray.config import students
from hydra_ray.losses import LABELS, Summed
from hydra_ray.training.kinds.base import Kind, Phase


class Labels(Kind[students.LabelsConfig]):
    """See the module."""

    kind = "labels"
    colour = "#e69f00"
    words = dict.fromkeys(("classification", "regression"), "the same network taught by labels, without members")

    @property
    def phases(self) -> list[Phase]:
        """One."""
        return [Phase("labels", 1, self.shared.mean_phase_epochs + self.shared.epochs)]

    def main_loss(
        self,
        phase: Phase,
        progress: float,
        student_BHC: Tensor,
        members_BMC: Tensor,
        labels_B: Tensor,
        mask_BM: Tensor | None,
    ) -> Summed:
        """Negative log likelihood of the labels, whoever of the members answered."""
        found = LABELS.form(self.task.name)(student_BHC, members_BMC, labels_B, mask_BM)
        assert isinstance(found, Summed)
        return found


KIND = Labels
