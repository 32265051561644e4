"""One member: what describes it, what normalises its inputs, and the network itself.

It is: `ModelSpec`, which rebuilds a module exactly; `Normalise` and `Member`, which take inputs as they are stored.
It is not: all members together (`ensemble.py`), architectures (`networks.py`), what their outputs mean
(`outputs.py`), the student (`student.py`), files (`files.py`) or training.

Shapes: N rows, B batch, C outputs, D features, H x W pixels, ch channels.
    stored inputs: uint8 [B, H, W, ch] or float32 [B, D] -> logits_BC
    In a regression the C = 2 outputs are mean and log variance in target units.
"""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hydra_ray.config import HeadKind
from hydra_ray.models.input_check import check_inputs
from hydra_ray.models.networks import build_network
from hydra_ray.models.outputs import OutputKind, build_output, combined
from hydra_ray.models.precision import at_full_precision
from hydra_ray.models.registry import Network
from hydra_ray.randomness import seeded

ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ModelSpec:
    """All that is needed to build a module again, weights aside; `to_json` and `from_json` round-trip.

    `architecture`, `input_shape`, `num_outputs`, `options` and `categories` are those of `networks.build_network`;
    `output` says what its outputs mean. A student has `num_heads` heads of the kind `head`, each of `head_depth` hidden
    layers of `head_width` units, or of the network's last `cut` blocks; for a member these numbers are 0.
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
    categories: tuple[int, ...] = ()
    head: HeadKind = "mlp"
    cut: int = 0

    def __post_init__(self) -> None:
        """Lists for tuples and dicts for mappings, so that a spec equals what JSON makes of it."""
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "options", _plain(self.options))
        object.__setattr__(self, "categories", tuple(self.categories))

    def build_network(self) -> Network:
        """A network with fresh weights; a UserError as from `networks.build_network`."""
        return build_network(self.architecture, self.input_shape, self.num_outputs, self.options, self.categories)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `categories`, `head` and `cut` only where they say something, as in older files."""
        values = {**asdict(self), "input_shape": list(self.input_shape), "categories": list(self.categories)}
        unsaid = {"categories": [], "head": "mlp", "cut": 0}
        return {name: each for name, each in values.items() if name not in unsaid or each != unsaid[name]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The spec that `to_json` was called on.

        Raises:
            TypeError: an unknown field, or one missing.
        """
        return cls(**values)


class Normalise(nn.Module):
    """(inputs - mean) / std; a standard deviation of 0 counts as 1. `mean` and `std` are buffers.

    Codes of categories stay as they are: their mean is 0 and their standard deviation 1.

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
    def fit(cls, inputs: NDArray[Any], categories: tuple[int, ...] = ()) -> Self:
        """From the training rows, [N, H, W, ch] or [N, D]; two passes in float64, a few thousand at a time.

        Args:
            inputs: the rows.
            categories: of each feature how many codes it has, 0 for a number; () where none is a category.

        Raises:
            ValueError: there is no row.
        """
        if len(inputs) == 0:
            raise ValueError("Normalise.fit needs at least one row")
        count = inputs[..., 0].size
        mean = sum(rows.sum(0) for rows in _rows(inputs)) / count
        variance = sum(np.square(rows - mean).sum(0) for rows in _rows(inputs)) / count
        mean, std = (torch.tensor(values, dtype=torch.float32) for values in (mean, np.sqrt(variance)))
        if any(categories):
            is_category = torch.tensor(categories) > 0
            mean = mean.masked_fill(is_category, 0.0)
            std = std.masked_fill(is_category, 1.0)
        return cls(mean, std)

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
        self._has_fixed_body = False

    def fix_body(self) -> None:
        """Train the head alone from now on: the body has no gradients and always evaluates, BatchNorm included."""
        self._has_fixed_body = True
        self.network.body.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """As for every module, but for a body that is fixed."""
        super().train(mode)
        if self._has_fixed_body:
            self.network.body.eval()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """uint8 [B, H, W, ch] or float32 [B, D] -> logits_BC; other rows are refused (`check_inputs`)."""
        check_inputs(inputs, self.spec.input_shape, "member")
        return self.after_normalise(self.normalise(inputs))

    def after_normalise(self, normalised: Tensor) -> Tensor:
        """Normalised inputs -> logits_BC; of a network of k submodels, while it learns, those of each: [B, k, C]."""
        return combined(self.spec.output, at_full_precision(self.output, self.network(normalised)), self.training)


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
        network = spec.build_network()
    chosen = copy.deepcopy(normalise) or Normalise.identity(spec.input_shape)
    return Member(spec, chosen, network, copy.deepcopy(output) or build_output(spec.output))


def _rows(inputs: NDArray[Any]) -> Iterator[NDArray[np.float64]]:
    """Some thousand rows at a time as float64 [rows x pixels, channels]."""
    for start in range(0, len(inputs), ROWS_AT_ONCE):
        yield inputs[start : start + ROWS_AT_ONCE].astype(np.float64).reshape(-1, inputs.shape[-1])


def _plain(value: Any) -> Any:
    """Mappings and sequences of any kind as dict and list, for JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
