"""What a network is, and which architectures of ours there are: a builder of each, and the model of its options.

An architecture is a function with `@architecture(...)` above it, beside the model of its options. What a recipe may
name besides is in `networks.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor, nn

from hydra_ray.config import Section
from hydra_ray.models.precision import at_full_precision

OptionsT = TypeVar("OptionsT", bound=Section)


class Network(nn.Module):
    """A body and a head: float images [B, ch, H, W] or vectors [B, D] -> logits_BC.

    A head may answer for k submodels, [B, k, C]: each learns for itself, a member answers with the mean of their
    predictions (`outputs.mean_of_submodels`).
    """

    def __init__(self, body: nn.Module, head: nn.Module, num_features: int) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.num_features = num_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C], of submodels [B, k, C]; `body` alone gives the features [B, num_features]."""
        return at_full_precision(self.head, self.body(inputs))


Builder = Callable[..., Network]
"""(input shape of one stored row, number of outputs, options) -> network with fresh weights; one that takes categories
has them as a fourth argument."""


@dataclass(frozen=True)
class Architecture(Generic[OptionsT]):
    """A builder and the model of its options."""

    options: type[OptionsT]
    build: Builder
    takes_categories: bool
    """Whether it embeds the features that are categories."""


ARCHITECTURES: dict[str, Architecture] = {}
"""Our architectures by name; filled where they are written."""


def architecture(options: type[Section], *, takes_categories: bool = False) -> Callable[[Builder], Builder]:
    """Register a builder under its own name, with the model of its options."""

    def registered(builder: Builder) -> Builder:
        ARCHITECTURES[builder.__name__] = Architecture(options, builder, takes_categories)
        return builder

    return registered
