"""Trained weights for members' bodies: found, read, and fitted into a network under a new head (`ensemble.weights`).

They are a `.safetensors` file, one of torchvision's published weights, or one of timm's. A file may be what its
network's own `state_dict` says, or `model.safetensors` of a member or a student of ours, of which the body is taken.
Nothing is fetched unless that is allowed; nothing is unpickled but tensors.
Not here: what is trained of such a network (`training/member.py`).
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hydra_ray.config import TIMM, is_published
from hydra_ray.data.content import contents_of
from hydra_ray.errors import UserError, close_to, reason_of
from hydra_ray.models.members import Normalise
from hydra_ray.models.networks import RepeatGrey, build_network
from hydra_ray.models.registry import Network
from hydra_ray.models.timm_networks import fitted_state, published_file, published_name, published_scale
from hydra_ray.randomness import THROWN_AWAY, seeded
from hydra_ray.storage import Folder

_PIXEL_LEVELS = 255.0
_OURS = ("network.body.body.", "network.body.", "body.body.", "body.")
"""Begin the names of a body's tensors in the file of a member, and of a student; those of torchvision's networks for
grey images are one deeper."""
_MEAN = "normalise.mean"
"""In every file of ours."""
_COUNTER = "num_batches_tracked"
"""Of BatchNorm; older files have none."""
_OF_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""Names in torchvision's files of densenets, which are older than its network."""
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Begin the names of further heads that some of torchvision's networks are trained with."""


@dataclass(frozen=True)
class Pretrained:
    """What members start from.

    Attributes:
        body: the state of a network's body.
        normalise: of stored inputs, as the weights were trained with; None where the file does not say.
        said: the weights in words, with what normalisation was found.
    """

    body: Mapping[str, Tensor]
    normalise: Normalise | None
    said: str


def weights_key(weights: str) -> str | dict[str, str]:
    """What tells weights apart in fingerprints: a publisher's full name of them, or the digest of the file.

    Raises:
        UserError: no such file, or no such published weights; the line does not name the key.
    """
    if weights.startswith(TIMM):
        return published_name(weights)
    if is_published(weights):
        return str(_of_torchvision(weights))
    place = _place(weights)
    (content,) = contents_of(place.fs, [place.path], f"{weights}")
    return {"file": content.digest}


def load_pretrained(
    weights: str,
    architecture: str,
    input_shape: tuple[int, ...],
    options: Mapping[str, Any],
    categories: tuple[int, ...] = (),
    *,
    download: bool,
) -> Pretrained:
    """Read weights and fit them into a network's body.

    Args:
        weights: see the module.
        architecture, input_shape, options, categories: of the network, as for `build_network`.
        download: whether published weights that are not on this machine may be fetched.

    Raises:
        UserError: they are not there, are damaged, or are of another network; the line does not name the key.
    """
    with seeded(THROWN_AWAY):
        network = build_network(architecture, input_shape, 1, options, categories)
    state = _state(weights, download=download)
    if architecture.startswith(TIMM) and _MEAN not in state:
        state = fitted_state(architecture, input_shape, options, state)
    body = _body_of(state, network, f"{weights}: is not of architecture={architecture}")
    normalise = _normalise_in(state, input_shape) or _published_normalise(weights, architecture, input_shape)
    found = "normalised as they were trained" if normalise else "normalised by the training rows"
    return Pretrained(body, normalise, f"{weights}, {found}")


def _state(weights: str, *, download: bool) -> dict[str, Tensor]:
    """Every tensor of the weights by its name."""
    if weights.startswith(TIMM):
        return _read_file(weights, Path(published_file(weights, download=download)).read_bytes())
    if is_published(weights):
        return _torchvision_state(weights, download=download)
    place = _place(weights)
    return _read_file(weights, place.parent.read(place.name))


def _read_file(weights: str, content: bytes) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load(content)
    except SafetensorError as error:
        raise UserError(f"{weights}: is no readable safetensors file ({reason_of(error)}); write it again") from error


def _place(weights: str) -> Folder:
    place = Folder.open(weights, "ensemble.weights")
    if not place.exists():
        raise UserError(f"{weights}: no such file; name one that is there, and on a cluster that all machines see")
    return place


# which tensors are the body's


def _body_of(state: Mapping[str, Tensor], network: Network, what: str) -> dict[str, Tensor]:
    """The tensors of a body, under the names that it has in a network."""
    inner = network.body.body if isinstance(network.body, RepeatGrey) else network.body
    wanted: dict[str, Tensor] = inner.state_dict()
    needed = [name for name in wanted if not name.endswith(_COUNTER)]
    found = next((each for prefix in _OURS if set(needed) <= (each := _below(state, prefix)).keys()), None)
    if found is None:
        found = dict(state)
        missing = [name for name in needed if name not in found]
        if missing:
            lacks = f"it lacks {len(missing)} of {len(wanted)} tensors, e.g. {missing[0]}"
            raise UserError(f"{what}: {lacks}; name the architecture that they are of")
        _check_rest(found, wanted, what)
    for name in needed:
        if found[name].shape != wanted[name].shape:
            shapes = f"{name} is {list(found[name].shape)}, in the network {list(wanted[name].shape)}"
            raise UserError(f"{what} for such inputs: {shapes}; use others, or inputs of the size they are for")
    prefix = "" if inner is network.body else "body."
    return {f"{prefix}{name}": found.get(name, value) for name, value in wanted.items()}


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def _check_rest(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str) -> None:
    """Refuse weights with more than one layer beside the body, the old head: they are of a larger network."""
    rest = [name for name in state if name not in wanted and not name.startswith(_AUXILIARY)]
    layers = {name.rpartition(".")[0] for name in rest}
    if len(layers) > 1:
        more = f"it has {len(layers)} more layers, e.g. {min(layers)}"
        raise UserError(f"{what}: {more}; name the architecture that they are of")


# normalisation


def _normalise_in(state: Mapping[str, Tensor], input_shape: tuple[int, ...]) -> Normalise | None:
    """That of a file of ours."""
    mean = state.get(_MEAN)
    std = state.get("normalise.std")
    if mean is None or std is None or mean.shape != (input_shape[-1],):
        return None
    return Normalise(mean, std)


def _published_normalise(weights: str, architecture: str, input_shape: tuple[int, ...]) -> Normalise | None:
    """As the publisher of an architecture's weights normalises; grey images by the means over the three colours."""
    if architecture.startswith(TIMM):
        scale = published_scale(weights if weights.startswith(TIMM) else architecture)
    else:
        scale = _torchvision_scale(weights, architecture)
    if scale is None or len(input_shape) != 3:
        return None
    mean, std = (torch.tensor(each) * _PIXEL_LEVELS for each in scale)
    if input_shape[-1] == 1:
        mean, std = (each.mean(0, keepdim=True) for each in (mean, std))
    return Normalise(mean, std)


# torchvision


def _torchvision() -> Any:
    return importlib.import_module("torchvision.models")


def _of_torchvision(name: str) -> Any:
    """An entry of one of torchvision's enumerations of weights."""
    models = _torchvision()
    try:
        return models.get_weight(name)
    except (ValueError, KeyError, AttributeError):
        known = [str(each) for model in models.list_models(module=models) for each in models.get_model_weights(model)]
        near = close_to(name, known, most=3)
        way = f"did you mean {' or '.join(near)}?" if near else "torchvision's documentation lists them"
        raise UserError(f"{name}: torchvision has no such weights; {way}") from None


def _torchvision_state(name: str, *, download: bool) -> dict[str, Tensor]:
    entry = _of_torchvision(name)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(entry.url).path).name
    if not file.exists() and not download:
        raise UserError(
            f"{name}: {file} is not there; let torchvision fetch it with data.download=true, or put it there"
        )
    try:
        state = entry.get_state_dict(progress=False, check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # of the network, of the disk, of a damaged file
        raise UserError(f"{name}: {file} cannot be had ({reason_of(error)}); mend that, or remove the file") from error
    return {_OF_DENSENET.sub(r"\1\2", key): value for key, value in state.items()}


def _torchvision_scale(weights: str, architecture: str) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation that pixels from 0 to 1 had; of a file's weights those of the published ones."""
    models = _torchvision()
    if is_published(weights):
        entry = _of_torchvision(weights)
    elif architecture in models.list_models(module=models):
        entry = models.get_model_weights(architecture).DEFAULT
    else:
        return None
    transforms = entry.transforms()
    return transforms.mean, transforms.std


def put_body(module: nn.Module, body: Mapping[str, Tensor]) -> None:
    """Copy a body's state into a network's body of the same architecture."""
    module.load_state_dict(dict(body))
