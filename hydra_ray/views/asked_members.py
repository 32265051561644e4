"""Which members a row of the transfer set is asked of and learnt from.

With `ensemble.folds` and a view `held_out`, those that were not trained on it; with `predict.members_per_row`, a random
few of them, so that asking costs that share (one a row suffices for a classification, says Stochastic Teacher
Ensemble Distillation; docs/results.md has what it costs here). A pure function of (seed, view, row).

N rows, M members.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hydra_ray.config import Config
from hydra_ray.data import left_out
from hydra_ray.randomness import seed_of, splitmix64
from hydra_ray.views.transfer_set import NumberedView

TRANSFER = "transfer"
Bools = npt.NDArray[np.bool_]


def asked_members(
    config: Config, split: str, number: int, view: NumberedView, row_id: npt.NDArray[np.int64]
) -> Bools | None:
    """Members that are asked about rows of a predicted split: bool [N, M]; None for all.

    Args:
        config: the run's.
        split: predicted split; only the transfer set leaves members out.
        number: of the view.
        view: itself.
        row_id: int64 [N].
    """
    members = np.arange(config.ensemble.num_members)
    folds = config.ensemble.folds
    per_row = config.predict.members_per_row
    if split != TRANSFER or not (per_row or view.held_out):
        return None
    allowed = np.ones((len(row_id), len(members)), np.bool_)
    if view.held_out and folds is not None:
        allowed = left_out(row_id, members, folds, config.seed)
    return allowed if per_row is None else _some_of(allowed, per_row, row_id, config.seed, number)


def _some_of(allowed: Bools, per_row: int, row_id: npt.NDArray[np.int64], seed: int, view: int) -> Bools:
    """At most `per_row` of each row's members, those with the smallest random numbers."""
    draws = [splitmix64(seed_of(seed, "members of a row", view, m), row_id) for m in range(allowed.shape[1])]
    ranks = np.argsort(np.where(allowed, np.stack(draws, axis=1) >> np.uint64(1), np.uint64(2**64 - 1)), axis=1)
    first = np.zeros_like(allowed)
    np.put_along_axis(first, ranks[:, :per_row], values=True, axis=1)
    return first & allowed
