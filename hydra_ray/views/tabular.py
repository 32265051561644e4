"""Random rows in and around the box of the training rows' features: where members were never shown what is right.

Views of feature rows. Categories stay as they are. B rows of D features.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hydra_ray.config import Section
from hydra_ray.data import Features
from hydra_ray.views.batch import ViewBatch
from hydra_ray.views.registry import view


class UniformBoxOptions(Section):
    """Uniform in the box of the training rows' smallest and largest features, widened."""

    margin: Annotated[float, Field(ge=0, le=1e3)] = 0.1
    """By how much on each side, as a share of the feature's range."""


@view(UniformBoxOptions, takes="features", keeps_label=False, changes_codes=False)
def uniform_box(options: UniformBoxOptions, batch: ViewBatch) -> Tensor:
    """Every number uniform in its range, widened by `margin` ranges on each side: float32 [B, D]."""
    features = batch.scale()
    place = batch.draws.uniform(0, len(features.low))
    return batch.with_codes(_at(features, place * (1 + 2 * options.margin) - options.margin))


class OutsideBoxOptions(Section):
    """Uniform in that part of the widened box where at least one feature is out of its range."""

    margin: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    """By how much the box is wider on each side, as a share of the feature's range."""


@view(OutsideBoxOptions, takes="features", keeps_label=False, changes_codes=False)
def outside_box(options: OutsideBoxOptions, batch: ViewBatch) -> Tensor:
    """Uniform in the widened box without the box itself: float32 [B, D].

    In the widened box each number that varies is out of its range with probability q = 2 margin / (1 + 2 margin),
    independently. The first that is, is drawn from its distribution given that there is one,
    P(k) = (1 - q)^k q / (1 - (1 - q)^V) for V varying numbers; those before it are then within their ranges, those
    behind it anywhere.
    """
    features = batch.scale()
    draws = batch.draws
    margin = options.margin
    num_features = len(features.low)
    varies = (features.low < features.high) & ~features.is_code()
    q = 2 * margin / (1 + 2 * margin)
    place = draws.uniform(0, num_features)
    chance = draws.uniform(num_features, 1).double() * -math.expm1(int(varies.sum()) * math.log1p(-q))
    first = (torch.log1p(-chance) / math.log1p(-q)).floor()
    rank = varies.cumsum(0) - 1
    anywhere = place * (1 + 2 * margin) - margin
    rows = _at(features, torch.where(rank < first, place, anywhere))
    return batch.with_codes(torch.where(varies & (rank == first), _out_of_range(features, place, margin), rows))


def _out_of_range(features: Features, place: Tensor, margin: float) -> Tensor:
    """Uniform within `margin` ranges below the smallest or above the largest value, and never either of them."""
    below = _at(features, -2 * margin * (0.5 - place))
    above = _at(features, 1 + 2 * margin * (place - 0.5))
    least, most = (torch.tensor(each, device=place.device) for each in (-math.inf, math.inf))
    below = torch.minimum(below, torch.nextafter(features.low, least))
    return torch.where(place < 0.5, below, torch.maximum(above, torch.nextafter(features.high, most)))


def _at(features: Features, place: Tensor) -> Tensor:
    """The value at a place in units of the range, 0 for the smallest and 1 for the largest."""
    return features.low + place * (features.high - features.low)
