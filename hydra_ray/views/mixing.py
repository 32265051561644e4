"""Views that mix a row with others of its block; what they make has no single label.

B rows of D features.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hydra_ray.views.batch import AmountOptions, BlockOptions, ViewBatch
from hydra_ray.views.registry import view
from hydra_ray.views.resampling import pixel_grid


class MixOptions(AmountOptions, BlockOptions):
    """The share of a partner row."""


@view(MixOptions, takes="both", mixes="rows", keeps_label=False)
def mixup(options: MixOptions, batch: ViewBatch) -> Tensor:
    """Weighted means of two rows; a category is that of one of the two, the partner's by its weight as probability."""
    amount = batch.amounts(options)
    mixed = batch.rows * (1 - amount) + batch.partners * amount
    if not batch.has_codes:
        return mixed
    is_partners = batch.draws.uniform(1, batch.rows.shape[1]) < amount
    return batch.with_codes(mixed, torch.where(is_partners, batch.partners, batch.rows))


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
    """Every feature from another row: the margins stay, what belongs together does not.

    The columns of the table, each shuffled for itself.
    """
    return batch.partners


class SwapOptions(BlockOptions):
    """How many cells come from elsewhere."""

    share: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Part of a row's cells, one at least."""


@view(SwapOptions, takes="features", mixes="columns", keeps_label=False)
def swap(options: SwapOptions, batch: ViewBatch) -> Tensor:
    """A share of the cells, each from another row of its own, as AutoGluon's SPUNGE does it (without its noise)."""
    chance = batch.draws.uniform(0, batch.rows.shape[1])
    each_once = chance if batch.features is None else chance[:, batch.features.places_of_first]
    num_swapped = max(1, round(options.share * each_once.shape[1]))
    is_swapped = batch.together(chance) <= each_once.kthvalue(num_swapped, keepdim=True).values
    return torch.where(is_swapped, batch.partners, batch.rows)


class MungeOptions(BlockOptions):
    """How many cells change, and how near to the neighbour's they become."""

    swap_probability: Annotated[float, Field(gt=0, le=1)] = 0.5
    """p: of each cell."""
    local_variance: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """s: a number gets noise of standard deviation |difference to the neighbour| / s; the larger, the less."""


@view(MungeOptions, takes="features", mixes="nearest", keeps_label=False)
def munge(options: MungeOptions, batch: ViewBatch) -> Tensor:
    """Rows that take cells from their nearest neighbour (MUNGE; Bucila et al. 2006, "Model compression", section 3).

    With probability p a number e_a becomes normal(e'_a, |e_a - e'_a| / s) and a category e'_a, e' the nearest other row
    of the block. In the paper a pair is changed at once, here every row for itself, when it is its turn. Defaults are
    AutoGluon's, the paper leaves p and s open.
    """
    num_features = batch.rows.shape[1]
    is_chosen = batch.together(batch.draws.uniform(0, num_features)) < options.swap_probability
    deviation = (batch.rows - batch.partners).abs() / options.local_variance
    numbers = batch.partners + deviation * batch.draws.normal(num_features, num_features)
    return torch.where(is_chosen, batch.with_codes(numbers, batch.partners), batch.rows)


def _within(place: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """Whether pixels along one axis lie in a random span of round(side * size) pixels."""
    size = place.numel()
    span = (side * size).round()
    first = (start * (size - span + 1)).floor()
    return (place >= first) & (place < first + span)
