"""A digest of a user's own architecture: of the text of its module, its layers and the outputs of its network.

For fingerprints, so that an edited function is not taken for the one that members were trained with. Architectures of
ours and of torchvision have none: they change with the version alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from hydra_ray.config import is_own, source_of
from hydra_ray.models.networks import build_network
from hydra_ray.models.registry import Network
from hydra_ray.randomness import THROWN_AWAY, seeded

_ADDRESS = re.compile(r"0x[0-9a-fA-F]+")


def code_of(
    architecture: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    options: Mapping[str, Any],
    categories: tuple[int, ...] = (),
) -> str | None:
    """16 hexadecimal digits of a function `package.module:function`; None for an architecture of another kind.

    They change with the text of the function's module, with the layers it builds and with the outputs of the network of
    a fixed seed for two fixed rows, which also follows code that the module imports. The answers are taken in float64
    and compared by three digits, so that machines agree.

    One that cannot be built is refused by `check_architecture` before anything starts; here it is only different.
    """
    if not is_own(architecture):
        return None
    given = json.dumps(dict(options), sort_keys=True, default=str)
    return _code(architecture, tuple(input_shape), num_outputs, given, tuple(categories))


@lru_cache(maxsize=64)
def _code(
    architecture: str, input_shape: tuple[int, ...], num_outputs: int, options: str, categories: tuple[int, ...]
) -> str:
    try:
        with torch.device("cpu"), seeded(THROWN_AWAY), torch.no_grad():
            network = build_network(architecture, input_shape, num_outputs, json.loads(options), categories).eval()
            answers = _answers(network, two_fixed_rows(input_shape, categories))
    except Exception:  # a user's function may fail in any way
        return "cannot be built"
    layers = _ADDRESS.sub("", repr(network))
    found = json.dumps([source_of(architecture), layers, answers])
    return hashlib.sha256(found.encode()).hexdigest()[:16]


def _answers(network: Network, rows: Tensor) -> list[str]:
    """Outputs for the rows, three digits each; of a network that cannot run alone, what it says instead."""
    try:
        outputs = _outputs(network.double(), rows.double())
    except Exception:  # a network that makes float32 tensors of its own
        try:
            outputs = _outputs(network.float(), rows.float())
        except Exception as error:  # said with a way out before anything starts, by `check_architecture`
            return [type(error).__name__]
    return [f"{value:.2e}" for value in outputs.double().flatten().tolist()]


def _outputs(network: Network, rows: Tensor) -> Tensor:
    head: nn.Module = network.head
    return head(network.body(rows))


def two_fixed_rows(input_shape: tuple[int, ...], categories: tuple[int, ...]) -> Tensor:
    """Fixed values from -2 to 2, as a network takes them: [2, ch, H, W] for images of (H, W, ch), else [2, D].

    Categories have fixed codes of theirs.
    """
    shape = input_shape if len(input_shape) != 3 else (input_shape[2], *input_shape[:2])
    count = 2 * int(torch.tensor(shape).prod())
    values = torch.arange(count, dtype=torch.float64) * 0.618033988749895 % 1
    if any(categories):
        num_codes = torch.tensor(categories)
        values = values.reshape(2, -1)
        return torch.where(num_codes > 0, (values * num_codes).floor(), 4 * values - 2).float()
    return (4 * values - 2).float().reshape(2, *shape)
