"""Rows through a view: stored rows and batches on a device, on any worker the same ones.

Image rows come back as uint8, so that members and student see the same input. This module reads no data and keeps no
labels: a mixed or a random row has none of its own (`View.keeps_label`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hydra_ray.data import Features
from hydra_ray.randomness import Draws
from hydra_ray.views.batch import ViewBatch, partner_rows, pieces
from hydra_ray.views.elementwise import identity
from hydra_ray.views.registry import check_view, view_block_rows, view_named


def apply_view(
    name: str,
    options: Mapping[str, Any],
    inputs: npt.NDArray[Any],
    row_id: npt.NDArray[np.int64],
    *,
    seed: int,
    features: Features | None = None,
) -> npt.NDArray[Any]:
    """The rows as a view shows them.

    Args:
        name: of the view, or its import path.
        options: The view's own options; those left out have their defaults.
        inputs: uint8 [N, H, W, channels] or float32 [N, D]; left as they are.
        row_id: int64 [N], positions in the source split. For views that mix the rows must be whole blocks
            (all rows of the split that share `row_id // block_rows`): a partner is drawn among them.
        seed: Of the view, of its split and number (`randomness`).
        features: The training rows' scale, for feature rows.

    Returns:
        Same shape and dtype as `inputs`; may be `inputs` itself for `identity`.

    Raises:
        UserError: as `check_view`.
    """
    keys = torch.from_numpy(np.require(row_id, np.int64, ["C", "W"]))
    block = keys // view_block_rows(name, options)
    rows = torch.from_numpy(np.require(inputs, requirements=["C", "W"]))
    return augment(name, options, rows, keys, seed, block=block, features=features).numpy()


def augment(
    name: str,
    options: Mapping[str, Any],
    inputs: Tensor,
    keys: Tensor,
    seed: int,
    *,
    block: Tensor | None = None,
    features: Features | None = None,
) -> Tensor:
    """A batch of rows under a view, on the batch's device.

    Args:
        name: of the view, or its import path.
        options: The view's own options.
        inputs: uint8 [B, H, W, channels] or float32 [B, D].
        keys: int64 [B], what a row's random numbers depend on (with `seed`), e.g. its row_id; distinct for
            views that mix rows.
        seed: Another draw for each, e.g. from the epoch.
        block: int64 [B], rows that may be mixed with each other share a value; none for the whole batch.
        features: The training rows' scale, for feature rows.

    Returns:
        Same shape, dtype and device as `inputs`; `inputs` itself under a view that needs members, which
        `apply_with_members` makes where the members are.

    Raises:
        UserError: as `check_view`.
        ValueError: inputs of another dtype, keys of another length, or no scale where the view needs one.
    """
    check_view(name, options, tuple(inputs.shape[1:]))
    _check_batch(inputs, keys)
    view = view_named(name)
    draws = Draws.of(seed, keys)
    if not len(inputs) or view is identity or view.needs_members:
        return inputs
    parsed = view.parse(options)
    block = torch.zeros_like(keys) if block is None else block
    whole = ViewBatch(inputs, draws, partner_rows(view.mixes, inputs, keys, block, draws, features), features)
    return torch.cat([_rounded(view.apply(parsed, part), inputs.dtype) for part in pieces(whole)])


def apply_with_members(
    name: str,
    options: Mapping[str, Any],
    members: Sequence[nn.Module],
    inputs: Tensor,
    row_id: Tensor,
    *,
    seed: int,
) -> Tensor:
    """Rows under a view that needs the members.

    Args:
        name: of the view, e.g. `ods`, or its import path.
        options: the view's own.
        members: differentiable modules, stored inputs -> logits [B, C], evaluating.
        inputs: uint8 [B, H, W, channels] or float32 [B, D], on the members' device.
        row_id: int64 [B].
        seed: of the view.

    Returns:
        Same shape and dtype; image rows are rounded to whole pixel values.

    Raises:
        UserError: as `check_view`.
    """
    check_view(name, options, tuple(inputs.shape[1:]))
    view = view_named(name)
    draws = Draws.of(seed, row_id)
    rows = view.apply(view.parse(options), ViewBatch(inputs, draws, inputs), members)
    return _rounded(rows, inputs.dtype)


def _check_batch(inputs: Tensor, keys: Tensor) -> None:
    expected = torch.uint8 if inputs.ndim == 4 else torch.float32
    if inputs.dtype != expected or inputs.ndim not in (2, 4):
        found = f"{inputs.dtype} {tuple(inputs.shape)}"
        raise ValueError(f"rows are uint8 [B, H, W, channels] or float32 [B, D], not {found}")
    if keys.dtype != torch.int64 or keys.shape != inputs.shape[:1]:
        raise ValueError(f"keys are int64 [{len(inputs)}], not {keys.dtype} {tuple(keys.shape)}")


def _rounded(rows: Tensor, dtype: torch.dtype) -> Tensor:
    if rows.dtype == dtype:
        return rows
    return rows.round().clamp(0, 255).to(dtype)
