"""Train one member of the ensemble, plain PyTorch.

Everything random about a member follows from (seed, member): its weights, the order of its rows, its augmentation and
its dropout. Nothing depends on the worker that trains it, nor on other members. The task defines its loss; no Ray.

N rows, B batch, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hydra_ray.config import EnsembleConfig
from hydra_ray.data import Features, Rows
from hydra_ray.losses import diverse_loss, squared_weights
from hydra_ray.models import DiverseNetwork, Member, ModelSpec, Normalise, Pretrained, build_member, put_body
from hydra_ray.randomness import permutation, seed_of
from hydra_ray.tasks import MemberLoss, Task
from hydra_ray.training.checkpoints import Checkpoints
from hydra_ray.training.divergence import Subject, Watch
from hydra_ray.training.loop import DistributedContext, Tick, TrainState, clip_gradients
from hydra_ray.views import augment

ALONE = DistributedContext()
_BATCH_WITHOUT_GRADIENT = 2048


@dataclass(frozen=True)
class LabelledRows:
    """Rows of one split on a device: row_id int64 [N], inputs as stored [N, ...], labels [N] of the task's type.

    `features` is the scale of feature rows, for views of them.
    """

    row_id: Tensor
    inputs: Tensor
    labels: Tensor
    features: Features | None = None

    @classmethod
    def of(cls, rows: Rows, device: torch.device, features: Features | None = None) -> LabelledRows:
        """All rows of a split, which must have labels, on `device`."""
        assert rows.labels is not None
        parts = (rows.row_id, rows.inputs, rows.labels)
        return cls(*(torch.from_numpy(part).to(device) for part in parts), features=features)

    def __len__(self) -> int:
        return len(self.row_id)

    def at(self, places: Tensor) -> LabelledRows:
        """The rows at these positions, int64 [n]."""
        places = places.to(self.row_id.device)
        return LabelledRows(self.row_id[places], self.inputs[places], self.labels[places], self.features)


@dataclass(frozen=True)
class MemberSpec:
    """What members that are alike are built from; only their seeds differ.

    Attributes:
        task: what they learn.
        spec: their architecture.
        normalise: of inputs, from the training rows.
        output: what their outputs mean, in the units of the training rows' labels.
        body: the trained state that their bodies start from; None for fresh ones.
        has_fixed_body: whether the head alone is trained.
        tells_diversity: whether the network says how diverse it is while it learns, as `dexdeepfm` asks.
    """

    task: Task
    spec: ModelSpec
    normalise: Normalise
    output: nn.Module
    body: Mapping[str, Tensor] | None = None
    has_fixed_body: bool = False
    tells_diversity: bool = False

    @classmethod
    def of(cls, task: Task, spec: ModelSpec, inputs: np.ndarray, labels: np.ndarray) -> MemberSpec:
        """With normalisation and output fitted to the training rows."""
        normalise = Normalise.fit(inputs, spec.categories)
        return cls(task, spec, normalise, task.likelihood.fit_output(spec.output, labels))

    def of_group(
        self,
        spec: ModelSpec,
        pretrained: Pretrained | None = None,
        *,
        has_fixed_body: bool = False,
        tells_diversity: bool = False,
    ) -> MemberSpec:
        """For members of another architecture, or with a trained body, on the same rows."""
        found = replace(self, spec=spec, has_fixed_body=has_fixed_body, tells_diversity=tells_diversity)
        if pretrained is None:
            return found
        return replace(found, body=pretrained.body, normalise=pretrained.normalise or self.normalise)

    def build(self, seed: int) -> Member:
        """A member whose fresh weights follow from `seed`."""
        member = build_member(self.spec, seed, self.normalise, self.output)
        if self.body is not None:
            put_body(member.network.body, self.body)
        if self.has_fixed_body:
            member.fix_body()
        if self.tells_diversity:
            cast("DiverseNetwork", member.network).tells_diversity = True
        return member


def fit_member(
    member: int,
    settings: EnsembleConfig,
    seed: int,
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
    checkpoints: Checkpoints,
    report: Callable[[dict[str, Any]], None],
    tick: Tick | None = None,
    ranks: DistributedContext = ALONE,
) -> tuple[Member, dict[str, float]]:
    """Train member number `member`, from its checkpoint where there is one.

    Several ranks take a part of every batch each, and end with the same member.

    Args:
        member: its number, which with `seed` decides everything random.
        settings: optimiser, epochs, augmentation.
        seed: the run's.
        member_spec: what it is built from.
        train: rows to learn from.
        validation: rows to evaluate on; nothing is selected by them.
        checkpoints: this member's own; a killed worker costs at most the epoch it was in.
        report: called after each epoch with epoch, loss and validation figures.
        tick: called after each step.
        ranks: this process among those that train the member; the first one reports and writes checkpoints.

    Returns:
        The member and its figures on the validation rows.

    Raises:
        DivergedError: its loss, weights or figures are not finite; on all ranks alike.
    """
    task = member_spec.task
    model = member_spec.build(seed_of(seed, "member weights", member))
    batch = min(settings.batch_size, len(train))
    steps = len(train) // batch
    dropout = seed_of(seed, "member dropout", member)
    state = TrainState(
        model, settings, num_steps=settings.epochs * steps, seed=dropout, ranks=ranks, tick=tick,
        device=train.inputs.device,
    )  # fmt: skip
    checkpoint = checkpoints.newest()
    subject = subject_of(member, settings)
    if checkpoint is not None:
        state.load(checkpoint)
    figures: dict[str, float] = {}
    for epoch in range(state.num_done // steps, settings.epochs):
        model.train()
        watch = Watch([subject], epoch + 1, ranks=ranks)
        _train_epoch(watch, state, loss_of(settings, task, model), settings, train, (seed, member, epoch), batch, ranks)
        figures = evaluate_member(task, model, validation)
        subject.check_figures(figures, epoch + 1)
        if ranks.is_first:
            report({"member": member, "epoch": epoch + 1, "loss": watch.means()[0], **figures})
        checkpoints.write(state.state())
    figures = figures or evaluate_member(task, model, validation)
    return cast("Member", state.finished()), figures


def subject_of(member: int, settings: EnsembleConfig) -> Subject:
    """What a member is called in the message when it diverges."""
    return Subject(f"member {member}", "ensemble", settings.learning_rate)


def _train_epoch(
    watch: Watch,
    state: TrainState,
    member_loss: MemberLoss,
    settings: EnsembleConfig,
    train: LabelledRows,
    seed: tuple[int, int, int],
    batch: int,
    ranks: DistributedContext,
) -> None:
    """One pass over the rows in the order of (seed, member, epoch), of each batch this rank's part."""
    order = order_of(len(train), *seed).to(train.inputs.device)
    part = slice(ranks.rank, None, ranks.num_ranks)
    share = ranks.num_ranks * len(range(batch)[part]) / batch

    for rows in order[: len(order) // batch * batch].split(batch):
        inputs = augmented(settings, train, rows, *seed)  # of the whole batch, in which a view may mix rows
        labels = train.labels.index_select(0, rows)
        watch.add(member_step(state, member_loss, inputs[part], labels[part], l2_weight_of(settings), share))
    watch.check([state.state()])


def member_step(
    state: TrainState,
    member_loss: MemberLoss,
    inputs: Tensor,
    labels_B: Tensor,
    l2_weight: float = 0.0,
    share: float = 1.0,
) -> Tensor:
    """One training step of a member; its loss, detached.

    `share` times the mean over this rank's rows is what has as its mean over ranks the mean over all rows.
    """
    state.begin_step()
    loss = share * mean_member_loss(member_loss, state.forward(inputs), labels_B)
    if l2_weight:
        loss = loss + l2_weight * squared_weights(state.model.parameters())
    loss.backward()
    clip_gradients(state.model.parameters(), state.settings.clip_norm)
    state.update()
    return loss.detach()


def loss_of(settings: EnsembleConfig, task: Task, member: Member) -> MemberLoss:
    """What a member minimises of its rows: how well it predicts, and its own objective where there is one."""
    loss = task.likelihood.member_loss(member)
    objective = settings.own_objective
    return loss if objective is None else partial(diverse_loss, loss=loss, weight=objective.diversity_weight)


def l2_weight_of(settings: EnsembleConfig) -> float:
    """Of the squares of a member's weights in what it minimises."""
    objective = settings.own_objective
    return 0.0 if objective is None else objective.l2_weight


def mean_member_loss(member_loss: MemberLoss, outputs: Tensor, labels_B: Tensor) -> Tensor:
    """The loss of outputs [B, C], a mean over rows; of k submodels, [B, k, C], the mean of their losses, as each learns
    for itself (Gorishniy et al. 2025, arXiv 2410.24210)."""
    if outputs.ndim == 2:
        return member_loss(outputs, labels_B).mean()
    labels_Bk = labels_B.unsqueeze(1).expand(outputs.shape[:2])
    return member_loss(outputs.flatten(0, 1), labels_Bk.flatten()).mean()


def order_of(num_rows: int, seed: int, member: int, epoch: int) -> Tensor:
    """A member's own order of its rows in an epoch: int64 [N], on the CPU."""
    return permutation(num_rows, seed_of(seed, "member order", member, epoch))


def augmented(
    settings: EnsembleConfig, train: LabelledRows, rows: Tensor, seed: int, member: int, epoch: int
) -> Tensor:
    """The inputs at positions `rows` as a member sees them in an epoch: [B, ...], on the rows' device."""
    view = settings.augment  # several times as fast as `inputs[rows]`
    inputs = train.inputs.index_select(0, rows)
    if view is None:
        return inputs
    draw = seed_of(seed, "member augmentation", member, epoch)
    return augment(view.view, view.options, inputs, train.row_id[rows], draw, features=train.features)


@torch.no_grad()
def evaluate_member(task: Task, model: Member, rows: LabelledRows) -> dict[str, float]:
    """A member's figures on the validation rows; a mean alone gets its one variance from them."""
    model.eval()
    outputs_NC = torch.cat([model(part) for part in rows.inputs.split(_BATCH_WITHOUT_GRADIENT)])
    return figures_of(task, model, outputs_NC, rows.labels)


def figures_of(task: Task, model: Member, outputs_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    """Figures of a member whose outputs on validation rows are `outputs_NC`."""
    return task.figures.member_figures(task.likelihood.fit_residual_variance(model, outputs_NC, labels_N), labels_N)
