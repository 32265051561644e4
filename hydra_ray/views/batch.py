"""Rows on their way through a view: their random numbers, the rows they are mixed with, the scale of their features.

Also the options of views that blend and of views that mix. B rows of D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from hydra_ray.config import Section
from hydra_ray.data import Features
from hydra_ray.randomness import Draws

Mixes = Literal["nothing", "rows", "columns", "nearest"]
"""With which rows of its block a row is mixed: none, another one, one for each feature, the one nearest to it."""
_ELEMENTS_AT_ONCE = 1 << 21
_PARTNER_DRAW = 1 << 40


class AmountOptions(Section):
    """How much of the other is blended in: uniform between two weights."""

    amount_min: Annotated[float, Field(ge=0, le=1)] = 0.1
    amount_max: Annotated[float, Field(ge=0, le=1)] = 0.5

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.amount_min > self.amount_max:
            raise ValueError(f"amount_min={self.amount_min} is above amount_max={self.amount_max}; swap them")
        return self


class BlockOptions(Section):
    """Partners are seeded choices among the other rows of the same block."""

    block_rows: Annotated[int, Field(ge=2, le=1_000_000_000)] = 500
    """Rows with equal `row_id // block_rows` form a block; whoever applies the view hands in whole blocks."""


@dataclass(frozen=True)
class ViewBatch:
    """B rows on their way through a view: uint8 [B, H, W, channels] or float32 [B, D]."""

    rows: Tensor
    draws: Draws
    partners: Tensor
    """One row for each of `rows` to be mixed with; `rows` itself where the view does not mix."""
    features: Features | None = None
    """The scale of feature rows; none for images."""

    def scale(self) -> Features:
        """The scale of feature rows.

        Raises:
            ValueError: whoever applies the view left it out.
        """
        if self.features is None:
            raise ValueError("views of feature rows need the training rows' scale")
        return self.features.to(self.rows.device)

    @property
    def has_codes(self) -> bool:
        """Whether some of the features are codes, see `Features.is_code`."""
        return self.features is not None and not self.features.all_are_numbers

    def with_codes(self, made: Tensor, codes: Tensor | None = None) -> Tensor:
        """`made`, but where features are codes `codes`, by default those of the row itself."""
        if not self.has_codes:
            return made
        return torch.where(self.scale().is_code(), self.rows if codes is None else codes, made)

    def together(self, values_BD: Tensor) -> Tensor:
        """Values of features, where a feature goes with another those of that one."""
        if self.features is None or not self.features.goes_with:
            return values_BD
        return values_BD[:, self.scale().first_of()]

    def per_row(self, values_B: Tensor) -> Tensor:
        """Values of rows, shaped to broadcast over the rows' elements."""
        return values_B.reshape(-1, *(1 for _ in self.rows.shape[1:]))

    def amounts(self, options: AmountOptions) -> Tensor:
        """Draw 0 as a weight: float32, broadcasts over the rows' elements."""
        span = options.amount_max - options.amount_min
        return self.per_row(self.draws.uniform(0, 1) * span + options.amount_min)


def pieces(whole: ViewBatch) -> Iterator[ViewBatch]:
    """The batch in pieces that bound the memory of the work in between."""
    size = max(1, _ELEMENTS_AT_ONCE // max(1, whole.rows[0].numel()))
    for start in range(0, len(whole.rows), size):
        part = slice(start, start + size)
        draws = Draws(whole.draws.state[part])
        yield replace(whole, rows=whole.rows[part], draws=draws, partners=whole.partners[part])


def partner_rows(
    mixes: Mixes, inputs: Tensor, keys: Tensor, block: Tensor, draws: Draws, features: Features | None
) -> Tensor:
    """What every row is mixed with, see `Mixes`."""
    if mixes == "nothing":
        return inputs
    if mixes == "rows":
        return inputs[_partners(keys, block, draws, 1)[:, 0]]
    batch = ViewBatch(inputs, draws, inputs, features)
    if mixes == "columns":
        return inputs.gather(0, batch.together(_partners(keys, block, draws, inputs.shape[1])))
    return inputs[_nearest(inputs, keys, block, batch.scale())]


def _partners(keys: Tensor, block: Tensor, draws: Draws, count: int) -> Tensor:
    """Indices of other rows of the same block for every row, its own where it is alone: int64 [B, count].

    Rows are ranked by key within their block, so that the order in which they come does not matter.
    """
    order = _ordered(keys, block)
    in_order = block[order]
    number = in_order.diff(prepend=in_order[:1]).ne(0).cumsum(0)  # `unique_consecutive` would wait for a GPU
    sizes = torch.zeros_like(number).index_add_(0, number, torch.ones_like(number))
    size = sizes[number, None]
    start = (sizes.cumsum(0) - sizes)[number, None]
    rank = torch.arange(len(keys), device=keys.device)[:, None] - start
    chance = draws.uniform(_PARTNER_DRAW, count)[order].double()
    step = 1 + (chance * (size - 1)).floor().long()
    partners = torch.empty_like(step)
    partners[order] = order[start + (rank + step) % size]
    return partners


def _nearest(rows: Tensor, keys: Tensor, block: Tensor, features: Features) -> Tensor:
    """The index of the nearest other row of the same block, its own where it is alone: int64 [B].

    Squared differences of numbers, each in units of its range in the training rows, plus one for each code that is
    another; the first by key of those that are equally near.
    """
    order = _ordered(keys, block)
    is_code = features.is_code()
    span = torch.where(features.low < features.high, features.high - features.low, 1)
    numbers = ((rows - features.low) / span)[order][:, ~is_code].double()
    codes = rows[order][:, is_code].double()
    nearest = torch.empty_like(order)
    start = 0
    for size in torch.unique_consecutive(block[order], return_counts=True)[1].tolist():
        part = slice(start, start + size)
        # cdist by matrix products is quicker, and its last bits depend on the machine
        distance = torch.cdist(numbers[part], numbers[part], compute_mode="donot_use_mm_for_euclid_dist").square()
        distance += torch.cdist(codes[part], codes[part], p=0.0)
        nearest[order[part]] = order[part][distance.fill_diagonal_(torch.inf).argmin(1)]
        start += size
    return nearest


def _ordered(keys: Tensor, block: Tensor) -> Tensor:
    """Indices of the rows, block after block and by key within each: int64 [B]."""
    by_key = keys.argsort(stable=True)
    return by_key[block[by_key].argsort(stable=True)]
