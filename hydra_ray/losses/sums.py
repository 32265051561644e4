"""Losses as sums over rows: what lets W ranks take the steps of one.

With masks, rows without labels or uneven batches ranks have different numbers of rows that count, and the mean of their
means is not the mean over all rows; a correlation over their rows is no mean at all. So a loss is a list of terms, each
a function of sums over the rows that count; the sums are added up over ranks, and only then is the function taken. No
formula of a loss is here, but that of the correlation, and no communication.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

_SMALL_VARIANCE = 1e-12


class Summed(NamedTuple):
    """One term of a loss that is a mean over rows, over the rows of one rank."""

    total: Tensor
    """Sum over the rows that count, a scalar: a weighted term's is weighted, its count is not."""
    num_rows: Tensor | int
    """How many count: an int where that is every row of the batch, a scalar tensor where masks or labels say it."""

    def mean(self) -> Tensor:
        """Over the rows of this rank alone; 0 where none counts."""
        return self.total / _at_least_one(self.num_rows)

    def scaled(self, factor: float) -> Summed:
        """The term with another weight."""
        return Summed(factor * self.total, self.num_rows)

    def sums(self) -> Tensor:
        """What is added up over ranks: the number of rows, float64 [1]."""
        return torch.as_tensor(self.num_rows, dtype=torch.float64, device=self.total.device).reshape(1)

    def share(self, sums: Tensor, num_ranks: int) -> Tensor:
        """This rank's share, from the sums of all: see `share_of_mean`."""
        return num_ranks * self.total / sums[0].clamp(min=1).to(self.total.dtype)


class Correlated(NamedTuple):
    """One minus Pearson's correlation of two numbers of each row, as a term of a loss, over the rows of one rank.

    0 where the numbers of one kind are a rising line of the other's, 2 where a falling one; 1, without a gradient,
    where one of them is the same in all rows, and 0 where fewer than two rows count.
    """

    moments: Tensor
    """Float64 [6]: number of rows that count, sums of x, y, x^2, y^2 and xy over them."""
    weight: float = 1.0

    def mean(self) -> Tensor:
        """Over the rows of this rank alone."""
        return self.weight * _decorrelation(self.moments)

    def scaled(self, factor: float) -> Correlated:
        """The term with another weight."""
        return Correlated(self.moments, factor * self.weight)

    def sums(self) -> Tensor:
        """What is added up over ranks: the moments, float64 [6]."""
        return self.moments.detach()

    def share(self, sums: Tensor, num_ranks: int) -> Tensor:
        """This rank's share, from the sums of all: of the loss's value all, of its gradient what its rows cause."""
        with torch.enable_grad():
            everywhere = sums.detach().requires_grad_()
            value = _decorrelation(everywhere)
            (slope,) = torch.autograd.grad(value, everywhere)
        own = slope @ (self.moments - self.moments.detach())
        return self.weight * (value.detach() + num_ranks * own)


def sum_rows(values_B: Tensor, counts_B: Tensor | None = None) -> Summed:
    """Sum over the rows where `counts_B` (bool) is true, or all, and their number; the other values must be finite."""
    if counts_B is None:
        return Summed(values_B.sum(), len(values_B))
    # choosing the rows would have a GPU waited for at every step
    return Summed((values_B * counts_B).sum(), counts_B.sum())


def correlate_rows(x_B: Tensor, y_B: Tensor, counts_B: Tensor | None = None) -> Correlated:
    """Correlation of x and y over the rows where `counts_B` is true, or all; the other values must be finite."""
    x_B = x_B.double()
    y_B = y_B.double()
    ones_B = torch.ones_like(x_B)
    columns = torch.stack([ones_B, x_B, y_B, x_B.square(), y_B.square(), x_B * y_B])
    weights_B = ones_B if counts_B is None else counts_B.to(columns.dtype)
    return Correlated(columns @ weights_B)


def share_of_mean(
    terms: Sequence[Summed | Correlated], num_ranks: int, add_up: Callable[[Tensor], object], *, is_even: bool
) -> Tensor:
    """This rank's share of a loss: the mean of all ranks' shares is the loss of their rows together, a scalar.

    DDP averages gradients, so that each term is its sum here, over its rows on all ranks, times the number of ranks.

    Args:
        terms: of this rank; as many on every rank.
        num_ranks: ranks.
        add_up: adds up a tensor over ranks, in place; called once at most, and not where every rank is known to have
            the same counts.
        is_even: whether every rank has as many rows, though not perhaps rows that count.
    """
    same_everywhere = is_even and all(isinstance(term, Summed) and isinstance(term.num_rows, int) for term in terms)
    if num_ranks == 1 or same_everywhere:
        return reduce(operator.add, [term.mean() for term in terms])
    sums = [term.sums() for term in terms]
    added = torch.cat(sums)
    add_up(added)
    of_all = added.split([len(each) for each in sums])
    shares = [term.share(found, num_ranks) for term, found in zip(terms, of_all, strict=True)]
    return reduce(operator.add, shares)


def _decorrelation(moments: Tensor) -> Tensor:
    """1 - Pearson's correlation from `Correlated.moments`, float32."""
    count, sum_x, sum_y, sum_xx, sum_yy, sum_xy = moments.unbind()
    rows = _at_least_one(count)
    variance_x = sum_xx / rows - (sum_x / rows).square()
    variance_y = sum_yy / rows - (sum_y / rows).square()
    covariance = sum_xy / rows - sum_x * sum_y / rows**2
    product = variance_x * variance_y
    varies = torch.minimum(variance_x, variance_y) > _SMALL_VARIANCE
    correlation = torch.where(varies, covariance / torch.where(varies, product, 1.0).sqrt(), 0.0)
    return torch.where(count >= 2, 1 - correlation, 0.0).float()


def _at_least_one(count: Tensor | int) -> Tensor | int:
    return max(count, 1) if isinstance(count, int) else count.clamp(min=1)
