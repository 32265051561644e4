"""Networks of the library timm, `timm:NAME`, and its published weights; needs the extra `timm`.

Shapes: B batch, ch channels, F features of the body, C outputs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from hydra_ray.config import TIMM, error_in_short
from hydra_ray.errors import UserError, close_to, reason_of
from hydra_ray.models.registry import Network

_FILE = "model.safetensors"


def timm_network(
    architecture: str, input_shape: tuple[int, ...], num_outputs: int, options: Mapping[str, Any]
) -> Network:
    """timm's network without weights: [B, ch, H, W] -> features [B, F], and a linear head of C outputs.

    Raises:
        UserError: there is no such network, or it refuses the inputs or options.
    """
    body = _created(architecture, input_shape, options, num_classes=0)
    width = int(getattr(body, "head_hidden_size", None) or body.num_features)
    return Network(body, nn.Linear(width, num_outputs), width)


def check_name(architecture: str) -> None:
    """Raises UserError where timm is not installed, or has no network of that name."""
    timm = _timm()
    name = _name(architecture)
    plain = name.split(".")[0]
    if not timm.is_model(plain):
        near = close_to(plain, timm.list_models(), most=3)
        way = f"did you mean {' or '.join(near)}?" if near else "timm.list_models() lists them"
        raise UserError(f"timm has no network {plain}; {way}")


def published_name(weights: str) -> str:
    """The full name of published weights, with their tag: `timm:resnet18.a1_in1k`."""
    found = _config(weights)
    return f"{TIMM}{found.architecture}.{found.tag}" if found.tag else f"{TIMM}{found.architecture}"


def published_scale(name: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that pixels from 0 to 1 had when the weights were trained."""
    found = _config(name)
    return (list(found.mean), list(found.std)) if found.mean and found.std else None


def published_file(weights: str, *, download: bool) -> str:
    """Where published weights lie on this machine.

    Args:
        weights: `timm:NAME`, with or without the tag of the weights.
        download: whether they may be fetched.

    Raises:
        UserError: they are not there and may not be fetched, or cannot be.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    found = _config(weights)
    if not found.hf_hub_id:
        raise UserError(f"{weights}: timm publishes no weights of it that we can read; name another")
    repository, _, revision = found.hf_hub_id.partition("@")
    try:
        return hf_hub_download(repository, _FILE, revision=revision or None, local_files_only=not download)
    except LocalEntryNotFoundError as error:
        raise UserError(
            f"{weights}: {repository} of the Hugging Face Hub is not on this machine; fetch it with data.download=true"
        ) from error
    except Exception as error:  # of the network, of the hub, of the disk
        raise UserError(f"{weights}: {repository} cannot be had ({reason_of(error)}); mend that") from error


def fitted_state(
    architecture: str, input_shape: tuple[int, ...], options: Mapping[str, Any], state: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Weights as timm's network for such inputs has them, its own head included.

    timm renames tensors of older files, sums the first layer's colours for grey images, and resizes what a transformer
    knows of places.

    Raises:
        UserError: they are of another network.
    """
    config = _config(architecture)
    head = state.get(f"{config.classifier}.weight")
    num_classes = config.num_classes if head is None else len(head)
    overlay = {"state_dict": dict(state), "num_classes": num_classes, "custom_load": False}
    network = _created(
        architecture, input_shape, options, num_classes=num_classes, pretrained=True, pretrained_cfg_overlay=overlay
    )
    return network.state_dict()


def _created(architecture: str, input_shape: tuple[int, ...], options: Mapping[str, Any], **more: Any) -> Any:
    """What timm makes of a name for such inputs; `more` are arguments of its function."""
    if len(input_shape) != 3:
        raise UserError(f"architecture={architecture}: takes images, the inputs are rows of features; use mlp")
    check_name(architecture)
    name = _name(architecture)
    height, width, channels = input_shape
    config = _config(architecture)
    sized = {"img_size": (height, width)} if config.fixed_input_size and "img_size" not in options else {}
    try:
        return _timm().create_model(name, in_chans=channels, **sized, **options, **more)
    except Exception as error:  # timm's networks refuse in every way
        what = "its weights, or inputs" if more.get("pretrained") else "inputs"
        raise UserError(
            f"architecture={architecture}: refuses {what} of shape {list(input_shape)} with options={dict(options)} "
            f"({error_in_short(error)}); change one of them"
        ) from error


def _config(name: str) -> Any:
    """What timm knows of weights: tag, place on the hub, normalisation."""
    check_name(name)
    try:
        return _timm().get_pretrained_cfg(_name(name), allow_unregistered=False)
    except RuntimeError as error:
        plain = _name(name).split(".")[0]
        known = _timm().list_pretrained(f"{plain}*")
        raise UserError(f"{name}: timm has no such weights; of {plain} it has {', '.join(known) or 'none'}") from error


def _name(name: str) -> str:
    return name.removeprefix(TIMM)


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise UserError(f"timm cannot be imported ({reason_of(error, 120)}); pip install 'hydra-ray[timm]'") from error
