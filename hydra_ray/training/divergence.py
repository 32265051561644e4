"""Fits that diverge: noticed soon, told with the exact step, and before anything of them is written.

A loss that is looked at makes the host wait for the GPU. So the losses of an epoch stay where they were computed and
are looked at now and then, before each checkpoint and at the epoch's end; the step that is told is exact all the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hydra_ray.errors import DivergedError
from hydra_ray.training.loop import DistributedContext

_STEPS_BETWEEN_LOOKS = 50
_ALONE = DistributedContext()


@dataclass(frozen=True)
class Subject:
    """What is fitted, in the words of the user.

    Attributes:
        name: such as `member 3` or `student hydra`.
        section: of the configuration that says how.
        learning_rate: there.
    """

    name: str
    section: str
    learning_rate: float

    def diverged(self, what: str) -> DivergedError:
        """The exception that says what is not finite."""
        rate = f"{self.learning_rate:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
        return DivergedError(f"{self.name}: {what}; lower {self.section}.learning_rate ({rate})")

    def check_figures(self, figures: Mapping[str, float], epoch: int) -> None:
        """Look at the validation figures after an epoch, counted from 1.

        Raises:
            DivergedError: one is not finite.
        """
        for name, value in figures.items():
            if not math.isfinite(value):
                raise self.diverged(f"{name} is not finite after epoch {epoch}")


class Watch:
    """Over the losses and weights of one or several fits that take the same steps of one epoch."""

    def __init__(
        self, subjects: Sequence[Subject], epoch: int, *, first_step: int = 0, ranks: DistributedContext = _ALONE
    ) -> None:
        """Nothing has happened yet.

        Args:
            subjects: what is fitted, K of them.
            epoch: counted from 1.
            first_step: steps of the epoch that were done before.
            ranks: among which losses are shares of a mean; all of them look at the same steps.
        """
        self._subjects, self._epoch, self._first, self._ranks = subjects, epoch, first_step, ranks
        self._pending: list[Tensor] = []
        self._losses: list[list[float]] = []

    def add(self, loss: Tensor) -> None:
        """The losses of one step, [K] or of one fit a scalar, detached.

        Raises:
            DivergedError: a loss of this step or of one shortly before is not finite.
        """
        self._pending.append(loss.reshape(-1))
        if len(self._pending) == _STEPS_BETWEEN_LOOKS:
            self.check_losses()

    def check_losses(self) -> None:
        """Look at the losses of all steps.

        Raises:
            DivergedError: one is not finite; the message names the first.
        """
        if not self._pending:
            return
        for loss_K in self._ranks.mean(torch.stack(self._pending)).tolist():
            self._losses.append(loss_K)
            for subject, loss in zip(self._subjects, loss_K, strict=True):
                if not math.isfinite(loss):
                    raise subject.diverged(f"loss is not finite at {self._place}")
        self._pending = []

    def check(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Look at all losses, and at the weights as they are now: what a checkpoint may be written after.

        Args:
            states: `TrainState.state` of each fit; their `model.` entries are looked at.

        Raises:
            DivergedError: one is not finite. A step may leave such weights behind a finite loss.
        """
        self.check_losses()
        for subject, state in zip(self._subjects, states, strict=True):
            weights = [value for name, value in state.items() if name.startswith("model.")]
            is_finite = torch.stack([value.isfinite().all() for value in weights]).all()
            if self._ranks.mean(is_finite.float()).item() < 1:
                raise subject.diverged(f"weights are not finite after {self._place}")

    def means(self) -> list[float]:
        """Mean loss of each fit over the epoch's steps, after a check."""
        return [sum(losses) / len(losses) for losses in zip(*self._losses, strict=True)]

    @property
    def _place(self) -> str:
        """The last step looked at."""
        return f"step {self._first + len(self._losses)} of epoch {self._epoch}"
