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
        """Cooled from the first to 1 by the same factor at every step of `cooling`, a share of the training; then 1."""
        cooling = self.own.cooling
        left = max(0.0, 1 - progress / cooling) if cooling else 0.0
        return self.own.first_temperature**left


KIND = End2
