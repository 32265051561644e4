"""Which members a row is learnt from, as weights that every loss can use (`transfer.views`: `held_out`).

`mask_BM` (bool) says it; without one, a row is learnt from all members. One rule for all losses: **rows have equal
weight**. A row's loss is the mean over its own members, so that a row learnt from one member counts as much as one
learnt from all; a row that is learnt from none counts as little as if it were not there.

B batch, M members.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


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
        counts_B = mask_BM.sum(dim=1) >= least
        used_BM = (mask_BM | ~counts_B.unsqueeze(1)).double()
        return cls(used_BM / used_BM.sum(dim=1, keepdim=True), counts_B)

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
