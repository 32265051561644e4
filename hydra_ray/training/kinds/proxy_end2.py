"""`proxy_end2`: a Dirichlet fitted to a proxy Dirichlet of the members by reverse KL (Ryabinin et al. 2021)."""

from __future__ import annotations

from hydra_ray.config import students
from hydra_ray.losses import Summed, proxy_dirichlet_rkl
from hydra_ray.training.kinds.base import Step
from hydra_ray.training.kinds.dirichlet import DirichletKind


class ProxyEnd2(DirichletKind[students.ProxyEnd2Config]):
    """See the module."""

    kind = "proxy_end2"
    colour = "#cc79a7"
    words = {"classification": "one network that gives a Dirichlet distribution, by its proxy"}  # noqa: RUF012

    def main_loss(self, step: Step) -> Summed:
        """Reverse KL from the proxy."""
        outputs_BC = step.student_BHC[:, 0]
        bound = self.own.max_precision
        return proxy_dirichlet_rkl(outputs_BC, step.members_BMC, max_precision=bound, mask_BM=step.mask_BM)


KIND = ProxyEnd2
