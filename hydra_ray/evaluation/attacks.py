"""Attacks on members, ensemble and students: who stays right on whose adversarial rows, and the figures of that.

The attacks are in `metrics/attacks.py`; where the work is done is not known here (`cluster/attacks.py`).

Shapes: N rows, B of them at once, M members, V predictors, K kinds of attack, E sizes eps. Pixels are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from hydra_ray.config import AttacksConfig
from hydra_ray.evaluation.metrics_json import ENSEMBLE, MEMBER
from hydra_ray.losses import gradient_cosine
from hydra_ray.metrics import LogProbs, adversarial, gradient_by_pixels, mixture_log_probs
from hydra_ray.models import Ensemble, HydraStudent, Member
from hydra_ray.randomness import Draws, permutation, seed_of

_FULL_RANGE = 255.0
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class AttackedRows:
    """The rows that are attacked.

    Attributes:
        row_id: int64 [N].
        pixels: float32 [N, H, W, channels], in [0, 1].
        labels: int64 [N].
    """

    row_id: Tensor
    pixels: Tensor
    labels: Tensor

    @classmethod
    def chosen(cls, row_id: Tensor, inputs: Tensor, labels: Tensor, num_rows: int, seed: int) -> AttackedRows:
        """A random choice of stored rows, uint8 [N, H, W, channels]; all of them where there are no more.

        Args:
            row_id: of the rows.
            inputs: the rows.
            labels: their classes.
            num_rows: how many are wanted.
            seed: the run's.
        """
        chosen = permutation(len(row_id), seed_of(seed, "attacked rows"))[:num_rows].sort().values
        return cls(row_id[chosen], inputs[chosen].float() / _FULL_RANGE, labels[chosen])

    def __len__(self) -> int:
        return len(self.row_id)

    def to(self, device: torch.device) -> AttackedRows:
        """The same rows on a device."""
        return AttackedRows(self.row_id.to(device), self.pixels.to(device), self.labels.to(device))

    def batches(self) -> list[AttackedRows]:
        """As many rows as are attacked at once."""
        parts = (part.split(_ROWS_AT_ONCE) for part in (self.row_id, self.pixels, self.labels))
        return [AttackedRows(*batch) for batch in zip(*parts, strict=True)]


def predictors_of(members: Sequence[Member], students: Mapping[str, HydraStudent]) -> dict[str, LogProbs]:
    """Who is attacked, by name: every member, `ensemble` and the students, each by its mean probabilities.

    Networks have to be in evaluation mode; their weights have no gradients afterwards.

    Args:
        members: the ensemble's.
        students: by name; heads without their calibration.
    """
    ensemble = Ensemble(members)
    ensemble.requires_grad_(requires_grad=False)
    found: dict[str, LogProbs] = {}
    for number, member in enumerate(members):
        member.requires_grad_(requires_grad=False)
        found[member_name(number)] = _of_one(member)
    found[ENSEMBLE] = _of_several(ensemble.members.on_same)
    for name, student in students.items():
        student.requires_grad_(requires_grad=False)
        found[name] = _of_several(student)
    return found


def member_name(number: int) -> str:
    """What a member is called among the predictors."""
    return f"{MEMBER} {number}"


def _of_one(outputs: Callable[[Tensor], Tensor]) -> LogProbs:
    return _of_several(lambda stored_B: outputs(stored_B).unsqueeze(1))


def _of_several(outputs: Callable[[Tensor], Tensor]) -> LogProbs:
    """A predictor of what stored pixels, 0 to 255, are given for: outputs [B, M, C]."""

    def log_probs(pixels_B: Tensor) -> Tensor:
        stored_B = _FULL_RANGE * pixels_B
        if not stored_B.requires_grad:
            stored_B.requires_grad_()  # which is how networks know that images are meant to be float
        return mixture_log_probs(outputs(stored_B))

    return log_probs


def answered_right(predictors: Mapping[str, LogProbs], rows: AttackedRows) -> Tensor:
    """Who is right on which rows: bool [V, N]."""
    return torch.cat([_right(predictors, batch.pixels, batch.labels) for batch in rows.batches()], dim=1)


def right_under_attack(
    predictors: Mapping[str, LogProbs], source: str, rows: AttackedRows, settings: AttacksConfig, seed: int
) -> Tensor:
    """Who is right on the adversarial rows that are made against one predictor: bool [K, E, V, N].

    Args:
        predictors: all of them.
        source: the one that is attacked.
        rows: what is changed.
        settings: kinds and sizes of the attacks.
        seed: the run's; all predictors are attacked from the same random starts.
    """
    starts_seed = seed_of(seed, "attack starts")
    tried = list(product(settings.kinds, settings.eps))

    def of_batch(batch: AttackedRows) -> Tensor:
        draws = Draws.of(starts_seed, batch.row_id)
        against = predictors[source]
        made = (adversarial(kind, against, batch.pixels, batch.labels, draws, eps, settings) for kind, eps in tried)
        right = [_right(predictors, pixels_B, batch.labels) for pixels_B in made]
        return torch.stack(right).unflatten(0, (len(settings.kinds), len(settings.eps)))

    return torch.cat([of_batch(batch) for batch in rows.batches()], dim=-1)


def mean_gradient_cosine(members: Sequence[LogProbs], rows: AttackedRows) -> float | None:
    """Mean over rows and pairs of members of |cos| of their cross-entropy's gradients by the pixels, as in TRS.

    None of a single member.
    """
    if len(members) < 2:
        return None
    cosines = []
    for batch in rows.batches():
        each = [gradient_by_pixels("ce", member, batch.pixels, batch.labels) for member in members]
        cosines.append(gradient_cosine(torch.stack(each).double()))
    return float(torch.cat(cosines).mean())


@torch.no_grad()
def _right(predictors: Mapping[str, LogProbs], pixels_B: Tensor, labels_B: Tensor) -> Tensor:
    return torch.stack([log_probs(pixels_B).argmax(1) == labels_B for log_probs in predictors.values()])
