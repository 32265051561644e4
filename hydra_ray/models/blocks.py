"""A network's body as the blocks that it is made of, one after the other, before a mean over pixels.

Heads that read maps need to know where pooling begins, and heads with blocks of their own where the last blocks do.
No architecture is known by name: what a body holds is called in the order in which it holds it, on two fixed rows, and
where the mean over pixels of what comes out are the body's own features, the body is such a chain.

Shapes: B batch, ch channels, F channels of the maps, H x W and h x w pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hydra_ray.errors import UserError
from hydra_ray.models.cost import evaluating
from hydra_ray.models.networks import RepeatGrey
from hydra_ray.models.own_code import two_fixed_rows
from hydra_ray.models.registry import Network


class Cut(NamedTuple):
    """A body in two parts, without its pooling; weights are the body's, not copies."""

    shared: nn.Module
    """Images [B, ch, H, W] -> maps; its tensors have the names that they have in the body."""
    private: nn.Sequential
    """The last blocks: maps -> maps [B, F, h, w], whose mean over pixels are the body's features."""
    maps: Tensor
    """What `shared` makes of two fixed rows: something to try the last blocks on."""


def cut_body(network: Network, input_shape: tuple[int, ...], num_blocks: int, what: str) -> Cut:
    """Take a body apart before its last blocks; pooling, and what comes after it, is left out.

    A block begins at every part with a convolution and ends before the next: a convolution with its norm and ReLU, or a
    residual block. Parts that are sequences of others, as stages are, are opened.

    Args:
        network: in any mode; it keeps it.
        input_shape: of one stored row.
        num_blocks: how many; 0 leaves out the pooling alone.
        what: key and body for the line of an error: `distill.head=block: the body mlp`.

    Raises:
        UserError: the body is no chain of blocks before a mean over pixels, or has fewer blocks.
    """
    body = network.body.body if isinstance(network.body, RepeatGrey) else network.body
    steps = _steps(body)
    starts = [place for place, step in enumerate(steps) if _has_convolution(step)]
    maps = _maps(network, input_shape, steps) if starts and len(input_shape) == 3 else []
    if len(maps) < 2:
        raise UserError(
            f"{what} does not end in a mean over pixels of what its parts make, called in the order in which it holds "
            "them; use cnn, resnet20, a ResNet of torchvision or timm, or nn.Sequential(..., GlobalMean()); or "
            "distill.head=mlp"
        )
    if num_blocks > len(starts):
        raise UserError(f"{what} has {len(starts)} blocks; set distill.cut={len(starts)} or less")
    end = len(maps) - 1
    start = starts[-num_blocks] if num_blocks else end
    shared: nn.Module = _first(body, start)
    if isinstance(network.body, RepeatGrey):
        shared = RepeatGrey(shared)
    return Cut(shared, nn.Sequential(*steps[start:end]), maps[start])


def _maps(network: Network, input_shape: tuple[int, ...], steps: list[nn.Module]) -> list[Tensor]:
    """Before each step, and at last, what the chain makes of two rows, up to where their mean is the body's features.

    Empty where it never is, or where the steps cannot be called one after the other.
    """
    images = two_fixed_rows(input_shape, ()).float()
    found = [images.expand(-1, 3, -1, -1) if isinstance(network.body, RepeatGrey) else images]
    num_left = sum(map(_has_convolution, steps))
    with evaluating(network), torch.no_grad():
        features_BF = network.body(images)
        for step in steps:
            try:
                found.append(step(found[-1]))
            except Exception:  # of a part that takes something else, or is never called
                return []
            num_left -= _has_convolution(step)
            if num_left == 0 and _has_mean(found[-1], features_BF):
                return found
    return []


def _has_mean(maps: Tensor, features_BF: Tensor) -> bool:
    if not isinstance(maps, Tensor) or maps.ndim != 4 or maps.shape[:2] != features_BF.shape:
        return False
    return torch.allclose(maps.mean((2, 3)), features_BF, rtol=1e-4, atol=1e-5 * float(features_BF.abs().max()))


def _steps(module: nn.Module) -> list[nn.Module]:
    """What a module holds, in order, sequences opened."""
    return [step for _, child in module.named_children() for step in _opened(child)]


def _opened(module: nn.Module) -> Iterator[nn.Module]:
    if not _is_sequence(module):
        yield module
        return
    for child in module.children():
        yield from _opened(child)


def _is_sequence(module: nn.Module) -> bool:
    """A stage; not one that does more than to call what it holds."""
    return isinstance(module, nn.ModuleList) or type(module).forward is nn.Sequential.forward


def _first(module: nn.Module, number: int) -> nn.Sequential:
    """The first steps of a module, which keep their names."""
    kept: OrderedDict[str, nn.Module] = OrderedDict()
    for name, child in module.named_children():
        held = len(list(_opened(child)))
        if number > 0:
            kept[name] = _first(child, number) if _is_sequence(child) else child
        number -= held
    return nn.Sequential(kept)


def _has_convolution(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Conv2d) for part in module.modules())
