"""Training that diverges: noticed soon, reported with the exact step, before a checkpoint or a model is written.

Reading a loss makes the host wait for the GPU. So losses stay on the device and are checked every 50 steps, before each
checkpoint and at the end of the epoch; the step that is reported is exact all the same.
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
    """What is trained, as messages call it.

    Attributes:
        name: such as `member 3` or `student hydra`.
        section: of the configuration that has its settings.
        learning_rate: in that section.
    """

    name: str
    section: str
    learning_rate: float

    def diverged(self, what: str) -> DivergedError:
        """The error to raise; `what` says what is not finite, and where."""
        rate = f"{self.learning_rate:g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
        return DivergedError(f"{self.name}: {what}; lower {self.section}.learning_rate ({rate})")

    def check_figures(self, figures: Mapping[str, float], epoch: int) -> None:
        """Check the validation figures after an epoch, counted from 1.

        Raises:
            DivergedError: one is not finite.
        """
        for name, value in figures.items():
            if not math.isfinite(value):
                raise self.diverged(f"{name} is not finite after epoch {epoch}")


class Watch:
    """Checks the losses and weights of one network, or of a stack of K, over one epoch, and averages the losses."""

    def __init__(
        self, subjects: Sequence[Subject], epoch: int, *, first_step: int = 0, ranks: DistributedContext = _ALONE
    ) -> None:
        """Start an epoch.

        Args:
            subjects: what is trained, K of them.
            epoch: counted from 1.
            first_step: steps of the epoch that were done before a restart.
            ranks: whose losses are shares of a mean; all of them check at the same steps.
        """
        self._subjects = subjects
        self._epoch = epoch
        self._first = first_step
        self._ranks = ranks
        self._pending: list[Tensor] = []
        self._losses: list[list[float]] = []
        self._device = torch.device("cpu")

    def add(self, loss: Tensor) -> None:
        """Add the losses of one step, [K] or a scalar, detached.

        Raises:
            DivergedError: a loss of this step or of one shortly before is not finite.
        """
        self._pending.append(loss.reshape(-1))
        self._device = loss.device
        if len(self._pending) == _STEPS_BETWEEN_LOOKS:
            self.check_losses()

    def check_losses(self) -> None:
        """Check the losses of all steps since the last check.

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
        """Check all losses and the current weights, as is done before a checkpoint is written.

        Args:
            states: `TrainState.state` of each of the K; their `model.` entries are checked.

        Raises:
            DivergedError: one is not finite. A step may leave such weights behind a finite loss.
        """
        self.check_losses()
        for subject, state in zip(self._subjects, states, strict=True):
            weights = [value for name, value in state.items() if name.startswith("model.")]
            is_finite = torch.stack([value.isfinite().all() for value in weights]).all()
            if self._ranks.mean(is_finite.float().to(self._device)).item() < 1:
                raise subject.diverged(f"weights are not finite after {self._place}")

    def means(self) -> list[float]:
        """Mean loss of each of the K over the steps that were checked."""
        return [sum(losses) / len(losses) for losses in zip(*self._losses, strict=True)]

    @property
    def _place(self) -> str:
        """The last step that was checked."""
        return f"step {self._first + len(self._losses)} of epoch {self._epoch}"
