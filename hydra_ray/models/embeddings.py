"""Rows of a table as a network takes them: numbers as they are, categories as embeddings.

It is: the first layer of the architectures that read tables (`mlp`, `tabm`, `tabular_resnet`), and what tells numbers
from categories in a row.
It is not: how text becomes codes (`data/`), nor normalisation, which leaves codes alone (`members.py`).

Shapes: B batch, D features of a stored row, K of them categories.
`categories` has one whole number a feature: 0 for a number, else how many codes the category has. Code 0 is "missing",
code 1 "other".
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

OTHER = 1
"""The code of rare and unseen values."""
_LARGEST = 600


def embedding_size(num_codes: int) -> int:
    """Width of the embedding of a category: 1.6 n^0.56 for n codes, at most 600.

    The rule of fastai's tabular models (`emb_sz_rule` of `fastai.tabular.model`): 4 for 5 codes, 10 for 25, 21 for
    100, 77 for 1,000.
    """
    return min(_LARGEST, round(1.6 * num_codes**0.56))


def table_inputs(input_shape: tuple[int, ...], categories: tuple[int, ...]) -> tuple[nn.Module, int]:
    """The first layer and the width of what it gives; without categories it flattens, so that it takes images too."""
    if not any(categories):
        return nn.Flatten(), math.prod(input_shape)
    layer = TableInputs(categories)
    return layer, layer.width


class TableInputs(nn.Module):
    """Numbers first, then the embedding of each category: float32 [B, D] -> [B, width]."""

    def __init__(self, categories: tuple[int, ...]) -> None:
        super().__init__()
        self.columns = Columns(categories)
        sizes = [(num_codes, embedding_size(num_codes)) for num_codes in self.columns.num_codes]
        self.tables = nn.ModuleList(nn.Embedding(num_codes, size) for num_codes, size in sizes)
        self.width = self.columns.num_numbers + sum(size for _, size in sizes)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        numbers, codes_BK = self.columns(inputs)
        embedded = [table(codes_B) for table, codes_B in zip(self.tables, codes_BK.unbind(1), strict=True)]
        return torch.cat([numbers, *embedded], dim=1)


class Columns(nn.Module):
    """The numbers of a row and the codes of its categories: float32 [B, D] -> float32 [B, D - K], int64 [B, K].

    A code that a category does not have counts as "other".
    """

    numbers: Tensor
    places_K: Tensor
    num_codes_K: Tensor

    def __init__(self, categories: tuple[int, ...]) -> None:
        super().__init__()
        self.num_codes = [num_codes for num_codes in categories if num_codes]
        self.num_numbers = len(categories) - len(self.num_codes)
        self._keep("numbers", [place for place, num_codes in enumerate(categories) if not num_codes])
        self._keep("places_K", [place for place, num_codes in enumerate(categories) if num_codes])
        self._keep("num_codes_K", self.num_codes)

    def _keep(self, name: str, values: list[int]) -> None:
        """Follows the module to a device, and stands in no file: `categories` says it all."""
        self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        codes_BK = inputs.index_select(1, self.places_K).long()
        is_known_BK = (codes_BK >= 0) & (codes_BK < self.num_codes_K)
        return inputs.index_select(1, self.numbers), torch.where(is_known_BK, codes_BK, OTHER)
