"""M heads each of which has the network's last blocks for itself, computed together: the paper's heads for CIFAR.

Tran et al. 2020, section 4: students share a residual network but for its last block. What is before the blocks is
the body; pooling and one linear map come after them.

Shapes: B batch, M heads, F channels of the body's maps, W channels of the last block's, C outputs.
    maps [B, F, H, W'] -> logits_BMC
"""

from __future__ import annotations

import copy
from typing import Self

import torch
from torch import Tensor, nn

from hydra_ray.models.conv_heads import moved_copies
from hydra_ray.models.grouped import GroupedLinear, grouped
from hydra_ray.randomness import THROWN_AWAY, seeded


class BlockHeads(nn.Module):
    """M heads: blocks of their own, mean over pixels, linear; every layer of all heads is one (`grouped.py`).

    A first layer that is a plain convolution reads the body's maps once for all heads; other blocks get a copy of the
    maps for each head. Exactly as M networks with these blocks would say, in training too.
    """

    def __init__(self, block: nn.Sequential, num_heads: int, num_features: int, num_outputs: int) -> None:
        """Weights of linear maps, and of the blocks of more than one head, come from torch's global generator.

        One head has the block's own weights. Of several each draws its own: every tensor from a normal distribution
        with the mean and deviation of the block's, so that what starts at one value, as norms do, stays there.

        Args:
            block: the last blocks of one network; copied.
            num_heads: M.
            num_features: W.
            num_outputs: C.

        Raises:
            UserError: the block has layers of which many cannot be one; see `grouped`.
            ValueError: a count below 1.
        """
        super().__init__()
        if min(num_heads, num_features, num_outputs) < 1:
            raise ValueError(
                f"{num_heads} heads from {num_features} channels to {num_outputs} outputs: counts are at least 1"
            )
        self.num_heads = num_heads
        self.num_features = num_features
        self.num_outputs = num_outputs
        self.blocks = grouped(block, num_heads)
        first = next(self.blocks.children())
        self.reads_maps_once = isinstance(first, nn.Conv2d) and first.groups == num_heads
        if isinstance(first, nn.Conv2d) and self.reads_maps_once:
            first.groups = 1
            first.in_channels //= num_heads
        self.linear = GroupedLinear(num_heads, num_features, num_outputs)
        if num_heads > 1:
            self._draw_apart(block)

    def forward(self, maps: Tensor) -> Tensor:
        """maps [B, F, H, W'] -> logits_BMC."""
        inputs = maps if self.reads_maps_once else maps.repeat(1, self.num_heads, 1, 1)
        pooled = self.blocks(inputs).mean((2, 3))
        return self.linear(pooled).unflatten(1, (self.num_heads, self.num_outputs))

    @torch.no_grad()
    def _draw_apart(self, block: nn.Sequential) -> None:
        for new, old in zip(self.blocks.parameters(), block.parameters(), strict=True):
            new.normal_(float(old.mean()), float(old.std(correction=0)))

    def expand(self, num_heads: int, noise: float, seed: int) -> Self:
        """`num_heads` copies of this one head, each moved a little; see `BatchedHeads.expand`.

        Raises:
            ValueError: there is more than one head here.
        """
        if self.num_heads != 1:
            raise ValueError(f"expand copies one head, but there are {self.num_heads}")
        block = copy.deepcopy(self.blocks).cpu()  # weights are drawn there
        with seeded(THROWN_AWAY):
            heads = type(self)(block, num_heads, self.num_features, self.num_outputs)
        heads = heads.to(self.linear.weight).train(self.training)
        return moved_copies(self, heads, num_heads, noise, seed)
