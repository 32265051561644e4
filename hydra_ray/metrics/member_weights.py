"""Which members a row is learnt from, and how much of each, as weights that every loss and measure can use.

`mask_BM` says it: bool, or the members' weights, 0 for those that the row is not learnt from (they were trained on it,
or have no answer). Without one, all members count alike. One rule for all losses: **rows have equal weight**. A row's
loss is the mean over its own members, so that a row learnt from one member counts as much as one learnt from all; a row
that is learnt from none counts as little as if it were not there.

B batch, M members.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import NamedTuple

import torch
from torch import Tensor

_TRIFLE = 1e-12  # of a row that has one member: its pairs differ by nothing


class Members(NamedTuple):
    """Which members each row is learnt from, as weights; both None for all members and rows."""

    weights_BM: Tensor | None
    """Sum to 1 in every row."""
    counts_B: Tensor | None
    """False for rows that do not count; their weights are those of all members, so that all stays finite."""

    @classmethod
    def of(cls, mask_BM: Tensor | None, least: int = 1) -> Members:
        """Weights of a mask; rows with fewer than `least` members do not count."""
        if mask_BM is None:
            return ALL_MEMBERS
        counts_B = (mask_BM > 0).sum(dim=1) >= least
        used_BM = torch.where(counts_B.unsqueeze(1), mask_BM.double(), 1.0)
        return cls(used_BM / used_BM.sum(dim=1, keepdim=True), counts_B)

    @classmethod
    def weighted(cls, weights_M: Sequence[float] | None, outputs: Tensor) -> Members:
        """The same weights for every row of some outputs [B, ...]; None for equal ones."""
        if weights_M is None:
            return ALL_MEMBERS
        weights = torch.tensor(weights_M, dtype=torch.float64)
        rows = outputs.shape[0]  # a graph of any number of rows has no `len`
        return cls((weights / weights.sum()).expand(rows, -1), torch.ones(rows, dtype=torch.bool))

    def split(self, rows: int) -> Iterator[Members]:
        """Chunks of so many rows; for all members alike there is no end of them."""
        if self.weights_BM is None or self.counts_B is None:
            return repeat(ALL_MEMBERS)
        return map(Members, self.weights_BM.split(rows), self.counts_B.split(rows))

    def pair_weight(self, num_members: int) -> Tensor | float:
        """Weight of the ordered pairs of different members, 1 - sum of w_m^2: [B]; at least a trifle."""
        if self.weights_BM is None:
            return max(1, num_members - 1) / num_members
        return (1 - self.weights_BM.square().sum(dim=1)).clamp(min=_TRIFLE)

    def log_mean(self, log_probs_BMC: Tensor) -> Tensor:
        """Log of the members' mean probabilities: [B, C]."""
        if self.weights_BM is None:
            return torch.logsumexp(log_probs_BMC, dim=1) - math.log(log_probs_BMC.shape[1])
        return torch.logsumexp(log_probs_BMC + self.weights_BM.to(log_probs_BMC.dtype).log().unsqueeze(-1), dim=1)

    def mean(self, values: Tensor) -> Tensor:
        """Mean over members, [B, M, ...] -> [B, ...]."""
        if self.weights_BM is None:
            return values.mean(dim=1)
        weights = self.weights_BM.to(values.dtype).reshape(*self.weights_BM.shape, *(1 for _ in values.shape[2:]))
        return (values * weights).sum(dim=1)


ALL_MEMBERS = Members(None, None)
"""Every row is learnt from all members."""
