"""The job that trains members, on its workers: who trains which, and one after the other, stacked or in teams.

Nothing of a member depends on its worker. What the command makes of it is in `train_ensemble.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hydra_ray.cluster.progress import Sender, Ticker
from hydra_ray.config import Config
from hydra_ray.data import DataSet, Features, Ints, left_out
from hydra_ray.errors import DivergedError
from hydra_ray.models import Member, ModelSpec
from hydra_ray.runs import group_weights, publish_model
from hydra_ray.storage import Artifact
from hydra_ray.tasks import task_named
from hydra_ray.training import (
    Checkpoints,
    DistributedContext,
    LabelledRows,
    MemberSpec,
    StackSlot,
    Team,
    fit_group,
    fit_member,
    fit_stacked,
    stacks,
)
from hydra_ray.training.stack_size import stack_size


@dataclass(frozen=True)
class MemberJob:
    """What the workers need.

    Attributes:
        config: with all members that were asked for.
        data: their rows.
        specs: what members of each of `ensemble.groups` are built from.
        members: number and place of those that are to be trained.
        sender: of their figures.
        features: statistics of the training rows' features; None for images.
    """

    config: Config
    data: DataSet
    specs: list[ModelSpec]
    members: list[tuple[int, Artifact]]
    sender: Sender
    features: Features | None


def fit_members(job: MemberJob, ranks: DistributedContext, device: torch.device) -> None:
    """Train a worker's share of the members, one after the other or several stacked into one network."""
    mine, among = _share(job, ranks)
    if not mine:
        return
    rows = job.data.splits["train"].read_all()
    assert rows.labels is not None, "checked when the data set was opened"
    of_first = MemberSpec.of(task_named(job.data.task), job.specs[0], rows.inputs, rows.labels)
    train = LabelledRows.of(rows, device, job.features)
    validation = LabelledRows.of(job.data.splits["validation"].read_all(), device)
    groups: dict[int, list[list[tuple[int, Artifact]]]] = {}
    for group in mine:
        groups.setdefault(job.config.ensemble.group_of(group[0][0]), []).append(group)
    ensemble = job.config.ensemble
    tells_diversity = ensemble.own_objective is not None
    for place, alike in groups.items():
        pretrained = group_weights(job.config, place, job.data)
        said = {} if pretrained is None else {"text": f"members start from {pretrained.said}"}
        member_spec = of_first.of_group(
            job.specs[place], pretrained, has_fixed_body=ensemble.train == "head", tells_diversity=tells_diversity
        )
        if ensemble.objective_of_groups is not None:
            job.sender.send({"event": "started", "rank": ranks.rank, "stacked": 1, **said})
            for group in alike:
                _fit_together(job, among, dict(group), member_spec, train, validation)
            continue
        members = [each for group in alike for each in group]
        size = stack_size(ensemble, len(members), member_spec, train)
        job.sender.send({"event": "started", "rank": ranks.rank, "stacked": size, **said})
        _fit_alike(job, ranks.rank, among, members, size, member_spec, train, validation)


def _share(job: MemberJob, ranks: DistributedContext) -> tuple[list[list[tuple[int, Artifact]]], DistributedContext]:
    """The missing members that a worker trains, by the groups that one loss trains, and those it trains each with.

    A worker, or a team of `ensemble.workers_per_member`, has groups for itself; where there are fewer than workers, all
    of them train one after the other together. A worker that is left over from teams has none.
    """
    ensemble = job.config.ensemble
    groups = [group for numbers in ensemble.trained_together if (group := _those_in(numbers, job.members))]
    # by all groups, not by those that are missing: a restart must not change the order of sums
    is_together = ensemble.objective_of_groups is not None and len(ensemble.trained_together) < ranks.num_ranks
    team = Team(0, 1, ranks) if is_together else ranks.team(ensemble.workers_per_member)
    if team.ranks is None:
        return [], DistributedContext()
    shares = groups[team.number :: team.num_teams]
    mine = [group for share in shares if (group := [each for each in share if not each[1].is_done])]
    team.ranks.wait()  # until every rank has seen the same members as missing
    return mine, team.ranks


def _those_in(numbers: range, members: list[tuple[int, Artifact]]) -> list[tuple[int, Artifact]]:
    return [(number, artifact) for number, artifact in members if number in numbers]


def _fit_together(
    job: MemberJob,
    ranks: DistributedContext,
    missing: dict[int, Artifact],
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
) -> None:
    """Train a group by one loss; its checkpoint is beside its first missing member, which is published last."""
    numbers = next(group for group in job.config.ensemble.trained_together if min(missing) in group)
    checkpoints = _checkpoints(job, missing[min(missing)], ranks)
    ticker = Ticker(job.sender, members=list(missing)) if ranks.is_first else None
    fitted = fit_group(
        numbers, job.config.ensemble, job.config.seed, member_spec, train, validation, checkpoints,
        partial(_report, job), ticker, ranks,
    )  # fmt: skip
    for number, (model, figures) in reversed(list(zip(numbers, fitted, strict=True))):
        if number in missing and ranks.is_first:
            _publish(job, number, missing[number], model, figures)


def _fit_alike(
    job: MemberJob,
    rank: int,
    among: DistributedContext,
    members: list[tuple[int, Artifact]],
    size: int,
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
) -> None:
    """Train members that are alike, `size` of them at a time."""
    artifacts = dict(members)
    row_id = train.row_id.cpu().numpy()
    slots = [
        StackSlot(number, _rows_of(job, number, row_id), _checkpoints(job, artifact, among))
        for number, artifact in members
    ]
    for stack in [[slot] for slot in slots] if size == 1 else stacks(slots, size):
        _fit_or_leave_out(job, rank, among, stack, artifacts, member_spec, train, validation)


def _fit_or_leave_out(
    job: MemberJob,
    rank: int,
    among: DistributedContext,
    stack: list[StackSlot],
    artifacts: dict[int, Artifact],
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
) -> None:
    """Train a stack; with a quorum, members whose training diverges are left out, each of them found by itself."""
    numbers = [slot.member for slot in stack]
    job.sender.send({"event": "begins", "rank": rank, "members": numbers}, wait=True)
    try:
        if len(stack) == 1:
            _fit_one(job, among, stack[0], artifacts[numbers[0]], member_spec, train, validation)
        else:
            _fit_stack(job, stack, artifacts, member_spec, train, validation)
    except DivergedError as error:
        if job.config.ensemble.min_members is None:
            raise
        if len(stack) == 1:
            reason = str(error).removeprefix(f"member {numbers[0]}: ")
            if among.is_first:
                job.sender.send({"event": "failed", "member": numbers[0], "reason": reason}, wait=True)
            return
        for slot in stack:
            _fit_or_leave_out(job, rank, among, [slot], artifacts, member_spec, train, validation)


def _fit_one(
    job: MemberJob,
    ranks: DistributedContext,
    slot: StackSlot,
    artifact: Artifact,
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
) -> None:
    if job.config.ensemble.folds is not None:
        train = train.at(slot.rows)
    ticker = Ticker(job.sender, members=[slot.member]) if ranks.is_first else None
    model, figures = fit_member(
        slot.member, job.config.ensemble, job.config.seed, member_spec, train, validation, slot.checkpoints,
        partial(_report, job), ticker, ranks,
    )  # fmt: skip
    if ranks.is_first:
        _publish(job, slot.member, artifact, model, figures)


def _fit_stack(
    job: MemberJob,
    slots: list[StackSlot],
    artifacts: dict[int, Artifact],
    member_spec: MemberSpec,
    train: LabelledRows,
    validation: LabelledRows,
) -> None:
    how = (job.config.ensemble, job.config.seed)
    ticker = Ticker(job.sender, members=[slot.member for slot in slots])
    fitted = fit_stacked(slots, *how, member_spec, train, validation, partial(_report, job), ticker)
    for slot, (model, figures) in zip(slots, fitted, strict=True):
        _publish(job, slot.member, artifacts[slot.member], model, figures)


def _checkpoints(job: MemberJob, artifact: Artifact, ranks: DistributedContext) -> Checkpoints:
    def say(text: str) -> None:
        job.sender.send({"event": "checkpoint_removed", "text": text})

    return Checkpoints(artifact.attempt, artifact.fingerprint, say, is_writer=ranks.is_first)


def _rows_of(job: MemberJob, number: int, row_id: Ints) -> torch.Tensor:
    """Positions of the rows that a member trains on: all, or all but those of its fold."""
    folds = job.config.ensemble.folds
    if folds is None:
        return torch.arange(len(row_id))
    return torch.from_numpy(np.flatnonzero(~left_out(row_id, np.array([number]), folds, job.config.seed)[:, 0]))


def _report(job: MemberJob, figures: dict[str, Any]) -> None:
    job.sender.send({"event": "epoch", **figures})


def _publish(job: MemberJob, number: int, artifact: Artifact, model: Member, figures: dict[str, float]) -> None:
    facts = {"member": number, "seed": job.config.seed, "figures": figures}
    num_bytes = publish_model(artifact, model, model.spec, facts)
    job.sender.send({"event": "member", "member": number, **figures, "bytes": num_bytes}, wait=True)
