"""`kd`: plain distillation, one head that learns the members' mean and knows nothing of their disagreement."""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import Summed
from hydra_ray.training.kinds.base import Kind, Phase, Step


class Kd(Kind[students.KdConfig]):
    """See the module."""

    kind = "kd"
    colour = "#d55e00"
    words = {  # noqa: RUF012
        "classification": "one network taught the members' mean",
        "regression": "one network taught the mean and variance of the members' mixture",
    }

    @property
    def phases(self) -> list[Phase]:
        """One."""
        return [self.only_phase("mean")]

    def main_loss(self, step: Step) -> Summed:
        """Imitate the members' mean."""
        return self.task.likelihood.mean_loss(step.student_BHC[:, 0], step.members_BMC, self.softening, step.mask_BM)


KIND = Kd
