"""Figures of attacks: accuracy that is left, and whose adversarial rows fool whom. Runs no network.

Shapes: N attacked rows, M members, V predictors, K kinds of attack, E sizes eps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_ray.config import AttacksConfig
from hydra_ray.losses import log_volume


@dataclass(frozen=True)
class UnderAttack:
    """Who was right on which rows, before and under attacks.

    Attributes:
        settings: what was tried.
        num_members: M; members are the first predictors, `names` are those of the others.
        names: the ensemble and the students.
        clean_VN: bool, on the rows as they are.
        right_VKEVN: bool, [source, kind, eps, predictor, row]: on rows made against the source.
        gradient_cosine: mean |cos| of two members' gradients; None of one member.
    """

    settings: AttacksConfig
    num_members: int
    names: Sequence[str]
    clean_VN: Tensor
    right_VKEVN: Tensor
    gradient_cosine: float | None

    def figures(self) -> dict[str, Any]:
        """Under "robustness" in metrics.json."""
        own_KEV = _own(self.right_VKEVN).double().mean(-1)
        fooled_KEVV = self.share_fooled()
        others = slice(self.num_members, None)
        members = slice(0, self.num_members)
        return {
            "tried": {**self.settings.model_dump(), "rows": self.clean_VN.shape[1]},
            "clean": self._by_name(self.clean_VN.double().mean(-1)),
            "robust_accuracy": self._by_attack([[self._by_name(each) for each in kind] for kind in own_KEV]),
            "transfer": self._by_attack(
                [[self._between(each[others, others]) for each in kind] for kind in fooled_KEVV]
            ),
            "member_transfer": self._by_attack([[each[members, members] for each in kind] for kind in fooled_KEVV]),
        }

    def share_fooled(self) -> Tensor:
        """[K, E, source, predictor]: of the rows that both answer right, how many made against the source fool it.

        NaN where there is no such row. On the diagonal it is the share that the attack itself breaks.
        """
        both_VVN = self.clean_VN[:, None] & self.clean_VN[None]
        fooled_VKEV = (both_VVN[:, None, None] & ~self.right_VKEVN).double().sum(-1)
        return (fooled_VKEV / both_VVN.double().sum(-1)[:, None, None]).permute(1, 2, 0, 3)

    def _by_name(self, of_V: Tensor) -> dict[str, float]:
        """A figure of each predictor; the mean over members stands for each of them."""
        found = {"member": float(of_V[: self.num_members].mean())}
        return found | dict(zip(self.names, of_V[self.num_members :].tolist(), strict=True))

    def _between(self, fooled_VV: Tensor) -> dict[str, dict[str, float]]:
        """Source -> predictor -> share, of the ensemble and the students."""
        return {
            source: {name: share for name, share in zip(self.names, shares, strict=True) if name != source}
            for source, shares in zip(self.names, fooled_VV.tolist(), strict=True)
        }

    def _by_attack(self, values: Sequence[Sequence[Any]]) -> dict[str, dict[str, Any]]:
        """Kind -> eps -> value."""
        sizes = [f"{eps:g}" for eps in self.settings.eps]
        return {
            kind: dict(zip(sizes, each, strict=True)) for kind, each in zip(self.settings.kinds, values, strict=True)
        }


def mean_log_volume(logits_NMC: Tensor, labels_N: Tensor) -> float | None:
    """Mean over rows of ADP's ln det of the members' predictions of the classes that are not the label.

    None where there is one member, or more than such classes: directions are then dependent whatever they are.
    """
    _, num_members, num_classes = logits_NMC.shape
    if not 2 <= num_members < num_classes:
        return None
    return float(log_volume(logits_NMC.transpose(0, 1), labels_N).mean())


def _own(right_VKEVN: Tensor) -> Tensor:
    """Each predictor on the rows made against itself: [K, E, V, N]."""
    return torch.diagonal(right_VKEVN, dim1=0, dim2=3).movedim(-1, 2)
