"""Teachers of PyTorch: a network by its import path, and a checkpoint of it a member.

B rows, C outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from hydra_ray.config import OutputsSaid, error_in_short, import_own
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import said_order
from hydra_ray.teachers.network_inputs import NetworkInput, device_here, network_floats
from hydra_ray.teachers.states import load_state


class Options(NetworkInput):
    """Of the kind `torch_checkpoints`."""

    network: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    """`package.module:function` (or class), which is called with `network_options` and returns the `nn.Module`."""
    network_options: dict[str, Any] = {}
    """What it is called with."""
    outputs: OutputsSaid | None = None
    """What the network answers; none for logits, of a regression for means."""


def load(files: ModelFiles) -> Loaded:
    """Build the network once a checkpoint and load it.

    Raises:
        UserError: the network cannot be built, or a checkpoint is not its.
    """
    assert isinstance(files.options, Options)
    networks = [load_state(build(files.options), path, trust=files.trust) for path in files.paths]
    return Loaded([asked(network, files, as_they_are) for network in networks], outputs_of(files))


def build(options: Options) -> nn.Module:
    """The network that options name.

    Raises:
        UserError: it cannot be imported, fails, or is none.
    """
    key = f"options.network={options.network}"
    try:
        make = import_own(options.network)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    try:
        network = make(**options.network_options)
    except Exception as error:  # a user's function may fail in any way
        raise UserError(f"{key}: fails with network_options ({error_in_short(error)}); mend it") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{key}: returns a {type(network).__name__}, not an nn.Module")
    return network


def outputs_of(files: ModelFiles) -> OutputsSaid:
    """What the networks answer."""
    assert isinstance(files.options, Options)
    return files.options.outputs or ("mean" if files.num_classes is None else "logits")


def asked(network: nn.Module, files: ModelFiles, arranged: Callable[[Any, int], Tensor]) -> Function:
    """A function of a batch that asks a network.

    Args:
        network: is moved to the device.
        files: with the options of its input.
        arranged: brings what it returned for B rows, which is its second argument, to [B, ..., C].
    """
    options = files.options
    assert isinstance(options, Options)
    order = said_order(files)
    device = device_here()
    network = network.to(device)

    @torch.inference_mode()
    def answer(batch: Any) -> Any:
        inputs = torch.from_numpy(network_floats(batch, options)).to(device)
        return arranged(network(inputs), len(inputs)).float().cpu().numpy()[..., order]

    return answer


def as_they_are(found: Any, num_rows: int) -> Tensor:
    """[B, C]; of numbers alone [B, 1]."""
    if not isinstance(found, Tensor):
        raise UserError(f"the network returns a {type(found).__name__}; give one that returns a tensor")
    return found.reshape(num_rows, -1)
