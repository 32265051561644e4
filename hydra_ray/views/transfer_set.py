"""The transfer set as a plan: which rows appear under which numbered view.

A recipe lists views with a count (every row so many times) or a share (of the whole set). Here that list becomes
numbers as the shards have them, 0 for the untouched row. Which rows a share keeps is a pure function of (seed,
view, row). Making the rows is the work of `apply.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hydra_ray.config import TransferConfig, TransferView, ViewConfig
from hydra_ray.errors import UserError
from hydra_ray.randomness import Draws

IDENTITY = ViewConfig(view="identity")
_SHARES_TOLERANCE = 1e-6


@dataclass(frozen=True)
class NumberedView:
    """One view of one split's rows.

    Attributes:
        view: what is done to the rows.
        rows_of: the data set's split they come from.
        keep: share of them that appears.
        held_out: whether a row is learnt only from members that were not trained on it.
        has_labels: whether their labels are used; those of a further source are not, as they may mean other classes.
    """

    view: ViewConfig
    rows_of: str
    keep: float = 1.0
    held_out: bool = False
    has_labels: bool = True

    @property
    def label(self) -> str:
        """What it is called in tables."""
        return f"{self.view.view}, held out" if self.held_out else self.view.view

    def describe(self) -> dict[str, Any]:
        """JSON-able, for keys and footers."""
        said = {"view": self.view.view, "options": self.view.options, "rows_of": self.rows_of, "keep": self.keep}
        return {**said, "held_out": True} if self.held_out else said

    def kept(self, row_id: np.ndarray, seed: int) -> np.ndarray:
        """Which rows appear, by the seed of this view's share: bool [N]."""
        if self.keep >= 1:
            return np.ones(len(row_id), np.bool_)
        keys = torch.from_numpy(np.require(row_id, np.int64, ["C", "W"]))
        return (Draws.of(seed, keys).uniform(0, 1)[:, 0] < self.keep).numpy()


def number_views(transfer: TransferConfig, num_rows: Mapping[str, int]) -> dict[int, NumberedView]:
    """The transfer set's views by number.

    Args:
        transfer: the recipe's, with views.
        num_rows: rows of each split that views may draw from.

    Raises:
        UserError: shares that do not add up to 1, shares and counts mixed, or untouched rows more than once.
    """
    views = transfer.views or []
    _check_shares(views)
    untouched: list[NumberedView] = []
    others: list[NumberedView] = []
    for place, view in enumerate(views):
        rows_of = source_split(place) if view.source is not None else "train"
        copies = _copies(transfer, view, num_rows["train"], num_rows[rows_of])
        plain = ViewConfig(view=view.view, options=view.options)
        drawn = [NumberedView(plain, rows_of, keep, view.held_out, view.source is None) for keep in copies]
        is_untouched = view.view == IDENTITY.view and view.source is None and not view.held_out
        (untouched if is_untouched else others).extend(drawn)
    if len(untouched) > 1:
        raise UserError(
            "transfer.views: identity shows every row more than once, the same rows again; give it once, with a "
            "smaller count or share"
        )
    return {**dict(enumerate(untouched)), **dict(enumerate(others, start=1))}


def source_split(place: int) -> str:
    """Name of the data set's split for the `source` of view number `place` of the recipe's list."""
    return f"transfer-{place}"


def _check_shares(views: Sequence[TransferView]) -> None:
    shares = [view.share for view in views if view.share is not None]
    if not shares:
        return
    if len(shares) < len(views):
        place = next(place for place, view in enumerate(views) if view.share is None)
        raise UserError(f"transfer.views.{place}: has no share, but others have; give every view a share, or none")
    for place, view in enumerate(views):
        if view.count != 1:
            raise UserError(f"transfer.views.{place}: count={view.count} beside share={view.share}; give one of them")
    if abs(sum(shares) - 1) > _SHARES_TOLERANCE:
        raise UserError(f"transfer.views: the shares add up to {sum(shares):g}; change them so that they make 1")


def _copies(transfer: TransferConfig, view: TransferView, num_train: int, num_source: int) -> list[float]:
    """For each time the source's rows appear under the view, the share of them that does."""
    if view.share is None:
        return [1.0] * view.count
    times = view.share * (transfer.num_rows or num_train) / num_source
    whole = math.floor(times + 1e-9)
    rest = times - whole
    return [1.0] * whole + ([rest] if rest > 1e-9 else [])
