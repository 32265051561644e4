"""`proxy_end2`: a Dirichlet fitted to a proxy Dirichlet of the members by reverse KL (Ryabinin et al. 2021)."""

from __future__ import annotations

from torch import Tensor

from hydra_ray.config import students
from hydra_ray.losses import Summed, proxy_dirichlet_rkl
from hydra_ray.training.kinds.base import Phase
from hydra_ray.training.kinds.dirichlet import DirichletKind


class ProxyEnd2(DirichletKind[students.ProxyEnd2Config]):
    """See the module."""

    kind = "proxy_end2"
    colour = "#cc79a7"
    words = {"classification": "one network that gives a Dirichlet distribution, by its proxy"}  # noqa: RUF012

    def main_loss(
        self,
        phase: Phase,
        progress: float,
        student_BHC: Tensor,
        members_BMC: Tensor,
        labels_B: Tensor,
        mask_BM: Tensor | None,
    ) -> Summed:
        """Reverse KL from the proxy."""
        outputs_BC = student_BHC[:, 0]
        bound = self.own.max_precision
        return proxy_dirichlet_rkl(outputs_BC, members_BMC, max_precision=bound, mask_BM=mask_BM)


KIND = ProxyEnd2
