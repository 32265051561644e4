"""Checks of views before the first worker starts: they exist, suit the rows, and none is unknown and chosen on."""

from __future__ import annotations

from typing import Any

import torch

from hydra_ray.config import Config, DataConfig, ViewConfig, is_own, named_views
from hydra_ray.errors import UserError
from hydra_ray.models import build_member
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.views import VIEWS, check_gradients, check_own_view, check_view, view_block_rows, view_named


def check_views(run: Run) -> None:
    """Check that all views exist and accept the data set's inputs."""
    run.views(TRANSFER)
    for key, view in named_views(run.config):
        within(key, check_view, view.view, view.options, run.data.input_shape, run.data.categories)
        if is_own(view.view):
            within(f"{key}.view={view.view}", _check_own_view, run, view)
    _check_mixing(run.config)
    _check_validation_views(run.config.data)
    if any(view_named(view.view).needs_members for view in run.config.transfer.views or ()):
        for place in range(len(run.config.ensemble.groups)):
            spec = run.group_spec(place)
            within("transfer.views", check_gradients, build_member(spec, THROWN_AWAY), spec.input_shape)


def _check_own_view(run: Run, view: ViewConfig) -> None:
    """Try a user's own view on two training rows, with an untrained member if it needs members."""
    train = run.data.splits["train"]
    start, last = train.row_ids()[[0, min(1, train.num_rows - 1)]].tolist()
    rows = train.read(start, last + 1)
    members = [build_member(run.member_spec(), THROWN_AWAY).eval()] if view_named(view.view).needs_members else []
    inputs = torch.tensor(rows.inputs)
    row_id = torch.tensor(rows.row_id)
    check_own_view(view.view, view.options, inputs, row_id, run.features, members)


def _check_mixing(config: Config) -> None:
    """Check views that mix rows: shards hold whole blocks, and no member trains on mixed rows, which have no label."""
    rows = config.predict.rows_per_shard
    for key, view in named_views(config):
        block = view_block_rows(view.view, view.options)
        if rows % block and not key.startswith("ensemble."):
            raise UserError(
                f"predict.rows_per_shard={rows} is no multiple of {block}, the rows that {key} "
                f"({view.view}) mixes with each other: choose a multiple, or set its options.block_rows"
            )
    for key, view in named_views(config):
        if view_named(view.view).needs_members and not key.startswith("transfer."):
            raise UserError(f"{key}: view {view.view} needs finished members; it is for transfer.views alone")
    augment = config.ensemble.augment
    if augment is not None and not view_named(augment.view).keeps_label:
        others = ", ".join(name for name, view in VIEWS.items() if view.keeps_label and name != "identity")
        raise UserError(f"ensemble.augment.view={augment.view}: mixed rows have no label to learn; use one of {others}")


def _check_validation_views(data: DataConfig) -> None:
    """Check that nothing is chosen on a view that the report calls unknown."""
    unknown = {name: view for name, view in data.unknown.items() if isinstance(view, ViewConfig)}
    for place, view in enumerate(data.validation_views or ()):
        for name, each in unknown.items():
            if (view.view, view.options) == (each.view, each.options):
                raise UserError(
                    f"data.validation_views.{place}.view={view.view}: is data.unknown.{name} too, and nothing may be "
                    "chosen on what is unknown; use another view, or other options"
                )


def within(key: str, check: Any, *arguments: Any) -> Any:
    """Call `check`; where it raises a UserError, put `key` before its message."""
    try:
        return check(*arguments)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
