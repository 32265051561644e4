"""Rows of a table as a network takes them: numbers as they are, categories as embeddings.

It is: the first layer of the architectures that read tables (`mlp`, `tabm`, `tabular_resnet`).
It is not: how text becomes codes (`data/`), nor normalisation, which leaves codes alone (`members.py`).

Shapes: B batch, D features of a stored row, E numbers of all embeddings of a row together.
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
    """Width of the embedding of a category: 1.6 K^0.56, at most 600.

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
    """Numbers first, then the embedding of each category: float32 [B, D] -> [B, width].

    A code that a category does not have counts as "other". All embeddings are one vector, category after category and
    code after code, so that they are looked up at once however many there are; they start as `nn.Embedding` does, from
    the standard normal distribution.
    """

    numbers: Tensor
    column_E: Tensor
    num_codes_E: Tensor
    size_E: Tensor
    first_E: Tensor

    def __init__(self, categories: tuple[int, ...]) -> None:
        super().__init__()
        places = [place for place, num_codes in enumerate(categories) if num_codes]
        num_codes = torch.tensor([categories[place] for place in places])
        sizes = torch.tensor([embedding_size(categories[place]) for place in places])
        self.weight = nn.Parameter(torch.empty(int((num_codes * sizes).sum())))
        nn.init.normal_(self.weight)
        begins = (num_codes * sizes).cumsum(0) - num_codes * sizes
        coordinates = torch.cat([torch.arange(size) for size in sizes.tolist()])
        self._keep("numbers", torch.tensor([place for place, count in enumerate(categories) if not count]).long())
        self._keep("column_E", torch.tensor(places).repeat_interleave(sizes))
        self._keep("num_codes_E", num_codes.repeat_interleave(sizes))
        self._keep("size_E", sizes.repeat_interleave(sizes))
        self._keep("first_E", begins.repeat_interleave(sizes) + coordinates)
        self.width = len(self.numbers) + len(coordinates)

    def _keep(self, name: str, value: Tensor) -> None:
        """Follows the module to a device, and stands in no file: `categories` says it all."""
        self.register_buffer(name, value, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """See the class."""
        codes_BE = inputs.index_select(1, self.column_E).long()
        is_known_BE = (codes_BE >= 0) & (codes_BE < self.num_codes_E)
        codes_BE = torch.where(is_known_BE, codes_BE, OTHER)
        embedded_BE = self.weight[self.first_E + codes_BE * self.size_E]
        return torch.cat([inputs.index_select(1, self.numbers), embedded_BE], dim=1)
