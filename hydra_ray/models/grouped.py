"""Several networks of one kind side by side, as one: every layer is one grouped convolution or batched product.

Their channels lie one network's after the other's: [B, ch, H, W] -> [B, ch', H', W'] becomes
[B, K * ch, H, W] -> [B, K * ch', H', W'] for K networks, and every tensor has K times the rows.
It is not: how networks of other architectures are stacked (`ensemble.py`, by `vmap`); a grouped convolution is also
what can be exported, compiled and trained by several ranks as it stands.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from hydra_ray.errors import UserError
from hydra_ray.models.architectures import ZeroPadded

_TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
"""Of layers that are known; all are by output channel."""


class GroupedLinear(nn.Module):
    """K linear layers side by side, as one batched product: [B, K * F] -> [B, K * C]."""

    def __init__(self, number: int, width_in: int, width_out: int) -> None:
        """Weights start as those of `nn.Linear` do, from torch's global generator."""
        super().__init__()
        bound = width_in**-0.5
        self.number = number
        self.weight = nn.Parameter(torch.empty(number * width_out, width_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(number * width_out).uniform_(-bound, bound))

    def forward(self, values: Tensor) -> Tensor:
        """See the class."""
        values_BKF = values.unflatten(1, (self.number, -1))
        weight_KCF = self.weight.unflatten(0, (self.number, -1))
        return torch.einsum("bkf,kcf->bkc", values_BKF, weight_KCF).flatten(1) + self.bias


def grouped(module: nn.Sequential, number: int) -> nn.Sequential:
    """So many copies of a module as one module, each with the module's own weights.

    Convolutions, batch and group normalisation and our shortcuts are known; modules without tensors are taken to work
    channel by channel. `check_grouped` tells whether they do.

    Args:
        module: of one network; it is left as it is.
        number: of copies.

    Raises:
        UserError: a layer has tensors of another kind.
    """
    found = copy.deepcopy(module)
    for name, part in found.named_modules():
        tensors = part._parameters.keys() | part._buffers.keys()
        is_known = _counted(part, number)
        if tensors and not (is_known and tensors <= _TENSORS):
            raise UserError(
                f"distill.head=block: {type(part).__name__} ({name}) in the body's last blocks cannot be many in one; "
                "use blocks of Conv2d, BatchNorm2d, GroupNorm and layers without weights, or distill.head=conv1x1"
            )
        for key, parameter in list(part.named_parameters(recurse=False)):
            part.register_parameter(key, nn.Parameter(repeated(parameter.detach(), number)))
        for key, buffer in list(part.named_buffers(recurse=False)):
            part.register_buffer(key, repeated(buffer, number))
    return found


def _counted(part: nn.Module, number: int) -> bool:
    """Set what a layer counts to that of so many copies; False for a layer that is not known."""
    if isinstance(part, nn.Conv2d):
        part.in_channels *= number
        part.out_channels *= number
        part.groups *= number
    elif isinstance(part, nn.BatchNorm2d):
        part.num_features *= number
    elif isinstance(part, nn.GroupNorm):
        part.num_groups *= number
        part.num_channels *= number
    elif isinstance(part, ZeroPadded):
        part.groups *= number
    else:
        return False
    return True


def repeated(tensor: Tensor, number: int) -> Tensor:
    """A tensor so many times along its first dimension; a number stays one."""
    if tensor.ndim == 0:
        return tensor.clone()
    found = torch.empty(number * len(tensor), *tensor.shape[1:], dtype=tensor.dtype, device=tensor.device)
    return found.copy_(tensor.expand(number, *tensor.shape).reshape(found.shape))


@torch.no_grad()
def check_grouped(module: nn.Sequential, maps: Tensor) -> None:
    """Try that two copies side by side, on different maps, say what each says alone.

    Args:
        module: of one network, evaluating.
        maps: two rows that it takes, [2, ch, H, W].

    Raises:
        UserError: they do not: the module mixes channels in a way of its own, or has layers that `grouped` refuses.
    """
    others = maps.flip(0)
    expected = torch.cat([module(maps), module(others)], dim=1)
    try:
        found = grouped(module, 2)(torch.cat([maps, others], dim=1))
        is_same = found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-5)
    except UserError:
        raise
    except Exception:  # of a module that counts its channels
        is_same = False
    if not is_same:
        raise UserError(
            "distill.head=block: the body's last blocks mix channels by more than convolutions, so that many cannot be "
            "one; use distill.head=conv1x1, or another distill.body"
        )
