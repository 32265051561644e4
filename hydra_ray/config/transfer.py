"""The section `transfer` of the configuration tree: the inputs on which members are asked and students learn."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hydra_ray.config.sections import ViewConfig
from hydra_ray.config.types import Count, Section


class TransferView(ViewConfig):
    """A view in the transfer set: by count, or by share."""

    share: Annotated[float, Field(gt=0, le=1)] | None = None
    """Part of the transfer set made of this view; then every view has one, and they add up to 1."""
    source: str | None = None
    """Take the rows of another data set (a name or path, labels are not used) instead of the training rows."""
    held_out: bool = False
    """Learn a row from those members alone that were not trained on it (`ensemble.folds`)."""


class TransferConfig(Section):
    """The transfer set: the inputs on which members are asked and students learn."""

    views: list[TransferView] | None = Field(default=None, min_length=1)
    """Members agree on the rows they were trained on; views are where their disagreement shows. None: untouched rows,
    beside them of images `affine`, `elastic` and `smooth_noise`, of feature rows `gaussian_noise` and `resample`, of a
    table with categories `swap` and `resample`."""
    num_rows: Count | None = None
    """Rows of the whole set where views have shares; none for as many as there are training rows."""

    def with_views(self, input_shape: tuple[int, ...], categories: tuple[int, ...] = ()) -> TransferConfig:
        """With the views that suit the kind of rows, where none are named."""
        if self.views is not None:
            return self
        names = ("identity", *views_for(input_shape, categories))
        return self.model_copy(update={"views": [TransferView(view=name) for name in names]})


def views_for(input_shape: tuple[int, ...], categories: tuple[int, ...]) -> tuple[str, ...]:
    """The names of views that suit the kind of rows, for recipes that name none."""
    if len(input_shape) == 3:
        return ("affine", "elastic", "smooth_noise")
    return ("swap", "resample") if any(categories) else ("gaussian_noise", "resample")
