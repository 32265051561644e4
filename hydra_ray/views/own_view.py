"""A user's own view: checked on two rows before anything starts, and as a digest for keys.

The digest changes with the text of the function's module and with what the view makes of two fixed rows, which also
follows code that the module imports. Views of ours have none: they change with the version alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from hydra_ray.config import error_in_short, is_own, source_of
from hydra_ray.data import Features
from hydra_ray.errors import UserError
from hydra_ray.randomness import THROWN_AWAY, Draws
from hydra_ray.views.batch import ViewBatch, partner_rows
from hydra_ray.views.registry import view_named


def check_own_view(
    name: str,
    options: Mapping[str, Any],
    rows: Tensor,
    row_id: Tensor,
    features: Features | None = None,
    members: Sequence[nn.Module] = (),
) -> None:
    """Look at what a view makes of a few rows.

    Args:
        name: its import path.
        options: its own.
        rows: two of the data set's, as stored.
        row_id: int64 [2].
        features: the training rows' scale, for feature rows.
        members: of a view that needs them, with any weights.

    Raises:
        UserError: the function fails; or the rows it makes have another shape or type, are not finite, are others the
            second time, depend on the rows beside them, or took the place of those it was given.
    """
    before = rows.clone()
    made = _made(name, options, rows, row_id, features, members)
    _check_form(made, before)
    if not torch.equal(rows, before):
        raise UserError("writes into batch.rows; work on a copy, batch.rows.clone()")
    if not torch.equal(made, _made(name, options, rows, row_id, features, members)):
        raise UserError("makes other rows the second time; take random numbers from batch.draws alone")
    if view_named(name).mixes != "nothing":
        return
    for place in range(len(rows)):
        one = slice(place, place + 1)
        if not torch.equal(made[one], _made(name, options, rows[one], row_id[one], features, members)):
            raise UserError(
                f"makes another row of row {int(row_id[place])} when it comes alone; make each row of itself and of "
                "batch.draws, or of batch.partners with @view(..., mixes=...)"
            )


def view_code(name: str, options: Mapping[str, Any], input_shape: tuple[int, ...]) -> str | None:
    """16 hexadecimal digits of a view `package.module:function`; None for a view of ours.

    A view that fails is refused by `check_own_view` before anything starts; here it is only different.
    """
    if not is_own(name):
        return None
    return _code(name, tuple(input_shape), json.dumps(dict(options), sort_keys=True, default=str))


@lru_cache(maxsize=64)
def _code(name: str, input_shape: tuple[int, ...], options: str) -> str:
    try:
        answers = _answers(name, json.loads(options), input_shape)
    except Exception:  # a user's function may fail in any way
        return "fails"
    found = json.dumps([source_of(name), answers])
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def _answers(name: str, options: Mapping[str, Any], input_shape: tuple[int, ...]) -> list[str]:
    """What the view makes of two fixed rows, three digits each; nothing for one that needs members."""
    if view_named(name).needs_members:
        return []
    rows = _two_fixed_rows(input_shape)
    mean, std, low, high = (torch.full(input_shape, value) for value in (0.0, 1.0, -2.0, 2.0))
    made = _made(name, options, rows, torch.arange(2), Features(mean, std, low, high))
    return [f"{value:.2e}" for value in torch.as_tensor(made).double().flatten().tolist()]


def _two_fixed_rows(input_shape: tuple[int, ...]) -> Tensor:
    """Pixels from 0 to 255, or features from -2 to 2, as stored."""
    size = torch.Size((2, *input_shape))
    values = (torch.arange(size.numel(), dtype=torch.float64) * 0.618033988749895 % 1).reshape(size)
    return (values * 256).to(torch.uint8) if len(input_shape) == 3 else (4 * values - 2).float()


def _made(
    name: str,
    options: Mapping[str, Any],
    rows: Tensor,
    row_id: Tensor,
    features: Features | None,
    members: Sequence[nn.Module] = (),
) -> Any:
    """What the function returns for rows of one block."""
    view = view_named(name)
    draws = Draws.of(THROWN_AWAY, row_id)
    parsed = view.parse(options)
    partners = partner_rows(view.mixes, rows, row_id, torch.zeros_like(row_id), draws, features)
    batch = ViewBatch(rows, draws, partners, features)
    try:
        return view.apply(parsed, batch, members) if view.needs_members else view.apply(parsed, batch)
    except Exception as error:  # a user's function may fail in any way
        raise UserError(f"fails on {len(rows)} rows ({error_in_short(error)}); mend it") from error


def _check_form(made: Any, rows: Tensor) -> None:
    """Shape, type and values of the rows that a view returned."""
    needed = f"return {list(rows.shape)} for {list(rows.shape)}"
    if not isinstance(made, Tensor):
        raise UserError(f"returns a {type(made).__name__}, not a tensor; {needed}")
    if made.shape != rows.shape:
        raise UserError(f"returns rows of shape {list(made.shape)}; {needed}")
    if made.dtype != rows.dtype and not (rows.dtype == torch.uint8 and made.is_floating_point()):
        allowed = "uint8, or floats from 0 to 255" if rows.dtype == torch.uint8 else "float32"
        raise UserError(f"returns {str(made.dtype).removeprefix('torch.')}; return {allowed}")
    if not made.isfinite().all():
        raise UserError("returns values that are not finite; mend it")
