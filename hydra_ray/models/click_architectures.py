"""Architectures for click-through rates: `xdeepfm` and `dexdeepfm`, each with the model of its options.

It is: networks in which every column of a table is a field with an embedding of its own, and interactions of fields are
feature maps. It is not: the loss that makes the maps diverse (`losses/own_objectives.py`).

Shapes: B batch, F fields, D numbers of an embedding, K layers of interactions, H or H_k feature maps of one, C outputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Self, cast

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from hydra_ray.config import Section
from hydra_ray.models.architectures import Count
from hydra_ray.models.embeddings import Columns
from hydra_ray.models.precision import at_full_precision
from hydra_ray.models.registry import Network, architecture

_FIRST_DEVIATION = 0.1
"""Of embeddings at the start, as in the code of xDeepFM's authors."""


class XDeepFmOptions(Section):
    """Sizes of the embeddings and of the two networks that read them."""

    embedding_dim: Count = 10
    """D."""
    cin: list[Count] = Field(default=[200, 200], min_length=1)
    """Feature maps of each layer of interactions."""
    hidden: list[Count] = Field(default=[300, 300], min_length=1)
    """Units of each hidden layer of the deep network."""


@architecture(XDeepFmOptions, takes_categories=True)
def xdeepfm(
    input_shape: tuple[int, ...], num_outputs: int, options: XDeepFmOptions, categories: tuple[int, ...] = ()
) -> Network:
    """xDeepFM of Lian et al. 2018 (arXiv 1803.05170, section 3): a line, explicit interactions and a deep network.

    The body's features are the numbers that its last linear map reads: the first-order term of each field, the feature
    maps of all layers of interactions, each summed over D, and the deep network's last layer. The head is that map, so
    that each head of a student weighs terms, maps and units for itself.
    """
    body = XDeepFmBody(Fields(input_shape, categories, options.embedding_dim), options)
    return Network(body, nn.Linear(body.num_features, num_outputs), body.num_features)


class DexDeepFmOptions(XDeepFmOptions):
    """Those of `xdeepfm`, and the size of the attention."""

    attention: Count = 200
    """Units of the attention over layers."""

    @model_validator(mode="after")
    def _has_layers_of_one_width(self) -> Self:
        if len(set(self.cin)) > 1:
            raise ValueError(f"cin={self.cin}: one attention reads all layers; give each as many feature maps")
        return self


@architecture(DexDeepFmOptions, takes_categories=True)
def dexdeepfm(
    input_shape: tuple[int, ...], num_outputs: int, options: DexDeepFmOptions, categories: tuple[int, ...] = ()
) -> Network:
    """DexDeepFM of Chen & Shi 2021 (arXiv 2104.01924): `xdeepfm` with attention over its layers of interactions.

    `ensemble.objective: dexdeepfm` makes the feature maps of a member diverse; without it the attention alone is new.
    """
    body = DexDeepFmBody(Fields(input_shape, categories, options.embedding_dim), options)
    return DiverseNetwork(body, nn.Linear(body.num_features, num_outputs), body.num_features)


class Fields(nn.Module):
    """Every column of a stored row as a field: float32 [B, columns] -> first-order terms [B, F], embeddings [B, F, D].

    A category has a vector of D + 1 numbers for each code, of which the last is its first-order term. A number has two
    such vectors, and is its value times one of them plus the other. Numbers come first, then categories.
    """

    first_codes_K: Tensor

    def __init__(self, input_shape: tuple[int, ...], categories: tuple[int, ...], embedding_dim: int) -> None:
        super().__init__()
        columns = Columns(categories or (0,) * math.prod(input_shape))
        self.columns = columns
        self.number = columns.num_numbers + len(columns.num_codes)
        self.slopes = _small(columns.num_numbers, embedding_dim + 1)
        self.offsets = _small(columns.num_numbers, embedding_dim + 1)
        self.vectors = _small(sum(columns.num_codes), embedding_dim + 1)
        """Of all categories, one below the other."""
        first_codes_K = columns.num_codes_K.cumsum(0) - columns.num_codes_K
        self.register_buffer("first_codes_K", first_codes_K, persistent=False)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        numbers_BN, codes_BK = self.columns(rows.flatten(1))
        of_numbers = numbers_BN.unsqueeze(-1) * self.slopes + self.offsets
        of_categories = F.embedding(codes_BK + self.first_codes_K, self.vectors)
        fields = torch.cat([of_numbers, of_categories], dim=1)
        return fields[..., -1], fields[..., :-1]


def _small(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.normal_(torch.empty(shape), std=_FIRST_DEVIATION))


class Interactions(nn.Module):
    """The compressed interaction network of xDeepFM (equation 6): fields [B, F, D] -> maps of each layer [B, D, H_k].

    Map h of layer k is ReLU(b_h + sum_ij W_hij X_{k-1}[i] * X_0[j]), products elementwise over D, X_0 the fields. A
    layer is one linear map of all products of a map and a field; these exist once, and D lies before the maps, so that
    nothing is moved in memory.
    """

    def __init__(self, num_fields: int, widths: Sequence[int]) -> None:
        super().__init__()
        pairs = pairwise([num_fields, *widths])
        self.layers = nn.ModuleList(nn.Linear(width * num_fields, width_out) for width, width_out in pairs)

    def forward(self, fields_BFD: Tensor) -> list[Tensor]:
        """See the class."""
        fields_BDF = fields_BFD.transpose(1, 2)
        maps_BDH = fields_BDF
        found = []
        for layer in self.layers:
            products = (maps_BDH.unsqueeze(-1) * fields_BDF.unsqueeze(-2)).flatten(2)
            maps_BDH = F.relu(layer(products))
            found.append(maps_BDH)
        return found


class XDeepFmBody(nn.Module):
    """Stored rows, normalised -> features, as `xdeepfm` has them."""

    def __init__(self, fields: Fields, options: XDeepFmOptions) -> None:
        super().__init__()
        self.fields = fields
        self.interactions = Interactions(fields.number, options.cin)
        self.deep = nn.Sequential(nn.Flatten())
        for width, width_out in pairwise([fields.number * options.embedding_dim, *options.hidden]):
            self.deep.extend([nn.Linear(width, width_out), nn.ReLU()])
        self.num_features = fields.number + sum(options.cin) + options.hidden[-1]

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        first_order_BF, fields_BFD = self.fields(rows)
        pooled = [maps_BDH.sum(1) for maps_BDH in self.interactions(fields_BFD)]
        return torch.cat([first_order_BF, *pooled, self.deep(fields_BFD)], dim=1)


class DexDeepFmBody(XDeepFmBody):
    """Stored rows, normalised -> features, as `dexdeepfm` has them: each layer's pooled maps times its weight."""

    def __init__(self, fields: Fields, options: DexDeepFmOptions) -> None:
        super().__init__(fields, options)
        self.attention = LayerAttention(options.cin[0], options.attention)

    def forward(self, rows: Tensor) -> Tensor:
        """See the class."""
        return self.with_diversity(rows)[0]

    def with_diversity(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Features, and how diverse the feature maps are, sum_k a_k d_k: [B]."""
        first_order_BF, fields_BFD = self.fields(rows)
        layers = self.interactions(fields_BFD)
        pooled_BKH = torch.stack([maps_BDH.sum(1) for maps_BDH in layers], dim=1)
        weights_BK = self.attention(pooled_BKH)
        diversity_BK = torch.stack([map_diversity(maps_BDH) for maps_BDH in layers], dim=1)
        weighted_BKH = weights_BK.unsqueeze(-1) * pooled_BKH
        features = torch.cat([first_order_BF, weighted_BKH.flatten(1), self.deep(fields_BFD)], dim=1)
        return features, (weights_BK * diversity_BK).sum(1)


class LayerAttention(nn.Module):
    """Weights of the layers of interactions, softmax over k of h . ReLU(W s_k + b): pooled maps [B, K, H] -> [B, K].

    The softmax is over layers, so that a row's weights add up to one. (In the code that the authors released it is
    over an axis of size 1, and every weight is 1.)
    """

    def __init__(self, num_maps: int, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_maps, width)
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, pooled_BKH: Tensor) -> Tensor:
        """See the class."""
        return self.score(F.relu(self.hidden(pooled_BKH))).squeeze(-1).softmax(1)


def map_diversity(maps_BDH: Tensor) -> Tensor:
    """d of a layer's feature maps, the mean over h of ||X[h] - mean_h X||, X of length 1 over (H, D) together: [B].

    At most 1 / sqrt(H), where maps have nothing in common; 0 where all are the same. In float32 at least.
    """
    maps_BDH = maps_BDH if maps_BDH.dtype == torch.float64 else maps_BDH.float()
    unit_BDH = F.normalize(maps_BDH.flatten(1), dim=1).view_as(maps_BDH)
    return torch.linalg.vector_norm(unit_BDH - unit_BDH.mean(2, keepdim=True), dim=1).mean(1)


class DiverseNetwork(Network):
    """A network whose body can say how diverse its parts are: logits [B, C]; while it learns and is asked, [B, C + 1].

    The last column is the diversity of each row, for `losses.diverse_loss`.
    """

    def __init__(self, body: DexDeepFmBody, head: nn.Module, num_features: int) -> None:
        super().__init__(body, head, num_features)
        self.tells_diversity = False

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        if not (self.training and self.tells_diversity):
            return super().forward(inputs)
        features, diversity_B = cast("DexDeepFmBody", self.body).with_diversity(inputs)
        logits = at_full_precision(self.head, features)
        return torch.cat([logits, diversity_B.unsqueeze(1)], dim=1)
