"""The scale of feature rows: what views and people need to know of each feature, taken from the training rows once.

A small object that travels with the work, so that nothing is estimated from the batch at hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hydra_ray.data.splits import Split

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True, eq=False)
class Features:
    """D features of the training rows, in their own units; every field but the last two is float32 [D]."""

    mean: Tensor
    std: Tensor
    """Over all training rows (divided by their number); 0 for a feature that never changes."""
    low: Tensor
    """Smallest value."""
    high: Tensor
    """Largest value."""
    categories: tuple[int, ...] = ()
    """See `Source.categories`."""
    goes_with: tuple[int, ...] = ()
    """See `Source.goes_with`."""

    @classmethod
    def of(cls, split: Split) -> Features:
        """From all rows of a split, in one pass; sums are of float64.

        Raises:
            UserError: a row that cannot be read, or has a value that is not finite.
        """
        import torch  # data sets are opened without it

        count = 0
        mean = np.zeros(1)
        squares = np.zeros(1)
        low = np.full(1, np.inf, np.float32)
        high = np.full(1, -np.inf, np.float32)
        for start, stop in split.chunks(_ROWS_AT_ONCE):
            rows = split.read(start, stop).inputs
            low = np.minimum(low, rows.min(0))
            high = np.maximum(high, rows.max(0))
            new_mean = rows.mean(0, dtype=np.float64)
            new_squares = rows.var(0, dtype=np.float64) * len(rows)
            step = new_mean - mean
            count = count + len(rows)
            squares = squares + new_squares + step**2 * (len(rows) * (count - len(rows)) / count)
            mean = mean + step * (len(rows) / count)
        std = np.where(low < high, np.sqrt(squares / count), 0)
        parts = (torch.from_numpy(each.astype(np.float32)) for each in (mean, std, low, high))
        return cls(*parts, categories=split.source.categories, goes_with=split.source.goes_with)

    def to(self, device: torch.device) -> Features:
        """The same numbers on a device."""
        parts = (each.to(device) for each in (self.mean, self.std, self.low, self.high))
        return Features(*parts, categories=self.categories, goes_with=self.goes_with)

    @property
    def all_are_numbers(self) -> bool:
        """Whether no feature is the code of a category, or says where a number is missing."""
        return not any(self.categories) and not self.goes_with

    def is_code(self) -> Tensor:
        """Which features are codes of a category, or say where a number is missing: bool [D]."""
        import torch

        num_codes = torch.tensor(self.categories or [0] * len(self.low), device=self.low.device)
        return (num_codes > 0) | ~self.is_first()

    @property
    def places_of_first(self) -> list[int]:
        """Those of the features that stand for themselves, known without asking a device."""
        return [place for place, first in enumerate(self.goes_with or range(len(self.low))) if place == first]

    def is_first(self) -> Tensor:
        """Which features stand for themselves, and do not go with another: bool [D]."""
        import torch

        places = torch.arange(len(self.low), device=self.low.device)
        return self.first_of() == places

    def first_of(self) -> Tensor:
        """The place of the feature that each goes with, mostly its own: int64 [D]."""
        import torch

        return torch.tensor(self.goes_with or range(len(self.low)), device=self.low.device)
