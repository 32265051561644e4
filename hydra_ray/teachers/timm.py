"""Teachers of timm: a checkpoint or a folder of its own format a member, with the preprocessing that belongs to it.

B rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import ClassOrder, class_order, said_order
from hydra_ray.teachers.network_inputs import device_here, images_tensor, require_images, with_channels
from hydra_ray.teachers.states import load_state


class Options(ClassOrder):
    """Of the kind `timm`."""

    model: str | None = None
    """Name of the architecture where `files` are checkpoints; a folder says it in its config.json."""
    model_options: dict[str, Any] = {}
    """Further arguments of `timm.create_model`, such as `in_chans` or `img_size`."""
    preprocessing: dict[str, Any] = {}
    """What differs from the model's configuration: `input_size`, `mean`, `std`, `crop_pct`, `interpolation`."""


def load(files: ModelFiles) -> Loaded:
    """Build and load the networks, which answer with logits.

    Raises:
        UserError: a file is none of timm's, or the data set is no classification of images.
    """
    if files.num_classes is None:
        raise UserError("answers for classifications; the data set is a regression")
    return Loaded([_asked(path, files) for path in files.paths], "logits")


def _asked(path: str, files: ModelFiles) -> Function:
    device = device_here()
    network = _network(path, files).eval().requires_grad_(False).to(device)
    config = _preprocessing(network, files)
    order = _order(network, files)

    @torch.inference_mode()
    def answer(batch: Any) -> Any:
        images = with_channels(require_images(batch), config["input_size"][0])
        return network(preprocessed(images_tensor(images, device), config)).float().cpu().numpy()[:, order]

    return answer


def _network(path: str, files: ModelFiles) -> nn.Module:
    import timm

    options = files.options
    assert isinstance(options, Options)
    if Path(path).is_dir():
        if not (Path(path) / "config.json").is_file():
            raise UserError(f"{path} has no config.json; give a folder that timm's save_for_hf wrote, or a checkpoint")
        return timm.create_model(f"local-dir:{path}", pretrained=True, **options.model_options)
    if options.model is None:
        raise UserError(f"options.model is missing: name the architecture of {path}, such as resnet18")
    if not timm.is_model(options.model):
        raise UserError(f"options.model={options.model}: timm has no such model; see timm.list_models()")
    network = timm.create_model(options.model, num_classes=files.num_classes, **options.model_options)
    return load_state(network, path, trust=files.trust)


def _preprocessing(network: nn.Module, files: ModelFiles) -> dict[str, Any]:
    """As the network's own configuration says it, with what the option changes."""
    from timm.data.config import resolve_data_config

    assert isinstance(files.options, Options)
    config = resolve_data_config(dict(files.options.preprocessing), model=network)
    channels = next(weight.shape[1] for weight in network.parameters() if weight.ndim == 4)
    if config["input_size"][0] != channels:
        raise UserError(
            f"the network takes {channels} channels, its configuration has input_size={list(config['input_size'])}; "
            "set options.preprocessing={input_size: [channels, height, width], mean: [...], std: [...]}"
        )
    return config


def _order(network: nn.Module, files: ModelFiles) -> Any:
    """By the names that the network's configuration has; by the option, where that says them."""
    assert isinstance(files.options, Options)
    config: Any = getattr(network, "pretrained_cfg", {})
    names = config.get("label_names")
    if files.options.classes or not names:
        return said_order(files)
    return class_order(names.values() if isinstance(names, dict) else names, files)


def preprocessed(images: Tensor, config: Mapping[str, Any]) -> Tensor:
    """What timm's transform for evaluation makes of images, a batch at a time.

    Args:
        images: uint8 [B, channels, H, W].
        config: of the model's data: `input_size`, `crop_pct`, `crop_mode`, `interpolation`, `mean`, `std`.

    Returns:
        float32 [B, channels, h, w].

    Raises:
        UserError: a way of cropping that is not known here.
    """
    if config["crop_mode"] not in ("center", "squash"):
        raise UserError(f"crop_mode={config['crop_mode']} is not read; set options.preprocessing={{crop_mode: center}}")
    wanted = list(config["input_size"][1:])
    if list(images.shape[2:]) != wanted or config["crop_pct"] != 1:
        scaled = [int(side / config["crop_pct"]) for side in wanted]
        shortest = scaled[:1] if config["crop_mode"] == "center" and scaled[0] == scaled[1] else scaled
        how = InterpolationMode(config["interpolation"])
        images = transforms.center_crop(transforms.resize(images, shortest, how, antialias=True), wanted)
    return transforms.normalize(transforms.to_dtype(images, scale=True), list(config["mean"]), list(config["std"]))
