"""`prior_network`: a Dirichlet taught by labels, and to be flat by unknown rows, not by members (Malinin & Gales 2019).

Rows of the transfer set that have no label are the unknown ones: those of another data set (`source` of a view), and
those that views make without a label, such as `uniform_box`.
"""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import Summed, prior_network_loss
from hydra_ray.training.kinds.base import Step
from hydra_ray.training.kinds.dirichlet import DirichletKind


class PriorNetwork(DirichletKind[students.PriorNetworkConfig]):
    """See the module."""

    kind = "prior_network"
    colour = "#56b4e9"
    words = {"classification": "one network that gives a Dirichlet distribution, by labels and unknown rows"}  # noqa: RUF012

    def main_loss(self, step: Step) -> Summed:
        """Reverse KL to a sharp Dirichlet at the label; `unknown_weight` brings that to the flat one."""
        return prior_network_loss(step.student_BHC[:, 0], step.labels_B, self.own.label_precision)


KIND = PriorNetwork
