"""Views: seeded, named, batched transforms of a data set's rows, which make the transfer set.

A view keeps shape and dtype. A row's new pixels are a pure function of (the view's seed, row_id, options), for
views that mix rows also of its block, for views of feature rows of the training rows' scale (`features.py`): any
worker, batch split and order of work makes the same ones. Image rows come back as uint8, so that members and student
see the same input. This module reads no data and keeps no labels: a mixed or a random row has none of its own
(`View.keeps_label`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hydra_ray.data import Features
from hydra_ray.errors import UserError
from hydra_ray.randomness import Draws
from hydra_ray.views.batch import Mixes, ViewBatch, partner_rows, pieces
from hydra_ray.views.options import (
    AffineOptions,
    BlockOptions,
    CropFlipOptions,
    CyclicShiftOptions,
    ElasticOptions,
    GaussianNoiseOptions,
    MixOptions,
    OdsOptions,
    Options,
    OptionsT,
    OutsideBoxOptions,
    SmoothNoiseOptions,
    UniformBoxOptions,
    nearest,
    parse_options,
)
from hydra_ray.views.resampling import pixel_grid, sample, shifted, smooth_field
from hydra_ray.views.tabular import outside_box, uniform_box


@dataclass(frozen=True)
class View(Generic[OptionsT]):
    """What is known of a named view."""

    options: type[OptionsT]
    apply: Callable[[OptionsT, ViewBatch], Tensor]
    """Rows in, rows out; the result is rounded to the rows' dtype by the caller."""
    takes: Literal["images", "features", "both"] = "images"
    mixes: Mixes = "nothing"
    """What is taken from other rows of the block: one row, or each feature from another one."""
    keeps_label: bool = True
    """False where rows have no single label: they are mixed or random."""
    needs_members: bool = False
    """True for views that `hydra_ray/views/ods.py` makes where the members are; here they leave rows as they are."""


def check_view(name: str, options: Mapping[str, object], input_shape: tuple[int, ...]) -> None:
    """Find what is wrong with a view before any row is made.

    Raises:
        UserError: unknown view, unknown or impossible option, or a view of images asked for feature rows or the
            other way round.
    """
    view = _view(name)
    parse_options(name, view.options, options)
    given = "images" if len(input_shape) == 3 else "features"
    if view.takes not in (given, "both"):
        usable = ", ".join(each for each, known in VIEWS.items() if known.takes in (given, "both"))
        needed = "images" if view.takes == "images" else "feature rows"
        raise UserError(f"view {name} needs {needed}, but rows have shape {input_shape}; use one of {usable}")


def view_block_rows(name: str, options: Mapping[str, object]) -> int:
    """Rows of a block: 1 where rows are independent; else the work may be cut at multiples of it."""
    parsed = parse_options(name, _view(name).options, options)
    return parsed.block_rows if isinstance(parsed, BlockOptions) else 1


def apply_view(
    name: str,
    options: Mapping[str, object],
    inputs: npt.NDArray[Any],
    row_id: npt.NDArray[np.int64],
    *,
    seed: int,
    features: Features | None = None,
) -> npt.NDArray[Any]:
    """The rows as a view shows them.

    Args:
        name: A key of `VIEWS`.
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
    options: Mapping[str, object],
    inputs: Tensor,
    keys: Tensor,
    seed: int,
    *,
    block: Tensor | None = None,
    features: Features | None = None,
) -> Tensor:
    """A batch of rows under a view, on the batch's device.

    Args:
        name: A key of `VIEWS`.
        options: The view's own options.
        inputs: uint8 [B, H, W, channels] or float32 [B, D].
        keys: int64 [B], what a row's random numbers depend on (with `seed`), e.g. its row_id; distinct for
            views that mix rows.
        seed: Another draw for each, e.g. from the epoch.
        block: int64 [B], rows that may be mixed with each other share a value; none for the whole batch.
        features: The training rows' scale, for feature rows.

    Returns:
        Same shape, dtype and device as `inputs`.

    Raises:
        UserError: as `check_view`.
        ValueError: inputs of another dtype, keys of another length, or no scale where the view needs one.
    """
    check_view(name, options, tuple(inputs.shape[1:]))
    _check_batch(inputs, keys)
    view, draws = _view(name), Draws.of(seed, keys)
    parsed = parse_options(name, view.options, options)
    if not len(inputs) or view.apply is _identity:
        return inputs
    block = torch.zeros_like(keys) if block is None else block
    whole = ViewBatch(inputs, draws, partner_rows(view.mixes, inputs, keys, block, draws), features)
    return torch.cat([_rounded(view.apply(parsed, part), inputs.dtype) for part in pieces(whole)])


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


def _identity(_: Options, batch: ViewBatch) -> Tensor:
    return batch.rows


def _affine(options: AffineOptions, batch: ViewBatch) -> Tensor:
    height, width = batch.rows.shape[1:3]
    turn, zoom, right, down = batch.draws.signed(0, 4).double().reshape(-1, 4, 1, 1).unbind(1)
    angle, shrink = turn * math.radians(options.degrees), torch.ones_like(zoom) / (1 + zoom * options.scale)
    cos, sin = (angle.cos() * shrink).float(), (angle.sin() * shrink).float()
    x, y = pixel_grid(batch.rows)
    x = x - (width - 1) / 2 - (right * (options.shift * width)).float()
    y = y - (height - 1) / 2 - (down * (options.shift * height)).float()
    from_x, from_y = cos * x + sin * y + (width - 1) / 2, cos * y - sin * x + (height - 1) / 2
    return sample(batch.rows, from_x, from_y, options.padding)


def _elastic(options: ElasticOptions, batch: ViewBatch) -> Tensor:
    height, width = batch.rows.shape[1:3]
    knots = batch.draws.signed(0, options.grid**2 * 2).reshape(-1, options.grid, options.grid, 2)
    dx, dy = smooth_field(knots, height, width).unbind(-1)
    x, y = pixel_grid(batch.rows)
    from_x, from_y = x + dx * (options.alpha * width), y + dy * (options.alpha * height)
    return sample(batch.rows, from_x, from_y, options.padding)


def _crop_flip(options: CropFlipOptions, batch: ViewBatch) -> Tensor:
    height, width = batch.rows.shape[1:3]
    across, down = round(options.pad * width), round(options.pad * height)
    chance = batch.draws.uniform(0, 3).double()
    dx = (chance[:, 0] * (2 * across + 1)).long() - across
    dy = (chance[:, 1] * (2 * down + 1)).long() - down
    return shifted(batch.rows, dx, dy, chance[:, 2] < options.flip, options.padding)


def _cyclic_shift(options: CyclicShiftOptions, batch: ViewBatch) -> Tensor:
    """What leaves on one side comes back on the other."""
    height, width = batch.rows.shape[1:3]
    right, down = batch.draws.signed(0, 2).double().reshape(-1, 2, 1, 1).unbind(1)
    x = (torch.arange(width, device=batch.rows.device) - (right * (options.shift * width)).round().long()) % width
    y = (torch.arange(height, device=batch.rows.device) - (down * (options.shift * height)).round().long()) % height
    rows = torch.arange(len(batch.rows), device=batch.rows.device).reshape(-1, 1, 1)
    return batch.rows[rows, y.transpose(1, 2), x]


def _gaussian_noise(options: GaussianNoiseOptions, batch: ViewBatch) -> Tensor:
    scale = 255.0 if batch.rows.dtype == torch.uint8 else batch.scale().std
    noise = batch.draws.normal(0, batch.rows[0].numel()).reshape(batch.rows.shape)
    return batch.rows + noise * (scale * options.sigma)


def _smooth_noise(options: SmoothNoiseOptions, batch: ViewBatch) -> Tensor:
    height, width, channels = batch.rows.shape[1:]
    knots = batch.draws.uniform(1, options.grid**2 * channels)
    knots = knots.reshape(-1, options.grid, options.grid, channels)
    noise = smooth_field(knots * 255, height, width).clamp(0, 255)
    amount = batch.amounts(options)
    return batch.rows * (1 - amount) + noise * amount


def _mixup(options: MixOptions, batch: ViewBatch) -> Tensor:
    amount = batch.amounts(options)
    return batch.rows * (1 - amount) + batch.partners * amount


def _resample(_: BlockOptions, batch: ViewBatch) -> Tensor:
    return batch.partners


def _cutmix(options: MixOptions, batch: ViewBatch) -> Tensor:
    """A rectangle of the image's own proportions; its area is the partner's share."""
    side = batch.amounts(options)[..., 0].sqrt()
    _, right, down = batch.draws.uniform(0, 3).reshape(-1, 3, 1, 1).unbind(1)
    x, y = pixel_grid(batch.rows)
    inside = _within(x, right, side) & _within(y, down, side)
    return torch.where(inside[..., None], batch.partners, batch.rows)


def _within(place: Tensor, start: Tensor, side: Tensor) -> Tensor:
    """Whether pixels along one axis lie in a random span of round(side * size) pixels."""
    size = place.numel()
    span = (side * size).round()
    first = (start * (size - span + 1)).floor()
    return (place >= first) & (place < first + span)


VIEWS: Mapping[str, View[Any]] = {
    "identity": View(Options, _identity, takes="both"),
    "affine": View(AffineOptions, _affine),
    "elastic": View(ElasticOptions, _elastic),
    "crop_flip": View(CropFlipOptions, _crop_flip),
    "cyclic_shift": View(CyclicShiftOptions, _cyclic_shift),
    "ods": View(OdsOptions, _identity, takes="both", needs_members=True),
    "conf_ods": View(OdsOptions, _identity, takes="both", needs_members=True),
    "gaussian_noise": View(GaussianNoiseOptions, _gaussian_noise, takes="both"),
    "smooth_noise": View(SmoothNoiseOptions, _smooth_noise),
    "mixup": View(MixOptions, _mixup, takes="both", mixes="rows", keeps_label=False),
    "cutmix": View(MixOptions, _cutmix, mixes="rows", keeps_label=False),
    "resample": View(BlockOptions, _resample, takes="features", mixes="columns", keeps_label=False),
    "uniform_box": View(UniformBoxOptions, uniform_box, takes="features", keeps_label=False),
    "outside_box": View(OutsideBoxOptions, outside_box, takes="features", keeps_label=False),
}
"""All views by name."""


def _view(name: str) -> View[Any]:
    if name not in VIEWS:
        raise UserError(f"unknown view {name!r}; {nearest(name, VIEWS)}")
    return VIEWS[name]
