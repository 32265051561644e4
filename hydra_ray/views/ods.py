"""Output-diversified views: rows moved a little in the direction that changes a random member's output most.

Nam et al. 2021 (arXiv 2110.14149) distil diversity on such rows: members that agree on a training row need not agree
beside it. Unlike other views these need the members, so the predict stage applies them where the members are. What is
random about a row (its member, its direction) follows from (the view's seed, row_id), as for every view.

B rows, C classes, d elements of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from hydra_ray.config import Section
from hydra_ray.errors import UserError, reason_of
from hydra_ray.randomness import Draws
from hydra_ray.views.batch import ViewBatch
from hydra_ray.views.registry import view

_MEMBER_DRAW = 0
_DIRECTION_DRAW = 1
_FULL_RANGE = 255.0


class OdsOptions(Section):
    """A step against a member's output."""

    step: Annotated[float, Field(ge=0, le=1)] = 8 / 255
    """Root mean square of the change, as a fraction of the full pixel range, or in units of the features."""
    temperature: Annotated[float, Field(ge=1e-3, le=1e3)] = 1.0
    """Of the softmax whose gradient is taken."""


@view(OdsOptions, takes="both", needs_members=True, changes_codes=False)
def ods(options: OdsOptions, batch: ViewBatch, members: Sequence[nn.Module]) -> Tensor:
    """x + step * sqrt(d) * g / |g|, with g the gradient at x of w . softmax(z(x) / T), w uniform in [-1, 1]^C.

    Each row has a random member for z. Categories stay: no gradient reaches a code.
    """
    return _moved(options, batch, members, confident=False)


@view(OdsOptions, takes="both", needs_members=True, changes_codes=False)
def conf_ods(options: OdsOptions, batch: ViewBatch, members: Sequence[nn.Module]) -> Tensor:
    """`ods` with the step scaled by that member's largest probability."""
    return _moved(options, batch, members, confident=True)


def _moved(options: OdsOptions, batch: ViewBatch, members: Sequence[nn.Module], *, confident: bool) -> Tensor:
    draws = batch.draws
    chosen_B = (draws.uniform(_MEMBER_DRAW, 1)[:, 0] * len(members)).long()
    moved = batch.rows.to(torch.float32, copy=True)
    for number, member in enumerate(members):  # networks of their own: each sees the rows that chose it
        rows = (chosen_B == number).nonzero()[:, 0]
        if len(rows):
            direction = Draws(draws.state[rows])
            moved[rows] += _step(options, member, moved[rows], direction, confident=confident)
    return moved


def _step(options: OdsOptions, member: nn.Module, rows: Tensor, draws: Draws, *, confident: bool) -> Tensor:
    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        probs_BC = torch.softmax(member(rows).float() / options.temperature, dim=-1)
        weights_BC = draws.signed(_DIRECTION_DRAW, probs_BC.shape[1])
        (gradient,) = torch.autograd.grad((weights_BC * probs_BC).sum(), rows)
    flat = gradient.flatten(1)
    length_B = options.step * (_FULL_RANGE if rows.ndim == 4 else 1.0) * flat.shape[1] ** 0.5
    scale_B = length_B / flat.norm(dim=1).clamp(min=torch.finfo(flat.dtype).tiny)
    if confident:
        scale_B = scale_B * probs_BC.detach().amax(dim=1)
    return gradient * scale_B.reshape(-1, *(1 for _ in rows.shape[1:]))


def check_gradients(
    member: nn.Module, input_shape: tuple[int, ...], what: str = "ods", way_out: str = "use other views"
) -> None:
    """Raise a UserError if no gradient of a member's output reaches its input.

    Args:
        member: stored inputs -> logits, with real weights.
        input_shape: of one row.
        what: needs them, for the message.
        way_out: what to do instead.
    """
    rows = torch.ones(2, *input_shape, requires_grad=True)
    try:
        torch.autograd.grad(member.eval()(rows).float().square().sum(), rows)
    except RuntimeError as error:
        reason = reason_of(error, 120)
        raise UserError(
            f"{what} needs members with gradients to their inputs, this has none ({reason}); {way_out}"
        ) from None
