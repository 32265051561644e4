"""M light heads on the same features, computed together.

It is: M independent small networks (linear layers and ReLU) as a handful of batched matrix products, never a
Python loop over heads; copies of one head for the student's second phase.
It is not: the body that makes the features, nor a loss.

Shapes: B batch, F features, M heads, W units of a hidden layer, C outputs.
    features_BF -> logits_BMC
    Layer weights are [M, out, in] and biases [M, out]: slice m is what a `nn.Linear` of head m would hold.
"""

import math
from itertools import pairwise
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_ray.randomness import THROWN_AWAY, seeded


class BatchedHeads(nn.Module):
    """M independent heads of `head_depth` hidden layers (linear, ReLU) and a linear one: [B, F] -> [B, M, C].

    All heads read the same features, so their first layers are one plain product [B, F] x [F, M * out]; later
    layers are one batched product each. `head_depth=0` is one linear map a head, `head_width` or not.
    Weights start as those of `nn.Linear` do, from torch's global generator.

    Raises:
        ValueError: a count below 1 (`head_depth`: below 0).
    """

    def __init__(self, num_heads: int, num_features: int, head_width: int, head_depth: int, num_outputs: int) -> None:
        super().__init__()
        if min(num_heads, num_features, num_outputs) < 1 or head_depth < 0 or (head_depth and head_width < 1):
            raise ValueError(
                f"{num_heads} heads of {head_depth} hidden layers of {head_width} units, from {num_features} "
                f"features to {num_outputs} outputs: counts are at least 1, head_depth at least 0"
            )
        self.num_heads = num_heads
        self.num_features = num_features
        self.num_outputs = num_outputs
        self.head_width = head_width
        self.head_depth = head_depth
        widths = [num_features, *[head_width] * head_depth, num_outputs]
        layers = list(pairwise(widths))
        self.weights = nn.ParameterList(torch.empty(num_heads, out, width) for width, out in layers)
        self.biases = nn.ParameterList(torch.empty(num_heads, out) for _, out in layers)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Fresh weights: uniform within 1 / sqrt(inputs of the layer), as `nn.Linear` draws them."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[2])
            nn.init.uniform_(weight, -bound, bound)
            nn.init.uniform_(bias, -bound, bound)

    def forward(self, features_BF: Tensor) -> Tensor:
        """features_BF -> logits_BMC."""
        weights = self.weights
        biases = self.biases
        first = F.linear(features_BF, weights[0].flatten(0, 1), biases[0].flatten())
        values_MBW = first.unflatten(1, (len(weights[0]), -1)).transpose(0, 1)
        for layer in range(1, len(weights)):
            weight_MWV = weights[layer].transpose(1, 2)
            bias_MV = biases[layer]
            values_MBW = torch.baddbmm(bias_MV.unsqueeze(1), F.relu(values_MBW), weight_MWV)
        return values_MBW.transpose(0, 1)

    def expand(self, num_heads: int, noise: float, seed: int) -> Self:
        """`num_heads` copies of this one head, each moved a little: phase 2 of Tran et al. 2020.

        Equal heads get equal gradients from equal targets, so each copy adds its own normal noise of `noise`
        times the standard deviation of the weight tensor it moves. The noise follows from `seed` alone, on
        any device.

        Raises:
            ValueError: there is more than one head here.
        """
        if self.num_heads != 1:
            raise ValueError(f"expand copies one head, but there are {self.num_heads}")
        heads = self._like(num_heads)
        with torch.no_grad(), seeded(seed):
            for new, old in zip(heads.parameters(), self.parameters(), strict=True):
                step = torch.randn(new.shape, dtype=old.dtype).to(old.device)
                new.copy_(old + noise * old.std(correction=0) * step)
        return heads

    def _like(self, num_heads: int) -> Self:
        """Another number of such heads on the same device, drawn without touching the global generator."""
        sizes = (num_heads, self.num_features, self.head_width, self.head_depth, self.num_outputs)
        with seeded(THROWN_AWAY):
            heads = type(self)(*sizes)
        return heads.to(self.weights[0])
