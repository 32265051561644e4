"""All members in one pass: stacked as one network whose weights are [M, ...], or one after the other.

`StackedMembers` is the one place where weights are stacked and run by `vmap`; a stack of members is trained as it is
here (`training/stacked.py`), and an `Ensemble` predicts with it.

Shapes: N rows, B batch, M members, C outputs.
"""

import copy
from collections.abc import Sequence
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hydra_ray.models.input_check import check_inputs
from hydra_ray.models.members import Member
from hydra_ray.models.outputs import OutputKind, combined
from hydra_ray.models.precision import at_full_precision


class Ensemble(nn.Module):
    """All members on the same rows: stored inputs -> logits_BMC, without gradients, always in evaluation mode.

    Members of one spec can be stacked; where there are several specs, those of each. Others run one after the other.
    All agree with separate forwards to 1e-5.
    Inputs are normalised once where all members normalise alike.

    Args:
        members: put into evaluation mode. Stacking copies their weights, else they are kept.
        stacked: None takes what was measured to be faster (`faster_stacked`).
    """

    def __init__(self, members: Sequence[Member], *, stacked: bool | None = None) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            member.eval()
        self.num_members = len(members)
        self.input_shape = members[0].spec.input_shape
        groups = _alike(members)
        if stacked and len(groups) > 1:
            raise ValueError("only members of one spec and one normalisation can be stacked")
        self.is_stacked = len(groups) == 1 and (faster_stacked(members[0]) if stacked is None else stacked)
        if self.is_stacked:
            self.members = StackedMembers(members)
        elif stacked is None and any(_is_worth_stacking([members[place] for place in group]) for group in groups):
            self.members = InGroups(members, groups)
        else:
            self.members = OneByOne(members)
        self.train()

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> logits_BMC; other rows are refused (`check_inputs`)."""
        check_inputs(inputs, self.input_shape, "ensemble")
        return self.members.on_same(inputs)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: an ensemble predicts, it is never trained."""
        return super().train(False)


class OneByOne(nn.Module):
    """Members one after the other."""

    def __init__(self, members: Sequence[Member]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.normalise = members[0].normalise if _normalise_alike(members) else None

    def on_same(self, inputs: Tensor) -> Tensor:
        """All members on the same rows: stored inputs [B, ...] -> logits_BMC."""
        if self.normalise is None:
            return torch.stack([member(inputs) for member in self.members], dim=1)
        normalised = self.normalise(inputs)
        members = (cast("Member", member) for member in self.members)
        return torch.stack([member.after_normalise(normalised) for member in members], dim=1)


class InGroups(nn.Module):
    """Members of several sorts: those of each stacked where that is faster, the sorts one after the other."""

    order: Tensor

    def __init__(self, members: Sequence[Member], groups: Sequence[Sequence[int]]) -> None:
        """`groups` are the places of members that are alike."""
        super().__init__()
        alike = [[members[place] for place in group] for group in groups]
        self.groups = nn.ModuleList(
            StackedMembers(each) if _is_worth_stacking(each) else OneByOne(each) for each in alike
        )
        places = torch.tensor([place for group in groups for place in group], device=members[0].normalise.mean.device)
        self.register_buffer("order", places.argsort())

    def on_same(self, inputs: Tensor) -> Tensor:
        """All members on the same rows: stored inputs [B, ...] -> logits_BMC."""
        groups = (cast("StackedMembers | OneByOne", group) for group in self.groups)
        return torch.cat([group.on_same(inputs) for group in groups], dim=1)[:, self.order]


class StackedMembers(nn.Module):
    """M members of one architecture as one network: weights are [M, ...], under the names they have in one `Member`.

    What the outputs mean is stacked too, as the one variance of a member that has a mean alone is its own.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        """Copies the weights; normalisation must be the same in all."""
        super().__init__()
        self.normalise = copy.deepcopy(members[0].normalise)
        self.network: nn.Module = _stacked([member.network for member in members])
        self.output = _stacked([member.output for member in members])
        self.kind_of_output: OutputKind = members[0].spec.output

    def forward(self, inputs_MB: Tensor) -> Tensor:
        """Each member on its own stored rows: [M, B, ...] -> outputs_MBC, or [M, B, k, C] while k submodels learn."""
        normalised_MB = self.normalise(inputs_MB.flatten(0, 1)).unflatten(0, inputs_MB.shape[:2])
        return self._run(normalised_MB, rows_dim=0)

    def on_same(self, inputs_B: Tensor) -> Tensor:
        """All members on the same rows: stored inputs [B, ...] -> outputs_BMC."""
        return self._run(self.normalise(inputs_B), rows_dim=None).transpose(0, 1)

    def _run(self, normalised: Tensor, rows_dim: int | None) -> Tensor:
        """outputs_MBC of normalised rows; `rows_dim` is the dimension of members in them, if any."""

        def one_member(network: dict[str, Tensor], output: dict[str, Tensor], rows: Tensor) -> Tensor:
            raw_BK = functional_call(self.network, network, (rows,))
            outputs = at_full_precision(lambda raw: functional_call(self.output, output, (raw,)), raw_BK)
            return combined(self.kind_of_output, outputs, self.training)

        in_dims = (0, 0, rows_dim)
        return vmap(one_member, in_dims)(_tensors(self.network), _tensors(self.output), normalised)


def faster_stacked(member: Member) -> bool:
    """Whether members like this one run faster stacked than one by one: `mlp` on CUDA, nothing on a CPU.

    Milliseconds for all members, one by one / stacked, median, one thread of a shared 2-core CPU, torch 2.15:

        architecture              M   batch 512      batch 1
        mlp 784-200-200-10       20     46 / 59    2.1 / 1.8
        mlp 64-64-10              8    0.9 / 1.0
        cnn, 8 x 8 x 1            8     25 / 83    1.3 / 1.2
        cnn, 28 x 28 x 1          5   202 / 1143
        cnn, 32 x 32 x 3          5   428 / 1542
        resnet20, 32 x 32 x 3     5  4271 / 9143    12 / 11

    Stacked convolutions become grouped ones, which the CPU runs badly. The rule for CUDA is not measured: it
    expects the launches of small kernels to dominate an mlp, and grouped convolutions to be no gain.
    """
    return member.spec.architecture == "mlp" and member.normalise.mean.is_cuda


def _is_worth_stacking(alike: Sequence[Member]) -> bool:
    return len(alike) > 1 and faster_stacked(alike[0])


def _alike(members: Sequence[Member]) -> list[list[int]]:
    """The places of members of one spec and one normalisation, by the first of each."""
    groups: list[list[int]] = []
    for place, member in enumerate(members):
        group = next((each for each in groups if _equal(members[each[0]], member)), None)
        if group is None:
            groups.append([place])
        else:
            group.append(place)
    return groups


def _equal(one: Member, other: Member) -> bool:
    return one.spec == other.spec and _normalise_alike([one, other])


def _normalise_alike(members: Sequence[Member]) -> bool:
    first = members[0].normalise
    return all(
        torch.equal(first.mean, member.normalise.mean) and torch.equal(first.std, member.normalise.std)
        for member in members[1:]
    )


def _stacked(modules: Sequence[nn.Module]) -> nn.Module:
    """A copy of the first module whose parameters and buffers are those of all, [M, ...]."""
    stack = copy.deepcopy(modules[0])
    weights, buffers = stack_module_state(list(modules))
    stored = modules[0].state_dict()
    for name, value in weights.items():
        owner, attribute = _owner(stack, name)
        owner.register_parameter(attribute, nn.Parameter(value.detach()))
    for name, value in buffers.items():
        owner, attribute = _owner(stack, name)
        owner.register_buffer(attribute, value, persistent=name in stored)
    for module in stack.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.register_forward_pre_hook(_as_float32)
    return stack


def _as_float32(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """What a stacked BatchNorm gets: under `vmap`, CUDA refuses bfloat16 rows beside float32 running statistics."""
    return (inputs[0].to(torch.promote_types(inputs[0].dtype, torch.float32)),)


def _owner(module: nn.Module, name: str) -> tuple[nn.Module, str]:
    """The submodule that holds the tensor `name`, and what it is called there."""
    path, _, attribute = name.rpartition(".")
    return module.get_submodule(path), attribute


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}
