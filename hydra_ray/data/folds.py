"""Folds of the training rows: with `ensemble.folds`, every member leaves one out while it is trained.

Rows a member was not trained on are where it says what it does not know; a student may learn them from just the
members that left them out (`transfer.views`: `held_out`). A row's fold is a pure function of (seed, row), the fold
that a member leaves out of its number: nothing is stored, and more members change nothing for those that are there.

N rows, M members.
"""

from __future__ import annotations

import numpy as np

from hydra_ray.data.rows import Bools, Ints
from hydra_ray.randomness import seed_of, splitmix64


def folds_of(row_id: Ints, folds: int, seed: int) -> Ints:
    """The fold of each row, 0 to `folds - 1`: int64 [N]."""
    return (splitmix64(seed_of(seed, "fold"), row_id) % np.uint64(folds)).astype(np.int64)


def left_out(row_id: Ints, members: Ints, folds: int, seed: int) -> Bools:
    """Which members (by number) were not trained on which training rows: bool [N, M]."""
    return folds_of(row_id, folds, seed)[:, None] == np.asarray(members)[None, :] % folds
