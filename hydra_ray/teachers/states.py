"""Networks' states from checkpoints: safetensors, or PyTorch files, of which nothing but tensors is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hydra_ray.errors import UserError

_WRAPPERS = ("state_dict", "model_state_dict", "model")
"""Keys under which training loops save the state beside an optimiser's."""


def load_state(network: nn.Module, path: str, *, trust: bool) -> nn.Module:
    """Put a checkpoint's tensors into a network.

    Args:
        network: of the checkpoint's architecture.
        path: of a file: safetensors, or what `torch.save` wrote.
        trust: whether the file may hold other objects than tensors, which run code when they are opened.

    Returns:
        The network, ready to answer.

    Raises:
        UserError: the file is damaged, needs to be trusted, or is of another network.
    """
    state = _without_prefix(_read(path, trust=trust), network.state_dict())
    found = _fitting(network, state)
    if found:
        raise UserError(f"{path}: {found}; it is of another network, or of other options of it")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def _read(path: str, *, trust: bool) -> Mapping[str, Tensor]:
    if path.endswith(".safetensors"):
        from safetensors.torch import load_file

        return load_file(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=not trust)
    except Exception as error:  # of many types, of which the refusal to unpickle is one
        if trust:
            raise
        raise UserError(
            f"{path} holds other objects than tensors, which may run code when they are opened, or is damaged; save "
            "network.state_dict() alone, or say ensemble.teachers.trust=true if you trust whoever wrote it"
        ) from error
    return _state_in(found, path)


def _state_in(found: Any, path: str) -> Mapping[str, Tensor]:
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds no state of a network; save network.state_dict()")
    return found


def _without_prefix(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names without what wrappers put before all of them: `module.`, `model.`, `_orig_mod.`."""
    names = list(state)
    while names and not set(names) & set(wanted):
        first = {name.partition(".")[0] for name in names}
        if len(first) > 1 or not all("." in name for name in names):
            break
        names = [name.partition(".")[2] for name in names]
    return dict(zip(names, state.values(), strict=True))


def _fitting(network: nn.Module, state: Mapping[str, Tensor]) -> str | None:
    """What keeps a state from being the network's; None where nothing does."""
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    if missing:
        return f"has no {missing[0]} (and lacks {len(missing)} of {len(wanted)} tensors)"
    beyond = [name for name in state if name not in wanted]
    if beyond:
        return f"has {beyond[0]}, which the network has not (and {len(beyond)} such tensors)"
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            return f"{name} is {list(state[name].shape)}, in the network {list(value.shape)}"
    return None
