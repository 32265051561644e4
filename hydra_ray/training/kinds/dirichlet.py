"""What `end2`, `proxy_end2` and `prior_network` share: one head whose logits are ln of a Dirichlet's parameters."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from torch import Tensor

from hydra_ray.metrics import dirichlet_log_probs, dirichlet_scores
from hydra_ray.tasks import Prediction, Task
from hydra_ray.training.calibration import Calibration
from hydra_ray.training.kinds.base import Kind, Own, Phase


class DirichletKind(Kind[Own], ABC):
    """See the module."""

    @property
    def phases(self) -> list[Phase]:
        """One."""
        return [self.only_phase("dirichlet")]

    @staticmethod
    def prediction(
        task: Task,
        outputs_NHC: Tensor,
        calibration: Calibration | None = None,
        weights_H: Sequence[float] | None = None,
    ) -> Prediction:
        """Mean and uncertainty in closed form; there are no heads whose disagreement could be rescaled."""
        logits_NC = outputs_NHC[:, 0]
        return Prediction(dirichlet_log_probs(logits_NC), dirichlet_scores(logits_NC), None)
