"""`end2`: a Dirichlet fitted to the members' probabilities by maximum likelihood (Malinin et al. 2020)."""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import Summed, dirichlet_nll
from hydra_ray.training.kinds.base import Step
from hydra_ray.training.kinds.dirichlet import DirichletKind


class End2(DirichletKind[students.End2Config]):
    """See the module."""

    kind = "end2"
    colour = "#009e73"
    words = {"classification": "one network that gives a Dirichlet distribution"}  # noqa: RUF012

    def main_loss(self, step: Step) -> Summed:
        """Negative log likelihood of the members' probabilities."""
        temperature = self.temperature(step.progress)
        return dirichlet_nll(step.student_BHC[:, 0], step.members_BMC, temperature, self.own.smoothing, step.mask_BM)

    def temperature(self, progress: float) -> float:
        """The first for a third of the training, cooled to 1 for another, then 1, as the reproduction of EnD2 does."""
        first = self.own.first_temperature
        cooled = min(1.0, max(0.0, 3 * progress - 1))
        return first + (1.0 - first) * cooled


KIND = End2
