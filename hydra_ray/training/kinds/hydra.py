"""`hydra`: one head learns the members' mean, then M heads that start from it learn a member each.

Tran et al. 2020 (arXiv 2001.04694). Nothing is frozen in the second phase.
"""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import Summed
from hydra_ray.models import HydraStudent
from hydra_ray.training.kinds.base import Kind, Phase, Step

MEAN = "mean"
HEADS = "heads"


class Hydra(Kind[students.HydraConfig]):
    """See the module."""

    kind = "hydra"
    colour = "#0072b2"
    words = dict.fromkeys(("classification", "regression"), "one network, a head for each member")

    @property
    def phases(self) -> list[Phase]:
        """The mean, then the heads."""
        phases = [
            Phase(MEAN, 1, self.shared.mean_phase_epochs),
            Phase(HEADS, self.num_members, self.shared.epochs),
        ]
        return [phase for phase in phases if phase.num_epochs]

    def main_loss(self, step: Step) -> Summed:
        """Imitate the members' mean, then head m member m."""
        likelihood = self.task.likelihood
        if step.phase.name == MEAN:
            return likelihood.mean_loss(step.student_BHC[:, 0], step.members_BMC, self.softening, step.mask_BM)
        return likelihood.heads_loss(step.student_BHC, step.members_BMC, self.softening, step.mask_BM)

    def next_student(self, student: HydraStudent, phase: Phase, seed: int) -> HydraStudent:
        """All heads start from the one, moved by noise."""
        return student.expand(phase.num_heads, self.own.head_init_noise, seed)


KIND = Hydra
