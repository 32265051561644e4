"""Checks of networks that several workers train together (`ensemble.workers_per_member`, `strategy`)."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from hydra_ray.config import Config, Optimisation
from hydra_ray.errors import UserError


def check_team(config: Config, network: nn.Module) -> None:
    """Check that a team trains a member to the weights that one worker would give it.

    Raises:
        UserError: it would not: without GPUs, BatchNorm sees a worker's own rows alone; or it cannot be shared out.
    """
    ensemble = config.ensemble
    key = f"ensemble.workers_per_member={ensemble.workers_per_member}"
    learns_statistics = ensemble.train == "all" and any(isinstance(each, _BatchNorm) for each in network.modules())
    if ensemble.workers_per_member > 1 and config.cluster.use_gpu is False and learns_statistics:
        raise UserError(
            f"{key}: {ensemble.architecture} has BatchNorm, which without GPUs would see a worker's own rows alone and "
            "make another member; use cluster.use_gpu=true, another norm (ensemble.options.norm=group), or leave "
            "ensemble.workers_per_member out"
        )
    check_parts(f"ensemble.strategy={ensemble.strategy}", ensemble, network)


def check_parts(key: str, settings: Optimisation, network: nn.Module) -> None:
    """Check that every weight of a network can be shared out.

    Raises:
        UserError: one is a single number without a dimension, which FSDP does not know.
    """
    if settings.strategy == "ddp":
        return
    for name, parameter in network.named_parameters():
        if parameter.ndim == 0:
            raise UserError(f"{key}: {name} is a number without a dimension, which cannot be shared out; use ddp")
