"""Members: what describes a model, what turns stored inputs into normalised ones, and many members at once.

It is: `ModelSpec`, which rebuilds a module exactly; `Normalise` and `Member`, which take inputs as they are
stored; `Ensemble`, which asks all members in one pass.
It is not: architectures (`networks.py`), what their outputs mean (`outputs.py`), the student (`hydra.py`), files
(`files.py`) or training.

Shapes: N rows, B batch, M members, C outputs, D features, H x W pixels, ch channels.
    stored inputs: uint8 [B, H, W, ch] or float32 [B, D] -> logits_BC (a member), logits_BMC (an ensemble)
    In a regression the C = 2 outputs are mean and log variance in target units.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from hydra_ray.models.input_check import check_inputs
from hydra_ray.models.networks import Network, build_network
from hydra_ray.models.outputs import OutputKind, build_output
from hydra_ray.models.precision import at_full_precision
from hydra_ray.randomness import seeded

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a module again, weights aside; `to_json` and `from_json` round-trip.

    `architecture`, `input_shape`, `num_outputs` and `options` are those of `networks.build_network`; `output` says
    what its outputs mean. A student has `num_heads` heads of `head_depth` hidden layers of `head_width` units; for a
    member these three are 0.
    """

    kind: Literal["member", "student"]
    architecture: str
    input_shape: tuple[int, ...]
    num_outputs: int
    options: Mapping[str, Any] = field(default_factory=dict)
    num_heads: int = 0
    head_width: int = 0
    head_depth: int = 0
    output: OutputKind = "logits"

    def __post_init__(self) -> None:
        """Lists for tuples and dicts for mappings, so that a spec equals what JSON makes of it."""
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "options", _plain(self.options))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "input_shape": list(self.input_shape)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The spec that `to_json` was called on.

        Raises:
            TypeError: an unknown field, or one missing.
        """
        return cls(**values)


class Normalise(nn.Module):
    """(inputs - mean) / std; a standard deviation of 0 counts as 1. `mean` and `std` are buffers.

    uint8 [B, H, W, ch] with one mean and std a channel, in units of the stored pixels (0 to 255)
        -> float [B, ch, H, W]
    float32 [B, D] with one a feature -> float [B, D]
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.detach().clone())
        self.register_buffer("std", torch.where(std > 0, std, torch.ones_like(std)))

    @classmethod
    def identity(cls, input_shape: tuple[int, ...]) -> Self:
        """Mean 0, standard deviation 1: to be loaded into, or for inputs that are normalised already."""
        return cls(torch.zeros(input_shape[-1]), torch.ones(input_shape[-1]))

    @classmethod
    def fit(cls, inputs: NDArray[Any]) -> Self:
        """From the training rows, [N, H, W, ch] or [N, D]; two passes in float64, a few thousand at a time.

        Raises:
            ValueError: there is no row.
        """
        if len(inputs) == 0:
            raise ValueError("Normalise.fit needs at least one row")
        count = inputs[..., 0].size
        mean = sum(rows.sum(0) for rows in _rows(inputs)) / count
        variance = sum(np.square(rows - mean).sum(0) for rows in _rows(inputs)) / count
        as_float32 = [torch.tensor(values, dtype=torch.float32) for values in (mean, np.sqrt(variance))]
        return cls(*as_float32)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        # Left a permuted view, which is channels-last: resnet20 on the CPU is a fifth faster for it.
        normalised = (inputs.to(self.mean.dtype) - self.mean) / self.std
        return normalised.permute(0, 3, 1, 2) if inputs.ndim == 4 else normalised


class Member(nn.Module):
    """One network of the ensemble: stored inputs -> logits_BC."""

    def __init__(self, spec: ModelSpec, normalise: Normalise, network: Network, output: nn.Module) -> None:
        super().__init__()
        self.spec = spec
        self.normalise = normalise
        self.network = network
        self.output = output

    def forward(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> logits_BC; other rows are refused (`check_inputs`)."""
        check_inputs(inputs, self.spec.input_shape, "member")
        return at_full_precision(self.output, self.network(self.normalise(inputs)))

    def after_normalise(self) -> nn.Module:
        """The member without its normalisation: normalised inputs -> logits_BC."""
        return nn.Sequential(self.network, self.output)


def build_member(
    spec: ModelSpec, seed: int, normalise: Normalise | None = None, output: nn.Module | None = None
) -> Member:
    """A member with fresh weights that follow from `seed` and from nothing else.

    `normalise` and `output` are copied; without them inputs, and the targets of a regression, are taken as they are
    (or the file to be loaded brings them).

    Raises:
        UserError: see `networks.build_network`.
    """
    with seeded(seed):
        network = build_network(spec.architecture, spec.input_shape, spec.num_outputs, spec.options)
    chosen = copy.deepcopy(normalise) or Normalise.identity(spec.input_shape)
    return Member(spec, chosen, network, copy.deepcopy(output) or build_output(spec.output))


class Ensemble(nn.Module):
    """All members in one pass: stored inputs -> logits_BMC, without gradients, always in evaluation mode.

    Members of one spec can be stacked: every weight becomes [M, ...] and one `vmap` runs them all. Others run
    one after the other. Both agree with separate forwards to 1e-5. Inputs are normalised once where all
    members normalise alike.

    Args:
        members: put into evaluation mode. Stacking copies their weights, else they are kept.
        stacked: None takes what was measured to be faster (`faster_stacked`).
        chunk_size: members run at once when stacked, to bound the memory of activations; None is all.
    """

    def __init__(
        self, members: Sequence[Member], *, stacked: bool | None = None, chunk_size: int | None = None
    ) -> None:
        super().__init__()
        if not members:
            raise ValueError("an ensemble needs at least one member")
        for member in members:
            member.eval()
        self.num_members, self.input_shape = len(members), members[0].spec.input_shape
        self.normalise = members[0].normalise if _normalise_alike(members) else None
        stackable = self.normalise is not None and all(member.spec == members[0].spec for member in members)
        if stacked and not stackable:
            raise ValueError("only members of one spec and one normalisation can be stacked")
        if stackable and (faster_stacked(members[0]) if stacked is None else stacked):
            self.members: nn.Module = StackedNetworks([member.after_normalise() for member in members], chunk_size)
        else:
            self.members = OneByOne(members if self.normalise is None else [m.after_normalise() for m in members])
        self.eval()

    @property
    def is_stacked(self) -> bool:
        """Whether the members run as one."""
        return isinstance(self.members, StackedNetworks)

    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> logits_BMC; other rows are refused (`check_inputs`)."""
        check_inputs(inputs, self.input_shape, "ensemble")
        return self.members(inputs if self.normalise is None else self.normalise(inputs))

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode: an ensemble is asked, never trained."""
        return super().train(False)


class OneByOne(nn.Module):
    """Modules one after the other on the same inputs: [B, ...] -> logits_BMC."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        return torch.stack([part(inputs) for part in self.parts], dim=1)


class StackedNetworks(nn.Module):
    """M networks of one architecture as one module whose weights are [M, ...]: [B, ...] -> logits_BMC."""

    def __init__(self, networks: Sequence[nn.Module], chunk_size: int | None) -> None:
        super().__init__()
        weights, buffers = stack_module_state(list(networks))
        self.names = [*weights, *buffers]
        self.weights = nn.ParameterList(nn.Parameter(value.detach(), False) for value in weights.values())
        for place, value in enumerate(buffers.values()):
            self.register_buffer(f"buffer_{place}", value)
        self.chunk_size = chunk_size
        # Memoryless, it only lends its forward; in a tuple, lest its parameters become this module's.
        self._skeleton = (copy.deepcopy(networks[0]).to("meta").eval(),)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        state = dict(zip(self.names, [*self.weights, *self.buffers()], strict=True))

        def one(state: dict[str, Tensor]) -> Tensor:
            return functional_call(self._skeleton[0], state, (inputs,))

        return vmap(one, out_dims=1, chunk_size=self.chunk_size)(state)


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


def _normalise_alike(members: Sequence[Member]) -> bool:
    first = members[0].normalise
    return all(
        torch.equal(first.mean, member.normalise.mean) and torch.equal(first.std, member.normalise.std)
        for member in members[1:]
    )


def _rows(inputs: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Some thousand rows at a time as float64 [rows x pixels, channels]."""
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        yield inputs[start : start + ROWS_AT_ONCE].astype(np.float64).reshape(-1, inputs.shape[-1])


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dict and list, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
