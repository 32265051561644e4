"""Networks whose weights, gradients and optimiser state are shared out over ranks (FSDP2): of each tensor a part each.

Before a block runs, its ranks put its weights together, and drop them afterwards; so a rank needs room for its parts,
for one block and for what the block computes. The body's blocks are those in its `nn.Sequential`s. What leaves the
training, checkpoints and finished networks, is whole: whoever reads it sees no difference. Plain PyTorch; no Ray. It is
imported where it is used, as torch's part for it takes seconds to import.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from hydra_ray.models import HydraStudent, Member


class Sharding:
    """How networks are shared out: over which ranks, and on which device."""

    def __init__(self, group: dist.ProcessGroup | None, device: torch.device, *, is_first: bool) -> None:
        """Of a group of ranks, None for all processes of the job, on this rank's device."""
        self._group = group
        self._mesh = DeviceMesh.from_group(cast("dist.ProcessGroup", group or dist.group.WORLD), device.type)
        self._is_first = is_first

    def shard(self, model: nn.Module) -> None:
        """Share a network out, in place: block by block to the device, so that it need not fit there as a whole.

        On GPUs BatchNorm sees the whole batch from now on.
        """
        if self._mesh.device_type == "cuda":
            nn.SyncBatchNorm.convert_sync_batchnorm(model, self._group)
        for block in [*_blocks(_body_of(model)), model]:
            if block is model or any(True for _ in block.parameters()):
                # the root too, or its weights would stay whole after rows were only looked at
                fully_shard(block, mesh=self._mesh, reshard_after_forward=True)

    def gathered(self, tensors: Mapping[str, Tensor], *, everywhere: bool = False) -> dict[str, Tensor]:
        """All tensors whole and on the CPU, on the first rank or on all; elsewhere as they are, in parts.

        All ranks call this. One tensor at a time is whole on the device.
        """
        is_wanted = everywhere or self._is_first
        # by name: what was loaded from a file has another order on every rank
        return {name: self._gathered(tensors[name], is_wanted=is_wanted) for name in sorted(tensors)}

    def _gathered(self, tensor: Tensor, *, is_wanted: bool) -> Tensor:
        found = tensor
        if isinstance(tensor, DTensor):
            found = tensor.full_tensor()
            tensor = tensor.to_local()
        return found.cpu() if is_wanted else tensor

    def part(self, tensor: Tensor, like: Tensor) -> Tensor:
        """This rank's part of a whole tensor, shared out as `like` is; itself where that is whole or shaped otherwise.

        The moments of a parameter are shaped as it is, the number of its steps is not.
        """
        if not isinstance(like, DTensor) or tensor.shape != like.shape:
            return tensor
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _body_of(model: nn.Module) -> nn.Module:
    if isinstance(model, Member):
        return model.network.body
    return model.body if isinstance(model, HydraStudent) else model


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """What stands in sequences, one after the other, the outermost alone."""
    is_sequence = type(module) is nn.Sequential
    for child in module.children():
        if is_sequence and type(child) is not nn.Sequential:
            yield child
        else:
            yield from _blocks(child)
