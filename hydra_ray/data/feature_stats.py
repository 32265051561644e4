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
    """D features of the training rows, in their own units; every field but `categories` is float32 [D]."""

    mean: Tensor
    std: Tensor
    """Over all training rows (divided by their number); 0 for a feature that never changes."""
    low: Tensor
    """Smallest value."""
    high: Tensor
    """Largest value."""
    categories: tuple[int, ...] = ()
    """Of each feature how many codes it has, 0 for a number; () where none is a category."""

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
        return cls(*parts, categories=split.source.categories)

    def to(self, device: torch.device) -> Features:
        """The same numbers on a device."""
        parts = (each.to(device) for each in (self.mean, self.std, self.low, self.high))
        return Features(*parts, categories=self.categories)

    def is_category(self) -> Tensor:
        """Which features are codes of a category: bool [D]."""
        import torch

        num_codes = torch.tensor(self.categories or [0] * len(self.low), device=self.low.device)
        return num_codes > 0
