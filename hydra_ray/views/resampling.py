"""Moving pixels: bilinear sampling at given places, shifts and flips, and smooth fields from a few knots.

Written with plain additions, multiplications and gathers, each of which IEEE arithmetic fixes to the last
bit, and not with `grid_sample`, `affine_grid` and `interpolate`, whose last bits may depend on batch size and
processor and could turn a rounded pixel. This module draws no random numbers and does not round to uint8.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Padding = Literal["zeros", "border", "reflection"]


def pixel_grid(images_BHWC: Tensor) -> tuple[Tensor, Tensor]:
    """Column and row numbers of the pixels: float32 [1, W] and [H, 1]."""
    height, width = images_BHWC.shape[1:3]
    x = torch.arange(width, device=images_BHWC.device, dtype=torch.float32)
    y = torch.arange(height, device=images_BHWC.device, dtype=torch.float32)
    return x[None, :], y[:, None]


def sample(images_BHWC: Tensor, x_BHW: Tensor, y_BHW: Tensor, padding: Padding) -> Tensor:
    """Bilinear values of images at places measured in pixels: float32 [B, H, W, C].

    Exact at whole pixels. Beyond the rim there is black (`zeros`), the rim's own pixels (`border`) or the
    mirrored image (`reflection`).
    """
    x0 = x_BHW.floor()
    y0 = y_BHW.floor()
    wx = (x_BHW - x0)[..., None]
    wy = (y_BHW - y0)[..., None]
    column = x0.long()
    row = y0.long()
    above = _blend(images_BHWC, column, row, wx, padding)
    below = _blend(images_BHWC, column, row + 1, wx, padding)
    return above * (1 - wy) + below * wy


def shifted(images_BHWC: Tensor, dx_B: Tensor, dy_B: Tensor, flip_B: Tensor, padding: Padding) -> Tensor:
    """Images moved by whole pixels (int64 [B]), mirrored left to right first where `flip_B` (bool [B]).

    The dtype is kept.
    """
    height, width = images_BHWC.shape[1:3]
    column = torch.arange(width, device=images_BHWC.device) - dx_B[:, None]
    column = torch.where(flip_B[:, None], width - 1 - column, column)
    row = torch.arange(height, device=images_BHWC.device) - dy_B[:, None]
    size = (len(images_BHWC), height, width)
    return _pixels(images_BHWC, column[:, None, :].expand(size), row[:, :, None].expand(size), padding)


def smooth_field(knots_BhwC: Tensor, height: int, width: int) -> Tensor:
    """Catmull-Rom interpolation of knots whose corners lie on the image's: float32 [B, height, width, C]."""
    rows = _cubic(knots_BhwC, height, dim=1)
    return _cubic(rows, width, dim=2)


def _blend(images: Tensor, column: Tensor, row: Tensor, weight: Tensor, padding: Padding) -> Tensor:
    left = _pixels(images, column, row, padding).float()
    right = _pixels(images, column + 1, row, padding).float()
    return left * (1 - weight) + right * weight


def _pixels(images: Tensor, column_BHW: Tensor, row_BHW: Tensor, padding: Padding) -> Tensor:
    """Pixels at whole places, inside or outside of the image: [B, H, W, C], dtype kept."""
    num_rows, height, width, channels = images.shape
    column = _inside(column_BHW, width, padding)
    row = _inside(row_BHW, height, padding)
    index = (row * width + column).reshape(num_rows, -1, 1).expand(-1, -1, channels)
    values = images.reshape(num_rows, height * width, channels).gather(1, index).reshape(images.shape)
    if padding != "zeros":
        return values
    return values * ((column == column_BHW) & (row == row_BHW))[..., None]


def _inside(place: Tensor, size: int, padding: Padding) -> Tensor:
    """The whole places in [0, size) that stand in for given ones."""
    if padding == "reflection" and size > 1:
        place = place.remainder(2 * size - 2)
        return torch.minimum(place, 2 * size - 2 - place)
    return place.clamp(0, size - 1)


def _cubic(knots: Tensor, size: int, dim: int) -> Tensor:
    num_knots = knots.shape[dim]
    place = torch.arange(size, dtype=torch.float64) * ((num_knots - 1) / max(size - 1, 1))
    start = place.floor().clamp(max=max(num_knots - 2, 0))
    shape = [-1 if axis == dim else 1 for axis in range(knots.ndim)]
    parts = []
    for tap, weight in zip((-1, 0, 1, 2), _cubic_weights(place - start), strict=True):
        index = (start.long() + tap).clamp(0, num_knots - 1).to(knots.device)
        parts.append(knots.index_select(dim, index) * weight.float().reshape(shape).to(knots.device))
    return parts[0] + parts[1] + parts[2] + parts[3]


def _cubic_weights(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Catmull-Rom weights of the knots at -1, 0, 1 and 2 for a place t in [0, 1]."""
    square = t * t
    cube = t * t * t
    return (
        (2 * square - cube - t) * 0.5,
        (3 * cube - 5 * square + 2) * 0.5,
        (4 * square - 3 * cube + t) * 0.5,
        (cube - square) * 0.5,
    )
