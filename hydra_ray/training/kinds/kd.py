"""`kd`: plain distillation, one head that learns the members' mean and knows nothing of their disagreement."""

from __future__ import annotations

from torch import Tensor

from hydra_ray.config import students
from hydra_ray.losses import Summed
from hydra_ray.training.kinds.base import Kind, Phase


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
        return [Phase("mean", 1, self.shared.mean_phase_epochs + self.shared.epochs)]

    def main_loss(
        self,
        phase: Phase,
        progress: float,
        student_BHC: Tensor,
        members_BMC: Tensor,
        labels_B: Tensor,
        mask_BM: Tensor | None,
    ) -> Summed:
        """Imitate the members' mean."""
        return self.task.likelihood.mean_loss(student_BHC[:, 0], members_BMC, self.shared.temperature, mask_BM)


KIND = Kd
