"""Losses as sums and counts: what lets W ranks take the steps of one.

With masks, rows without labels or uneven batches ranks have different numbers of rows that count, and the mean of their
means is not the mean over all rows. So a loss is a list of terms, each a sum over the rows that count and their number;
only a training step divides, by the number on all ranks. No formula is here and no communication.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor


class Summed(NamedTuple):
    """One term of a loss, over the rows of one rank."""

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


def sum_rows(values_B: Tensor, counts_B: Tensor | None = None) -> Summed:
    """Sum over the rows where `counts_B` (bool) is true, or all, and their number; the other values must be finite."""
    if counts_B is None:
        return Summed(values_B.sum(), len(values_B))
    # choosing the rows would have a GPU waited for at every step
    return Summed((values_B * counts_B).sum(), counts_B.sum())


def share_of_mean(
    terms: Sequence[Summed], num_ranks: int, add_up: Callable[[Tensor], object], *, is_even: bool
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
    same_everywhere = is_even and all(isinstance(term.num_rows, int) for term in terms)
    if num_ranks == 1 or same_everywhere:
        return reduce(operator.add, [term.mean() for term in terms])
    device = terms[0].total.device
    counts = torch.stack([torch.as_tensor(term.num_rows, device=device) for term in terms])
    add_up(counts)
    shares = [num_ranks * term.total / _at_least_one(count) for term, count in zip(terms, counts, strict=True)]
    return reduce(operator.add, shares)


def _at_least_one(count: Tensor | int) -> Tensor | int:
    return max(count, 1) if isinstance(count, int) else count.clamp(min=1)
