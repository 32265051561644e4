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
    """A body and a head: float images [B, ch, H, W] or vectors [B, D] -> logits_BC."""

    def __init__(self, body: nn.Module, head: nn.Module, num_features: int) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self.num_features = num_features

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits [B, C]; `body` alone gives the features [B, num_features]."""
        return at_full_precision(self.head, self.body(inputs))


Builder = Callable[[tuple[int, ...], int, OptionsT], Network]
"""(input shape of one stored row, number of outputs, options) -> network with fresh weights."""


@dataclass(frozen=True)
class Architecture(Generic[OptionsT]):
    """A builder and the model of its options."""

    options: type[OptionsT]
    build: Builder[OptionsT]


ARCHITECTURES: dict[str, Architecture] = {}
"""Our architectures by name; filled where they are written."""


def architecture(options: type[OptionsT]) -> Callable[[Builder[OptionsT]], Builder[OptionsT]]:
    """Register a builder under its own name, with the model of its options."""

    def registered(builder: Builder[OptionsT]) -> Builder[OptionsT]:
        ARCHITECTURES[builder.__name__] = Architecture(options, builder)
        return builder

    return registered
