"""Teachers of TorchUncertainty: checkpoints of its routines, a network each, or one network of several members.

Packed, batched, masked and MIMO ensembles and `deep_ensembles` answer a batch with a row a member and input, member by
member; a regression's networks answer with the parameters of a distribution.

B rows, M members, C outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hydra_ray.errors import UserError
from hydra_ray.teachers import torch_checkpoints
from hydra_ray.teachers.asked import Loaded, ModelFiles
from hydra_ray.teachers.states import load_state
from hydra_ray.teachers.torch_checkpoints import asked, build, outputs_of


class Options(torch_checkpoints.Options):
    """Of the kind `torch_uncertainty`; `network` is one of the library's, or your own."""


def load(files: ModelFiles) -> Loaded:
    """Build the network once a checkpoint and load it; one checkpoint may hold all members.

    Raises:
        UserError: the network cannot be built, or a checkpoint is not its.
    """
    import torch_uncertainty  # noqa: F401  # said in one line where it is missing

    assert isinstance(files.options, Options)
    networks = [load_state(build(files.options), path, trust=files.trust) for path in files.paths]
    outputs = outputs_of(files)
    if len(networks) == 1:
        return Loaded(asked(networks[0], files, _member_by_member), outputs)
    return Loaded([asked(network, files, _of_one) for network in networks], outputs)


def _member_by_member(found: Any, num_rows: int) -> Tensor:
    """[B, M, C] of [M * B, C]."""
    values = _values(found)
    return values.reshape(-1, num_rows, values.shape[-1]).transpose(0, 1)


def _of_one(found: Any, num_rows: int) -> Tensor:
    values = _member_by_member(found, num_rows)
    if values.shape[1] > 1:
        raise UserError(f"each checkpoint holds {values.shape[1]} members; give one file")
    return values[:, 0]


def _values(found: Any) -> Tensor:
    """Logits or means [M * B, C]; of the parameters of a normal distribution its mean and variance [M * B, 2]."""
    if isinstance(found, Mapping):
        if set(found) != {"loc", "scale"}:
            raise UserError(
                f"the network answers with {', '.join(found)}; only normal distributions (loc, scale) are read"
            )
        return torch.cat([found["loc"].reshape(-1, 1), found["scale"].reshape(-1, 1).square()], dim=1)
    return found.reshape(len(found), -1)
