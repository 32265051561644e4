"""`kd_temperature`: the members' mean and a temperature for each row, the cheap rival of heads for uncertainty.

One network of one head learns the mean as `kd` does. How far a row's prediction has to be sharpened to be as sure as
its members are on average is a further output, and gives knowledge uncertainty (`metrics/row_temperature.py`). It
knows how much members disagree, not in what.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hydra_ray.config import students
from hydra_ray.losses import Summed
from hydra_ray.metrics import row_temperature_scores
from hydra_ray.tasks import Prediction, Task
from hydra_ray.training.calibration import Calibration
from hydra_ray.training.kinds.base import Kind, Phase, Step


class KdTemperature(Kind[students.KdTemperatureConfig]):
    """See the module."""

    kind = "kd_temperature"
    colour = "#882255"
    words = {"classification": "one network taught the members' mean and, by a temperature, their disagreement"}  # noqa: RUF012

    @property
    def phases(self) -> list[Phase]:
        """One."""
        return [self.only_phase("mean")]

    def main_loss(self, step: Step) -> Summed:
        """Imitate the members' mean; the temperature is a term, `losses.row_temperature_loss`."""
        return self.task.likelihood.mean_loss(step.student_BHC[:, 0], step.members_BMC, self.softening, step.mask_BM)

    @staticmethod
    def prediction(
        task: Task,
        outputs_NHC: Tensor,
        calibration: Calibration | None = None,
        weights_H: Sequence[float] | None = None,
    ) -> Prediction:
        """Mean and uncertainty in closed form; there are no heads whose disagreement could be rescaled."""
        logits_NC = outputs_NHC[:, 0].double()
        return Prediction(logits_NC.log_softmax(dim=-1), row_temperature_scores(logits_NC), None)


KIND = KdTemperature
