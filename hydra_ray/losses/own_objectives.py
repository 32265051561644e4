"""What a member minimises by itself beside how well it predicts (`ensemble.objective` of one network).

Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from hydra_ray.losses.sums import Summed


def diverse_loss(
    outputs_BD: Tensor, labels_B: Tensor, *, loss: Callable[[Tensor, Tensor], Summed], weight: float
) -> Summed:
    """A loss less `weight` times the diversity of the network's parts on a row, as DexDeepFM has it (Chen & Shi 2021).

    Args:
        outputs_BD: logits and in the last column the diversity, [B, C + 1].
        labels_B: of the rows.
        loss: of logits and labels.
        weight: of the diversity.
    """
    total, num_rows = loss(outputs_BD[:, :-1], labels_B)
    return Summed(total - weight * outputs_BD[:, -1].sum(), num_rows)


def squared_weights(parameters: Iterable[Tensor]) -> Tensor:
    """Sum of the squares of all weights and biases, embeddings among them: a scalar."""
    return torch.stack([each.square().sum() for each in parameters]).sum()
