"""The views of a recipe that names none: those that suit the kind of rows, as far as they can be asked about."""

from __future__ import annotations

import math
from collections.abc import Callable

from hydra_ray.config import Config, DataConfig, TransferConfig, TransferView, ViewConfig, views_for
from hydra_ray.data import VALIDATION_VIEWS, DataSet
from hydra_ray.runs.fingerprints import TRANSFER
from hydra_ray.views import IDENTITY, view_block_rows


def has_fixed_rows(config: Config) -> bool:
    """Whether predictions are there already and of untouched rows alone, so that no views can be asked about."""
    is_looked_up = config.ensemble.teachers.kind == "arrays" and TRANSFER not in config.ensemble.teachers.arrays
    return is_looked_up or config.predict.shards is not None


def can_ask_validation_views(config: Config) -> bool:
    """Whether somebody can answer views of the validation rows, or has."""
    teachers = config.ensemble.teachers
    if config.predict.shards is not None:
        return False
    return teachers.kind != "arrays" or VALIDATION_VIEWS.name in teachers.arrays


def with_suitable_views(config: Config, data: Callable[[], DataSet]) -> Config:
    """The configuration with the views that it leaves out; the data set is opened where that needs it."""
    views = {"transfer": _transfer(config, data), "data": _of_validation(config, data)}
    return config.model_copy(update=views)


def _transfer(config: Config, data: Callable[[], DataSet]) -> TransferConfig:
    given = config.transfer
    if given.views is not None:
        return given
    if has_fixed_rows(config):
        return given.model_copy(update={"views": [TransferView(view=IDENTITY.view)]})
    found = data()
    return given.with_views(found.input_shape, found.categories)


def _of_validation(config: Config, data: Callable[[], DataSet]) -> DataConfig:
    """Those that are not unknown sets too."""
    given = config.data
    if given.validation_views is not None:
        return given
    if not can_ask_validation_views(config):
        return given.model_copy(update={"validation_views": []})
    found = data()
    unknown = [(each.view, each.options) for each in given.unknown.values() if isinstance(each, ViewConfig)]
    names = views_for(found.input_shape, found.categories)
    suitable = [view for name in names if (view := _fitting(name, config.predict.rows_per_shard)) is not None]
    views = [view for view in suitable if (view.view, view.options) not in unknown]
    return given.model_copy(update={"validation_views": views})


def _fitting(name: str, rows_per_shard: int) -> ViewConfig | None:
    """The view, with blocks of which shards hold whole ones; None where there are no such blocks."""
    block = view_block_rows(name, {})
    common = math.gcd(block, rows_per_shard)
    if common == block:
        return ViewConfig(view=name)
    return ViewConfig(view=name, options={"block_rows": common}) if common > 1 else None
