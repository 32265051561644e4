"""Views that look at each pixel or feature alone, and take rows of either kind."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from hydra_ray.config import NoOptions, Section
from hydra_ray.views.batch import ViewBatch
from hydra_ray.views.registry import view


@view(NoOptions, takes="both")
def identity(_: NoOptions, batch: ViewBatch) -> Tensor:
    """The rows as they are."""
    return batch.rows


class GaussianNoiseOptions(Section):
    """Independent normal noise."""

    sigma: Annotated[float, Field(ge=0, le=10)] = 0.05
    """Standard deviation, as a fraction of the full pixel range, or of each feature's standard deviation."""


@view(GaussianNoiseOptions, takes="both", changes_codes=False)
def gaussian_noise(options: GaussianNoiseOptions, batch: ViewBatch) -> Tensor:
    """Rows with noise on every pixel or number; categories stay."""
    scale = 255.0 if batch.rows.dtype == torch.uint8 else batch.scale().std
    noise = batch.draws.normal(0, batch.rows[0].numel()).reshape(batch.rows.shape)
    return batch.with_codes(batch.rows + noise * (scale * options.sigma))
