"""Train several members as one network: every weight is [K, ...], and one `vmap` runs them all (`models/ensemble.py`).

Small networks leave a GPU idle between their many small operations; K of them as one do not. Each member keeps what
follows from (seed, member): initial weights, order of rows, augmentation. Up to the order of sums it ends as it would
alone, and it writes the checkpoint it would write alone, so that after a restart other members may be stacked, or none.
`stack_size.py` decides which members are stacked, and how many; no Ray here.

K members of the stack, N rows, B batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from hydra_ray.config import EnsembleConfig
from hydra_ray.losses import squared_weights
from hydra_ray.models import Member, StackedMembers
from hydra_ray.randomness import THROWN_AWAY, seed_of
from hydra_ray.tasks import MemberLoss
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.divergence import Watch
from hydra_ray.training.loop import Tick, TrainState
from hydra_ray.training.member import (
    LabelledRows,
    MemberSpec,
    augmented,
    figures_of,
    l2_weight_of,
    loss_of,
    mean_member_loss,
    order_of,
    subject_of,
)

_ROWS_WITHOUT_GRADIENT = 8192  # over all members of a stack


@dataclass(frozen=True)
class StackSlot:
    """A member's place in a stack.

    Attributes:
        member: its number.
        rows: positions of the training rows it learns from, int64 [N]; as many for each member of a stack.
        checkpoints: its own.
    """

    member: int
    rows: Tensor
    checkpoints: Checkpoints

    def num_done(self) -> int:
        """Steps in its checkpoint; members of a stack must have done as many."""
        state = self.checkpoints.newest()
        return 0 if state is None else int(state["num_done"])


def fit_stacked(
    slots: Sequence[StackSlot],
    settings: EnsembleConfig,
    seed: int,
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
    report: Callable[[dict[str, Any]], None],
    tick: Tick | None = None,
) -> list[tuple[Member, dict[str, float]]]:
    """Train members as one network, from their checkpoints where there are any.

    Args:
        slots: the members; their numbers of rows and their progress must be the same.
        settings: optimiser, epochs, augmentation; a gradient is clipped by its own member's norm.
        seed: the run's.
        member_spec: what they are built from.
        train: rows to learn from.
        validation: rows to evaluate on.
        report: called for each member after each epoch, with the figures that `fit_member` reports.
        tick: called after each step of the stack.

    Returns:
        Each member and its figures on the validation rows.

    Raises:
        DivergedError: the loss, weights or figures of a member are not finite.
    """
    training = _StackTraining(slots, settings, seed, member_spec, train, tick)
    figures = training.evaluate(validation)
    for epoch in range(training.state.num_done // training.steps, settings.epochs):
        losses = training.train_epoch(epoch)
        figures = training.evaluate(validation)
        for slot, found in zip(slots, figures, strict=True):
            subject_of(slot.member, settings).check_figures(found, epoch + 1)
        for slot, loss, found in zip(slots, losses, figures, strict=True):
            report({"member": slot.member, "epoch": epoch + 1, "loss": loss, **found})
        training.write_checkpoints()
    return list(zip(training.members(), figures, strict=True))


class _StackTraining:
    """A stack in training."""

    def __init__(
        self,
        slots: Sequence[StackSlot],
        settings: EnsembleConfig,
        seed: int,
        member_spec: MemberSpec,
        train: LabelledRows,
        tick: Tick | None = None,
    ) -> None:
        self._slots = slots
        self._settings = settings
        self._seed = seed
        self._train = train
        self._task = member_spec.task
        weights = [seed_of(seed, "member weights", slot.member) for slot in slots]
        self._members = [member_spec.build(each).to(train.inputs.device) for each in weights]
        self._stack = StackedMembers(self._members)
        self._batch = min(settings.batch_size, len(slots[0].rows))
        self.steps = len(slots[0].rows) // self._batch
        # no network in a stack draws random numbers, so the seed of the draws says nothing
        num_steps = settings.epochs * self.steps
        self.state = TrainState(self._stack, settings, num_steps=num_steps, seed=THROWN_AWAY, tick=tick)
        states = [state for slot in slots if (state := slot.checkpoints.newest()) is not None]
        if states:
            self.state.load(join_states(states))

    def train_epoch(self, epoch: int) -> list[float]:
        """One pass over the rows, each member in its own order; the mean loss of each."""
        self._stack.train()
        device = self._train.inputs.device
        watch = Watch([subject_of(slot.member, self._settings) for slot in self._slots], epoch + 1)
        orders = [slot.rows[order_of(len(slot.rows), self._seed, slot.member, epoch)] for slot in self._slots]
        whole_KN = torch.stack(orders)[:, : self.steps * self._batch].to(device)

        member_loss = loss_of(self._settings, self._task, self._members[0])
        l2_weight = l2_weight_of(self._settings)
        for rows_KB in whole_KN.split(self._batch, dim=1):
            labels_KB = self._train.labels.index_select(0, rows_KB.flatten()).unflatten(0, rows_KB.shape)
            watch.add(stack_step(self.state, member_loss, self._inputs(rows_KB, epoch), labels_KB, l2_weight))
        watch.check(self._states())
        return watch.means()

    def _inputs(self, rows_KB: Tensor, epoch: int) -> Tensor:
        if self._settings.augment is None:
            return self._train.inputs.index_select(0, rows_KB.flatten()).unflatten(0, rows_KB.shape)
        parts = zip(self._slots, rows_KB, strict=True)
        views = [augmented(self._settings, self._train, rows, self._seed, slot.member, epoch) for slot, rows in parts]
        return torch.stack(views)

    @torch.no_grad()
    def evaluate(self, rows: LabelledRows) -> list[dict[str, float]]:
        """Each member's figures on these rows."""
        self._stack.eval()
        parts = rows.inputs.split(max(1, _ROWS_WITHOUT_GRADIENT // len(self._slots)))
        outputs_KNC = torch.cat([self._stack.on_same(part).transpose(0, 1) for part in parts], dim=1)
        each = zip(self._members, outputs_KNC, strict=True)
        return [figures_of(self._task, member, outputs_NC, rows.labels) for member, outputs_NC in each]

    def write_checkpoints(self) -> None:
        """One checkpoint a member, as it would write it alone."""
        for slot, state in zip(self._slots, self._states(), strict=True):
            slot.checkpoints.write(state)

    def _states(self) -> list[dict[str, Tensor]]:
        """The `TrainState.state` of each member, as it would be alone."""
        return split_state(self.state.state(), len(self._slots))

    def members(self) -> list[Member]:
        """The members one by one, with the trained weights."""
        weights = {f"model.network.{name}": value for name, value in self._stack.network.state_dict().items()}
        for member, state in zip(self._members, split_state(weights, len(self._slots)), strict=True):
            member.network.load_state_dict({name.removeprefix("model.network."): each for name, each in state.items()})
        return self._members


def stack_step(
    state: TrainState, member_loss: MemberLoss, inputs_KB: Tensor, labels_KB: Tensor, l2_weight: float = 0.0
) -> Tensor:
    """One training step of K members, each on its own batch; their losses [K], detached.

    No member's weights are in another's loss, so that the sum of losses gives each the gradients it has alone.
    """
    state.begin_step()
    outputs_KBC = state.forward(inputs_KB)
    loss_K = vmap(partial(mean_member_loss, member_loss))(outputs_KBC, labels_KB)
    if l2_weight:
        loss_K = loss_K + l2_weight * vmap(squared_weights)(list(state.model.parameters()))
    loss_K.sum().backward()
    clip_each_member(state.model.parameters(), state.settings.clip_norm)
    state.update()
    return loss_K.detach()


def clip_each_member(parameters: Iterable[Tensor], max_norm: float | None) -> None:
    """`clip_gradients` for each member of a stack alone, over its slices of all parameters [K, ...]."""
    if max_norm is None:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm_K = torch.stack([each.reshape(len(each), -1).square().sum(1) for each in gradients]).sum(0).sqrt()
    scale_K = (max_norm / (norm_K + 1e-6)).clamp(max=1.0)
    for each in gradients:
        each.mul_(scale_K.reshape(-1, *(1 for _ in each.shape[1:])))


def split_state(state: Mapping[str, Tensor], num_members: int) -> list[dict[str, Tensor]]:
    """The `TrainState.state` of a stack as that of each of its members alone."""
    return [
        {name: value[place] if _differs_between_members(name) else value for name, value in state.items()}
        for place in range(num_members)
    ]


def join_states(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The states of members alone, all equally far, as the state of their stack."""
    return {
        name: torch.stack([state[name] for state in states]) if _differs_between_members(name) else value
        for name, value in states[0].items()
    }


def _differs_between_members(name: str) -> bool:
    """Whether a tensor of a `TrainState.state` differs between members; steps and normalisation are common to all."""
    is_of_optimizer = name.startswith("optimizer.") and not name.endswith(".step")
    return is_of_optimizer or name.startswith(("model.network.", "model.output."))
