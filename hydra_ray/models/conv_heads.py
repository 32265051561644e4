"""M heads with convolutions of their own before pooling, computed together.

A head on pooled features can only draw lines through what all heads share; a head that reads maps has features of its
own. The paper's students for CIFAR have heads of this kind (Tran et al. 2020, section 4).

Shapes: B batch, M heads, W channels of a head, F channels of the body's maps, H x W' pixels, C outputs.
    maps [B, F, H, W'] -> logits_BMC
"""

from __future__ import annotations

import math
from typing import Self, TypeVar

import torch
from torch import Tensor, nn

from hydra_ray.randomness import THROWN_AWAY, seeded


class ConvHeads(nn.Module):
    """M heads: `head_depth` times (1 x 1 convolution to `head_width` channels, norm, ReLU), mean over pixels, linear.

    The first convolutions of all heads are one of [F -> M * W], later ones one of M groups. Normalisation is by batch,
    or, with `by_batch=False`, by row within a head. Weights come from torch's global generator.

    Raises:
        ValueError: a count below 1.
    """

    def __init__(
        self, num_heads: int, num_features: int, head_width: int, head_depth: int, num_outputs: int, *, by_batch: bool
    ) -> None:
        super().__init__()
        if min(num_heads, num_features, head_width, head_depth, num_outputs) < 1:
            raise ValueError(
                f"{num_heads} heads of {head_depth} convolutions of {head_width} channels, from {num_features} "
                f"to {num_outputs} outputs: counts are at least 1"
            )
        self.num_heads = num_heads
        self.num_features = num_features
        self.head_width = head_width
        self.head_depth = head_depth
        self.num_outputs = num_outputs
        self.by_batch = by_batch
        channels = num_heads * head_width
        self.convolutions = nn.Sequential()
        for layer in range(head_depth):
            width_in, groups = (channels, num_heads) if layer else (num_features, 1)
            convolution = nn.Conv2d(width_in, channels, 1, groups=groups, bias=False)
            norm = nn.BatchNorm2d(channels) if by_batch else nn.GroupNorm(num_heads, channels)
            self.convolutions.extend([convolution, norm, nn.ReLU()])
        bound = 1 / math.sqrt(head_width)
        self.weight = nn.Parameter(torch.empty(num_heads, num_outputs, head_width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(num_heads, num_outputs).uniform_(-bound, bound))

    def forward(self, maps: Tensor) -> Tensor:
        """maps [B, F, H, W'] -> logits_BMC."""
        pooled_BMW = self.convolutions(maps).mean((2, 3)).unflatten(1, (self.num_heads, self.head_width))
        return torch.einsum("bmw,mcw->bmc", pooled_BMW, self.weight) + self.bias

    def expand(self, num_heads: int, noise: float, seed: int) -> Self:
        """`num_heads` copies of this one head, each moved a little; see `BatchedHeads.expand`.

        Raises:
            ValueError: there is more than one head here.
        """
        if self.num_heads != 1:
            raise ValueError(f"expand copies one head, but there are {self.num_heads}")
        sizes = (num_heads, self.num_features, self.head_width, self.head_depth, self.num_outputs)
        with seeded(THROWN_AWAY):
            heads = type(self)(*sizes, by_batch=self.by_batch).to(self.weight)
        return moved_copies(self, heads, num_heads, noise, seed)


HeadsT = TypeVar("HeadsT", bound=nn.Module)


@torch.no_grad()
def moved_copies(one: nn.Module, many: HeadsT, num_heads: int, noise: float, seed: int) -> HeadsT:
    """Give each of many heads the weights of one, moved by its own noise; see `BatchedHeads.expand`.

    Args:
        one: heads, of which there is one.
        many: the same with `num_heads`; their tensors are filled.
        num_heads: number of copies.
        noise: its deviation, as a share of that of the tensor it moves.
        seed: of the noise, which follows from it on any device.
    """
    with seeded(seed):
        for new, old in zip(many.parameters(), one.parameters(), strict=True):
            step = torch.randn(new.shape, dtype=old.dtype).to(old.device)
            new.copy_(_copies(old, num_heads, new) + noise * old.std(correction=0) * step)
    for new, old in zip(many.buffers(), one.buffers(), strict=True):
        new.copy_(_copies(old, num_heads, new))
    return many


def _copies(old: Tensor, number: int, new: Tensor) -> Tensor:
    """One head's tensor, so many times over, in the shape that all heads' has; what has no heads as it is."""
    if old.ndim == 0:
        return old
    return old.expand(number, *old.shape).reshape(new.shape)


def normalises_by_batch(body: nn.Module) -> bool:
    """Whether a body has batch normalisation, so that its heads have it too."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in body.modules())
