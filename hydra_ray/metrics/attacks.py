"""Adversarial rows: pixels changed by at most eps so that a predictor answers wrong (FGSM, PGD, MIM).

Pure functions of any predictor that has gradients by its inputs. Who is attacked, and which figures follow, is in
`evaluation/attacks.py`.

Shapes: B rows, C classes. Pixels are floats in [0, 1], [B, ...]; changes are measured by the largest of any pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.config import AttackKind, AttackLoss, AttacksConfig
from hydra_ray.randomness import Draws


class LogProbs(Protocol):
    """A predictor: pixels in [0, 1], [B, ...] -> log-probabilities [B, C], each row's of that row alone."""

    def __call__(self, pixels_B: Tensor, /) -> Tensor:
        """See the class."""
        ...


class _Attempt(NamedTuple):
    """One climb from one start."""

    loss: AttackLoss
    draw: int | None
    """Which random start; None starts at the row itself."""
    steps: int
    step_size: float
    decay: float = 0.0
    """How much of the last direction is kept."""


def adversarial(
    kind: AttackKind,
    log_probs: LogProbs,
    pixels_B: Tensor,
    labels_B: Tensor,
    draws: Draws,
    eps: float,
    settings: AttacksConfig,
) -> Tensor:
    """Rows within `eps` of the given ones, in [0, 1], that the predictor gets wrong where the attack succeeds.

    A row is judged at the end of a climb. One that is wrong, at first or after a climb, is left as it is by all further
    climbs; one that stays right is where its last climb ended.

    Args:
        kind: the attack. `fgsm` is one step of eps up the sign of the gradient of cross-entropy (Goodfellow et al.
            2015); `pgd` many steps from random starts, for each loss (Madry et al. 2018); `mim` many steps up the sign
            of the gathered gradients, each of length 1 by its absolute values (Dong et al. 2018).
        log_probs: of the predictor.
        pixels_B: the rows.
        labels_B: their classes.
        draws: of each row, for random starts.
        eps: largest change of a pixel.
        settings: steps, restarts, losses.
    """
    found_B = pixels_B.clone()
    left = _right(log_probs, pixels_B, labels_B).nonzero()[:, 0]
    for attempt in _attempts(kind, eps, settings):
        if not len(left):
            break
        climb = partial(_climb, attempt, log_probs, eps=eps, confidence=settings.confidence)
        found_B[left] = climb(pixels_B[left], labels_B[left], Draws(draws.state[left]))
        left = left[_right(log_probs, found_B[left], labels_B[left])]
    return found_B


def attack_loss(loss: AttackLoss, log_p_BC: Tensor, labels_B: Tensor, confidence: float) -> Tensor:
    """What an attack climbs: [B].

    `ce` is -ln p(y). `cw` is the lead in logits of the best wrong class, max_j z_j - z_y, at most `confidence` (Carlini
    & Wagner 2017, f6 with its sign turned): its gradient does not fade where a predictor is sure of the label.
    """
    own_B = log_p_BC.gather(1, labels_B[:, None])[:, 0]
    if loss == "ce":
        return -own_B
    is_label_BC = F.one_hot(labels_B, log_p_BC.shape[1]).bool()
    return (log_p_BC.masked_fill(is_label_BC, -torch.inf).amax(1) - own_B).clamp(max=confidence)


def gradient_by_pixels(
    loss: AttackLoss, log_probs: LogProbs, pixels_B: Tensor, labels_B: Tensor, confidence: float = 0.0
) -> Tensor:
    """Of each row's `attack_loss`, [B, ...]."""
    with torch.enable_grad():
        pixels_B = pixels_B.detach().requires_grad_()
        loss_B = attack_loss(loss, log_probs(pixels_B), labels_B, confidence)
        return torch.autograd.grad(loss_B.sum(), pixels_B)[0]


def _attempts(kind: AttackKind, eps: float, settings: AttacksConfig) -> Iterator[_Attempt]:
    step_size = settings.step_size * eps
    match kind:
        case "fgsm":
            yield _Attempt("ce", None, 1, eps)
        case "mim":
            yield _Attempt("ce", None, settings.steps, step_size, settings.decay)
        case "pgd":
            for place, restart in product(range(len(settings.losses)), range(settings.restarts)):
                draw = place * settings.restarts + restart
                yield _Attempt(settings.losses[place], draw, settings.steps, step_size)


def _climb(
    attempt: _Attempt,
    log_probs: LogProbs,
    pixels_B: Tensor,
    labels_B: Tensor,
    draws: Draws,
    *,
    eps: float,
    confidence: float,
) -> Tensor:
    """Where the steps end: [B, ...], within eps of the rows and in [0, 1]."""
    low_B = (pixels_B - eps).clamp(min=0)
    high_B = (pixels_B + eps).clamp(max=1)
    found_B = pixels_B
    if attempt.draw is not None:
        size = pixels_B[0].numel()
        found_B = pixels_B + eps * draws.signed(attempt.draw * size, size).to(pixels_B).reshape(pixels_B.shape)
        found_B = found_B.clamp(low_B, high_B)
    direction_B = torch.zeros_like(pixels_B)
    for _ in range(attempt.steps):
        gradient_B = gradient_by_pixels(attempt.loss, log_probs, found_B, labels_B, confidence)
        direction_B = attempt.decay * direction_B + _unit(gradient_B)
        found_B = (found_B + attempt.step_size * direction_B.sign()).clamp(low_B, high_B)
    return found_B


def _unit(gradient_B: Tensor) -> Tensor:
    """Each row's gradient, however small, over the sum of its absolute values; 0 stays 0."""
    return F.normalize(gradient_B.flatten(1), p=1, eps=torch.finfo(gradient_B.dtype).tiny).view_as(gradient_B)


@torch.no_grad()
def _right(log_probs: LogProbs, pixels_B: Tensor, labels_B: Tensor) -> Tensor:
    """Which rows are answered right: bool [B]."""
    return log_probs(pixels_B).argmax(1) == labels_B
