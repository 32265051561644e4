"""Views of images: pixels moved, mirrored, or covered by smooth noise.

Defaults are mild, suit images from 8x8 to 224x224 because lengths are fractions of the image's size, and were
looked at on 28x28 digits.
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hydra_ray.config import Section
from hydra_ray.views.batch import AmountOptions, ViewBatch
from hydra_ray.views.registry import view
from hydra_ray.views.resampling import Padding, pixel_grid, sample, shifted, smooth_field

Fraction = Annotated[float, Field(ge=0, le=1)]
Knots = Annotated[int, Field(ge=2, le=64)]


class AffineOptions(Section):
    """Rotation, zoom and shift about the centre, each uniform in plus or minus its option."""

    degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    scale: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Largest change of size, as a fraction."""
    shift: Fraction = 0.07
    """Largest shift along each axis, as a fraction of the image's size."""
    padding: Padding = "zeros"


@view(AffineOptions)
def affine(options: AffineOptions, batch: ViewBatch) -> Tensor:
    """Turned, zoomed and shifted images."""
    height, width = batch.rows.shape[1:3]
    turn, zoom, right, down = batch.draws.signed(0, 4).double().reshape(-1, 4, 1, 1).unbind(1)
    angle = turn * math.radians(options.degrees)
    shrink = torch.ones_like(zoom) / (1 + zoom * options.scale)
    cos = (angle.cos() * shrink).float()
    sin = (angle.sin() * shrink).float()
    x, y = pixel_grid(batch.rows)
    x = x - (width - 1) / 2 - (right * (options.shift * width)).float()
    y = y - (height - 1) / 2 - (down * (options.shift * height)).float()
    from_x = cos * x + sin * y + (width - 1) / 2
    from_y = cos * y - sin * x + (height - 1) / 2
    return sample(batch.rows, from_x, from_y, options.padding)


class ElasticOptions(Section):
    """A smooth random displacement of the pixels."""

    alpha: Fraction = 0.06
    """Largest displacement of a knot, as a fraction of the image's size."""
    grid: Knots = 4
    """Knots per side; more knots make shorter waves."""
    padding: Padding = "zeros"


@view(ElasticOptions)
def elastic(options: ElasticOptions, batch: ViewBatch) -> Tensor:
    """Images drawn on rubber."""
    height, width = batch.rows.shape[1:3]
    knots = batch.draws.signed(0, options.grid**2 * 2).reshape(-1, options.grid, options.grid, 2)
    dx, dy = smooth_field(knots, height, width).unbind(-1)
    x, y = pixel_grid(batch.rows)
    from_x = x + dx * (options.alpha * width)
    from_y = y + dy * (options.alpha * height)
    return sample(batch.rows, from_x, from_y, options.padding)


class CropFlipOptions(Section):
    """A random crop of the padded image, and a random mirror image."""

    pad: Fraction = 0.125
    """Padding on each side, as a fraction of the image's size, rounded to pixels."""
    flip: Fraction = 0.5
    """Probability of mirroring left to right."""
    padding: Padding = "zeros"


@view(CropFlipOptions)
def crop_flip(options: CropFlipOptions, batch: ViewBatch) -> Tensor:
    """Crops of padded images, some of them mirrored; whole pixels."""
    height, width = batch.rows.shape[1:3]
    across = round(options.pad * width)
    down = round(options.pad * height)
    chance = batch.draws.uniform(0, 3).double()
    dx = (chance[:, 0] * (2 * across + 1)).long() - across
    dy = (chance[:, 1] * (2 * down + 1)).long() - down
    return shifted(batch.rows, dx, dy, chance[:, 2] < options.flip, options.padding)


class CyclicShiftOptions(Section):
    """A shift in which pixels that leave on one side come back on the other; whole pixels."""

    shift: Fraction = 0.5
    """Largest shift along each axis, as a fraction of the image's size."""


@view(CyclicShiftOptions)
def cyclic_shift(options: CyclicShiftOptions, batch: ViewBatch) -> Tensor:
    """What leaves on one side comes back on the other."""
    height, width = batch.rows.shape[1:3]
    right, down = batch.draws.signed(0, 2).double().reshape(-1, 2, 1, 1).unbind(1)
    x = (torch.arange(width, device=batch.rows.device) - (right * (options.shift * width)).round().long()) % width
    y = (torch.arange(height, device=batch.rows.device) - (down * (options.shift * height)).round().long()) % height
    rows = torch.arange(len(batch.rows), device=batch.rows.device).reshape(-1, 1, 1)
    return batch.rows[rows, y.transpose(1, 2), x]


class SmoothNoiseOptions(AmountOptions):
    """Smooth random clouds blended over the image; a weight of 1 leaves nothing of it."""

    amount_min: Fraction = 0.3
    amount_max: Fraction = 1.0
    grid: Knots = 5
    """Knots per side of the noise."""


@view(SmoothNoiseOptions)
def smooth_noise(options: SmoothNoiseOptions, batch: ViewBatch) -> Tensor:
    """Images behind clouds."""
    height, width, channels = batch.rows.shape[1:]
    knots = batch.draws.uniform(1, options.grid**2 * channels)
    knots = knots.reshape(-1, options.grid, options.grid, channels)
    noise = smooth_field(knots * 255, height, width).clamp(0, 255)
    amount = batch.amounts(options)
    return batch.rows * (1 - amount) + noise * amount
