"""Which members are trained as one network, and how many: by what can be stacked, and by measurement.

`stacked.py` trains a stack. Here members with equally many rows and steps done are grouped, and a few steps on this
device show how many members in one stack are fastest.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from hydra_ray.config import EnsembleConfig
from hydra_ray.errors import UserError, reason_of
from hydra_ray.models import Member, StackedMembers
from hydra_ray.randomness import THROWN_AWAY, seed_of
from hydra_ray.tasks import Task
from hydra_ray.training.loop import TrainState
from hydra_ray.training.member import LabelledRows, MemberSpec, l2_weight_of, loss_of, member_step
from hydra_ray.training.stacked import StackSlot, stack_step

_WARM_UP = 2
_STEPS = 5
_LONGEST_SECONDS = 5.0  # of one number's steps; larger stacks of networks that slow have nothing to gain
_GAIN = 0.95  # time a member of a larger stack must take at most, as a share of the best so far


def stacks(slots: Sequence[StackSlot], size: int) -> Iterator[list[StackSlot]]:
    """Groups of at most `size` members; those of a group have as many rows and have done as many steps."""

    def key(slot: StackSlot) -> tuple[int, int]:
        return slot.num_done(), len(slot.rows)

    for _, alike in itertools.groupby(sorted(slots, key=key, reverse=True), key):
        group = list(alike)
        yield from (group[start : start + size] for start in range(0, len(group), size))


def stack_size(settings: EnsembleConfig, most: int, member_spec: MemberSpec, train: LabelledRows) -> int:
    """How many members to train as one network; 1 means one after the other.

    Args:
        settings: `stack_size` is a number, or `auto` to measure it.
        most: members still to be trained.
        member_spec: what they are built from.
        train: rows to learn from; `auto` takes a few steps on the first of them, with networks that are thrown away.

    Raises:
        UserError: a number above 1 is asked for, and such networks cannot be stacked.
    """
    wanted = settings.stack_size
    if wanted == 1 or most == 1:
        return 1
    obstacle = _obstacle(member_spec.build(THROWN_AWAY), train)
    if wanted != "auto" and obstacle is not None:
        raise UserError(
            f"ensemble.stack_size={wanted}: {member_spec.spec.architecture} cannot be stacked ({obstacle}); "
            "use ensemble.stack_size=1"
        )
    if wanted != "auto":
        return min(wanted, most)
    return 1 if obstacle is not None else _fastest(settings, most, member_spec, train)


def _obstacle(member: Member, train: LabelledRows) -> str | None:
    """Why networks like this one cannot be stacked, or would learn something else in a stack; None where they can."""
    network = member.network
    if len(list(network.parameters())) != len(list(network.named_parameters(remove_duplicate=False))):
        return "it uses a parameter twice"
    if any(not parameter.requires_grad for parameter in network.parameters()):
        return "some of its parameters are frozen"
    rows = train.inputs[:2].cpu()
    before = torch.get_rng_state()
    member.train()(rows)
    if not torch.equal(before, torch.get_rng_state()):
        return "it draws random numbers while it learns, such as dropout"
    try:
        StackedMembers([member, member]).train()(rows.expand(2, *rows.shape))
    except (RuntimeError, ValueError) as error:
        return reason_of(error, 120)
    return None


def _fastest(settings: EnsembleConfig, most: int, member_spec: MemberSpec, train: LabelledRows) -> int:
    """The stack size, doubled from 1 on, with the least time a member and step that fits into memory."""
    best = 1
    least = float("inf")
    size = 1
    while size <= most:
        try:
            seeds = [seed_of(0, "thrown away", number) for number in range(size)]
            members = [member_spec.build(seed).to(train.inputs.device) for seed in seeds]
            seconds = min(step_times(members, settings, train, member_spec.task))
        except torch.OutOfMemoryError:
            break
        if seconds / size > least * _GAIN:
            break
        best = size
        least = seconds / size
        if 2 * seconds * (_WARM_UP + _STEPS) > _LONGEST_SECONDS:
            break
        size = min(2 * size, most) if size < most else most + 1
    return best


def step_times(members: Sequence[Member], settings: EnsembleConfig, train: LabelledRows, task: Task) -> list[float]:
    """Seconds of five training steps of these members, a stack or one alone, which learn from the first rows."""
    model: nn.Module = members[0] if len(members) == 1 else StackedMembers(members)
    device = train.inputs.device
    state = TrainState(model.train(), settings, num_steps=_WARM_UP + _STEPS, seed=THROWN_AWAY)
    rows = torch.arange(min(settings.batch_size, len(train)), device=device).expand(len(members), -1).squeeze(0)
    member_loss = loss_of(settings, task, members[0])
    l2_weight = l2_weight_of(settings)

    def step() -> float:
        begin = time.perf_counter()
        if len(members) == 1:
            member_step(state, member_loss, train.inputs[rows], train.labels[rows], l2_weight)
        else:
            stack_step(state, member_loss, train.inputs[rows], train.labels[rows], l2_weight)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - begin

    return [step() for _ in range(_WARM_UP + _STEPS)][_WARM_UP:]
