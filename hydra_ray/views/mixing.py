"""Views that mix a row with others of its block; what they make has no single label."""

from __future__ import annotations

import torch
from torch import Tensor

from hydra_ray.views.batch import AmountOptions, BlockOptions, ViewBatch
from hydra_ray.views.registry import view
from hydra_ray.views.resampling import pixel_grid


class MixOptions(AmountOptions, BlockOptions):
    """The share of a partner row."""


@view(MixOptions, takes="both", mixes="rows", keeps_label=False)
def mixup(options: MixOptions, batch: ViewBatch) -> Tensor:
    """Weighted means of two rows."""
    amount = batch.amounts(options)
    return batch.rows * (1 - amount) + batch.partners * amount


@view(MixOptions, mixes="rows", keeps_label=False)
def cutmix(options: MixOptions, batch: ViewBatch) -> Tensor:
    """A rectangle of the image's own proportions; its area is the partner's share."""
    side = batch.amounts(options)[..., 0].sqrt()
    _, right, down = batch.draws.uniform(0, 3).reshape(-1, 3, 1, 1).unbind(1)
    x, y = pixel_grid(batch.rows)
    inside = _within(x, right, side) & _within(y, down, side)
    return torch.where(inside[..., None], batch.partners, batch.rows)


@view(BlockOptions, takes="features", mixes="columns", keeps_label=False)
def resample(_: BlockOptions, batch: ViewBatch) -> Tensor:
    """Every feature from another row: the margins stay, what belongs together does not."""
    return batch.partners


def _within(place: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """Whether pixels along one axis lie in a random span of round(side * size) pixels."""
    size = place.numel()
    span = (side * size).round()
    first = (start * (size - span + 1)).floor()
    return (place >= first) & (place < first + span)
