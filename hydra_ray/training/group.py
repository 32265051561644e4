"""Train the members of a group together, by one loss of all their outputs on the same rows (`ensemble.objective`).

Each member has its own weights and draws, which follow from (seed, member). Rows come in the order, and are augmented
by the draws, of the group's first member, as an objective compares outputs on the same inputs. A group is one training:
one optimiser, one checkpoint, and it ends as one. Several ranks train it on a part of every batch each; BatchNorm
normalises by a rank's own rows, and its running statistics are the first rank's. The objectives' formulas are in
`losses/group_objectives.py`; no Ray.

K members of the group, N rows, B batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hydra_ray.config import EnsembleConfig
from hydra_ray.losses import group_loss
from hydra_ray.models import Member
from hydra_ray.randomness import seed_of
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.divergence import Watch
from hydra_ray.training.loop import DistributedContext, Tick, TrainState, clip_gradients
from hydra_ray.training.member import ALONE, LabelledRows, MemberSpec, augmented, evaluate_member, order_of, subject_of


def fit_group(
    members: Sequence[int],
    settings: EnsembleConfig,
    seed: int,
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
    checkpoints: Checkpoints,
    report: Callable[[dict[str, Any]], None],
    tick: Tick | None = None,
    ranks: DistributedContext = ALONE,
) -> list[tuple[Member, dict[str, float]]]:
    """Train the members with these numbers together, from the group's checkpoint where there is one.

    Args:
        members: their numbers, K of them.
        settings: objective, optimiser, epochs, augmentation; a gradient is clipped by its own member's norm.
        seed: the run's.
        member_spec: what they are built from.
        train: rows to learn from, the same for all.
        validation: rows to evaluate on; nothing is selected by them.
        checkpoints: the group's.
        report: called for each member after each epoch, with the figures that `fit_member` reports.
        tick: called after each step of the group.
        ranks: this process among those that train the group; the first one reports and writes checkpoints.

    Returns:
        Each member and its figures on the validation rows.

    Raises:
        DivergedError: the loss, weights or figures of a member are not finite.
    """
    training = _GroupTraining(members, settings, seed, member_spec, train, checkpoints, tick, ranks)
    figures = training.evaluate(validation)
    for epoch in range(training.state.num_done // training.steps, settings.epochs):
        losses = training.train_epoch(epoch)
        figures = training.evaluate(validation)
        for subject, found in zip(training.subjects, figures, strict=True):
            subject.check_figures(found, epoch + 1)
        for member, loss, found in zip(members, losses, figures, strict=True):
            if ranks.is_first:
                report({"member": member, "epoch": epoch + 1, "loss": loss, **found})
        training.checkpoints.write(training.state.state())
    return list(zip(training.members, figures, strict=True))


class Together(nn.Module):
    """Members one after the other, each on its own copy of normalised rows; their weights stay their own."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, normalised_KB: Tensor) -> Tensor:
        """[K, B, ...] -> outputs_KBC."""
        members = (cast("Member", member) for member in self.members)
        return torch.stack([member.after_normalise(rows) for member, rows in zip(members, normalised_KB, strict=True)])


class _GroupTraining:
    """A group in training."""

    def __init__(
        self,
        numbers: Sequence[int],
        settings: EnsembleConfig,
        seed: int,
        member_spec: MemberSpec,
        train: LabelledRows,
        checkpoints: Checkpoints,
        tick: Tick | None,
        ranks: DistributedContext,
    ) -> None:
        self._ranks = ranks
        self.subjects = [subject_of(number, settings) for number in numbers]
        self._first = numbers[0]
        self._settings = settings
        self._seed = seed
        self._train = train
        self._task = member_spec.task
        self.members = [
            member_spec.build(seed_of(seed, "member weights", number)).to(train.inputs.device) for number in numbers
        ]
        self._together = Together(self.members)
        self._batch = min(settings.batch_size, len(train))
        self.steps = len(train) // self._batch
        num_steps = settings.epochs * self.steps
        dropout = seed_of(seed, "member dropout", self._first)
        # gradients are averaged in `_step`: DDP knows no gradients by inputs, and no second ones
        alone = DistributedContext(ranks.rank)
        self.state = TrainState(self._together, settings, num_steps=num_steps, seed=dropout, ranks=alone, tick=tick)
        self.checkpoints = checkpoints
        checkpoint = checkpoints.newest()
        if checkpoint is not None:
            self.state.load(checkpoint)
        objective = settings.objective_of_groups
        assert objective is not None, "checked by who calls"
        self._loss = group_loss(objective, self._task.name)

    def train_epoch(self, epoch: int) -> list[float]:
        """One pass over the rows; the mean of each member's own loss."""
        self._together.train()
        watch = Watch(self.subjects, epoch + 1, ranks=self._ranks)
        order = order_of(len(self._train), self._seed, self._first, epoch).to(self._train.inputs.device)
        for rows in order[: self.steps * self._batch].split(self._batch):
            inputs = augmented(self._settings, self._train, rows, self._seed, self._first, epoch)
            labels_B = self._train.labels.index_select(0, rows)
            part = slice(self._ranks.rank, None, self._ranks.num_ranks)
            share = self._ranks.num_ranks / len(rows)
            watch.add(self._step(inputs[part], labels_B[part], share))
        watch.check([self._state_of(place) for place in range(len(self.members))])
        return watch.means()

    def _state_of(self, place: int) -> dict[str, Tensor]:
        """What the group's state holds of one member's weights."""
        prefix = f"model.members.{place}."
        return {name: value for name, value in self.state.state().items() if name.startswith(prefix)}

    def _step(self, inputs: Tensor, labels_B: Tensor, share: float) -> Tensor:
        """One training step of the group; this rank's share of each member's own loss [K], detached.

        `share` times a sum over this rank's rows is what has as its mean over ranks the mean over all rows.
        """
        self.state.begin_step()
        normalised_KB = self.members[0].normalise(inputs).expand(len(self.members), *([-1] * inputs.ndim))
        loss_B, each_KB = self._loss(self.state.forward, normalised_KB, labels_B, self.state.progress)
        (share * loss_B.sum()).backward()
        self._average_gradients()
        for member in self.members:
            clip_gradients(member.parameters(), self._settings.clip_norm)
        self.state.update()
        return share * each_KB.detach().sum(1)

    def _average_gradients(self) -> None:
        for parameter in self._together.parameters():
            if parameter.grad is not None:
                parameter.grad = self._ranks.mean(parameter.grad)

    def evaluate(self, rows: LabelledRows) -> list[dict[str, float]]:
        """Each member's figures on these rows."""
        return [evaluate_member(self._task, member, rows) for member in self.members]
