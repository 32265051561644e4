"""Architectures for tables beside `mlp`: `tabm` and `tabular_resnet`, each with the model of its options.

It is: modules that say where their body ends and their head begins, as those in `architectures.py`.
It is not: how categories are embedded (`embeddings.py`), nor how the answers of submodels become one (`outputs.py`).

Shapes: B batch, D input features, k submodels, F units of a hidden layer, C outputs.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from hydra_ray.config import Section
from hydra_ray.models.architectures import Count
from hydra_ray.models.embeddings import table_inputs
from hydra_ray.models.registry import Network, architecture

Probability = Annotated[float, Field(ge=0, lt=1)]


class TabmOptions(Section):
    """Number of submodels, and the layers that they share."""

    num_submodels: Count = 32
    """k."""
    hidden: list[Count] = Field(default=[512, 512, 512], min_length=1)
    """Units of each hidden layer."""
    dropout: Probability = 0.1
    """Of hidden units while it learns; members are stacked (`ensemble.stack_size`) only where it is 0."""


@architecture(TabmOptions, takes_categories=True)
def tabm(
    input_shape: tuple[int, ...], num_outputs: int, options: TabmOptions, categories: tuple[int, ...] = ()
) -> Network:
    """TabM of Gorishniy et al. 2025 (arXiv 2410.24210, section 3.3): one MLP that is k submodels.

    Submodels share the weights of all hidden layers; each has its own elementwise scales and biases (`SharedLinear`)
    and its own linear head. They learn side by side: the loss is the mean of the k submodels' losses, never the loss of
    their mean; a member answers with the mean of their predictions (`outputs.mean_of_submodels`). In the paper
    categories are one-hot, here they are embedded. Defaults are those that its authors suggest.

    As a student's body it gives the features of all submodels side by side, k F of them, so that each head reads
    every submodel; a smaller k keeps the heads small.
    """
    first, width_in = table_inputs(input_shape, categories)
    num_submodels = options.num_submodels
    body = nn.Sequential(first, Submodels(num_submodels))
    for layer, (width, width_out) in enumerate(pairwise([width_in, *options.hidden])):
        body.extend([SharedLinear(num_submodels, width, width_out, tells_apart=layer == 0), nn.ReLU()])
        if options.dropout:
            body.append(nn.Dropout(options.dropout))
    body.append(nn.Flatten())
    last = options.hidden[-1]
    return Network(body, SubmodelHeads(num_submodels, last, num_outputs), num_submodels * last)


class Submodels(nn.Module):
    """The same row for every submodel: [B, D] -> [B, k, D]."""

    def __init__(self, num_submodels: int) -> None:
        super().__init__()
        self.num_submodels = num_submodels

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        return rows.unsqueeze(1).expand(-1, self.num_submodels, -1)


class SharedLinear(nn.Module):
    """A linear layer that k submodels share but for scales and biases: [B, k, D] -> [B, k, F].

    l_i(x) = s_i * (W (r_i * x)) + b_i for submodel i, products of vectors elementwise (Wen et al. 2020, BatchEnsemble,
    arXiv 2002.06715, equation 5). As in TabM all scales start at 1 but those of the first layer's inputs: random signs,
    which tell the submodels apart. Biases start alike.
    """

    def __init__(self, num_submodels: int, width_in: int, width_out: int, *, tells_apart: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width_in)
        self.weight = nn.Parameter(torch.empty(width_out, width_in))
        self.scale_in = nn.Parameter(torch.ones(num_submodels, width_in))
        self.scale_out = nn.Parameter(torch.ones(num_submodels, width_out))
        self.bias = nn.Parameter(torch.empty(num_submodels, width_out))
        nn.init.uniform_(self.weight, -bound, bound)
        with torch.no_grad():
            self.bias.copy_(nn.init.uniform_(torch.empty(width_out), -bound, bound))  # the same in all
            if tells_apart:
                self.scale_in.bernoulli_(0.5).mul_(2).sub_(1)

    def forward(self, rows_BkD: Tensor) -> Tensor:
        """See the class."""
        return F.linear(rows_BkD * self.scale_in, self.weight) * self.scale_out + self.bias


class SubmodelHeads(nn.Module):
    """A linear head for each submodel on its own features: [B, k F] -> [B, k, C]; starts as `nn.Linear` does."""

    def __init__(self, num_submodels: int, width: int, num_outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(width)
        self.weight = nn.Parameter(torch.empty(num_submodels, width, num_outputs))
        self.bias = nn.Parameter(torch.empty(num_submodels, num_outputs))
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, features_BF: Tensor) -> Tensor:
        """See the class."""
        features_kBF = features_BF.unflatten(1, (len(self.weight), -1)).transpose(0, 1)
        return torch.baddbmm(self.bias.unsqueeze(1), features_kBF, self.weight).transpose(0, 1)


class TabularResNetOptions(Section):
    """Width, depth and dropout."""

    width: Count = 192
    """Units between blocks."""
    num_blocks: Count = 2
    expansion: Annotated[float, Field(gt=0)] = 2.0
    """Hidden units of a block, as a multiple of `width`."""
    hidden_dropout: Probability = 0.15
    """Of a block's hidden units; members are stacked (`ensemble.stack_size`) only where there is no dropout."""
    residual_dropout: Probability = 0.0
    """Of what a block adds."""


@architecture(TabularResNetOptions, takes_categories=True)
def tabular_resnet(
    input_shape: tuple[int, ...], num_outputs: int, options: TabularResNetOptions, categories: tuple[int, ...] = ()
) -> Network:
    """The residual network for tables of Gorishniy et al. 2021 (arXiv 2106.11959, section 3.2).

    ResNet(x) = Prediction(Block(... Block(Linear(x)))), Prediction(x) = Linear(ReLU(BatchNorm(x))); the last `Linear`
    is the head. Defaults are those of its authors' package.
    """
    first, width_in = table_inputs(input_shape, categories)
    width = options.width
    blocks = [ResidualBlock(options) for _ in range(options.num_blocks)]
    body = nn.Sequential(first, nn.Linear(width_in, width), *blocks, nn.BatchNorm1d(width), nn.ReLU())
    return Network(body, nn.Linear(width, num_outputs), width)


class ResidualBlock(nn.Module):
    """Block(x) = x + Dropout(Linear(Dropout(ReLU(Linear(BatchNorm(x)))))): [B, width] -> [B, width]."""

    def __init__(self, options: TabularResNetOptions) -> None:
        super().__init__()
        width = options.width
        hidden = max(1, round(options.expansion * width))
        self.layers = nn.Sequential(nn.BatchNorm1d(width), nn.Linear(width, hidden), nn.ReLU())
        if options.hidden_dropout:
            self.layers.append(nn.Dropout(options.hidden_dropout))
        self.layers.append(nn.Linear(hidden, width))
        if options.residual_dropout:
            self.layers.append(nn.Dropout(options.residual_dropout))

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        return rows + self.layers(rows)
