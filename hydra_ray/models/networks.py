"""From the name of an architecture to a `Network`: ours, torchvision's, timm's, or a function of the user's own.

It is: one function that builds (`build_network`), one that says what options a name has (`architecture_options`), and
one that finds out before anything starts whether building and running will work (`check_architecture`).
It is not: trained weights (`pretrained.py`), training, or normalisation of stored inputs.

Shapes: B batch, ch channels, D input features, F features of the body, C outputs; see `architectures.py`.
"""

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
from pydantic import ConfigDict, create_model
from torch import Tensor, nn

from hydra_ray.config import TIMM, Section, error_in_short, import_own, is_own, parse_options
from hydra_ray.errors import UserError, close_to
from hydra_ray.models import click_architectures, tabular_architectures  # noqa: F401  registers them
from hydra_ray.models.architectures import image_channels
from hydra_ray.models.registry import ARCHITECTURES, Network
from hydra_ray.models.size import check_size
from hydra_ray.models.timm_networks import check_name, timm_network
from hydra_ray.randomness import THROWN_AWAY, seeded

__all__ = ["Network", "architecture_options", "build_network", "check_architecture"]

_CATEGORIES = "categories"
"""The parameter of a user's function that is given them."""


def build_network(
    architecture: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    options: Mapping[str, Any],
    categories: tuple[int, ...] = (),
) -> Network:
    """The network of that name, with fresh weights from torch's global generator (see `randomness.seeded`).

    Args:
        architecture: `mlp`, `tabm`, `tabular_resnet`, `xdeepfm`, `dexdeepfm`, `cnn`, `resnet20`, a classification model
            of `torchvision.models`, `timm:NAME`, or an import path `package.module:function`; the function is called as
            `function(input_shape, num_outputs, **options)`, one with a parameter `categories` is given them too, and
            returns a module with `body`, `head` and `num_features`.
        input_shape: of one stored row, (H, W, channels) or (D,).
        num_outputs: C.
        options: keyword arguments of that architecture.
        categories: of each feature how many codes it has, 0 for a number; () where none is a category.

    Raises:
        UserError: unknown architecture or option, or one that does not fit the inputs.
    """
    try:
        model = architecture_options(architecture)
    except UserError as error:
        raise UserError(f"architecture={architecture}: {error}") from None
    parsed = parse_options(model, options)
    if architecture in ARCHITECTURES:
        known = ARCHITECTURES[architecture]
        further = (categories,) if known.takes_categories else ()
        return known.build(input_shape, num_outputs, parsed, *further)
    given = parsed.model_dump(exclude_unset=True)
    if is_own(architecture):
        function = import_own(architecture)
        given |= _categories_for(architecture, function, categories)
        return _as_network(architecture, function(input_shape, num_outputs, **given))
    if architecture.startswith(TIMM):
        return timm_network(architecture, input_shape, num_outputs, given)
    return _torchvision_network(architecture, input_shape, num_outputs, given)


def architecture_options(architecture: str) -> type[Section]:
    """The model of an architecture's options; of torchvision's and of a user's own it knows the names alone.

    Raises:
        UserError: there is no such architecture; the line does not say where the name stands.
    """
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture].options
    if is_own(architecture):
        return _users_options(architecture)
    if architecture.startswith(TIMM):
        check_name(architecture)
        return _names_alone(architecture, (), takes_any=True)
    return _torchvision_options(architecture)


def check_architecture(
    architecture: str,
    input_shape: tuple[int, ...],
    num_outputs: int,
    options: Mapping[str, Any],
    categories: tuple[int, ...] = (),
) -> Network:
    """Build the network and send two rows through it.

    The network comes back, in evaluation mode, so that a plan can count its parameters and operations. The global
    generator is left as it was. On the CPU: the meta device would take no memory, but torch imports its compiler for
    it, which takes longer than the rows.

    Raises:
        UserError: it is too large for this machine, cannot be built, cannot take such inputs, or gives outputs of the
            wrong shape.
    """
    building = partial(build_network, architecture, input_shape, num_outputs, options, categories)
    if not is_own(architecture):  # a function of the user's own is called once
        check_size(building, f"architecture={architecture} with options={dict(options)}")
    try:
        with torch.device("cpu"), seeded(THROWN_AWAY), torch.no_grad():
            network = building().eval()
            features_BF = network.body(_two_rows(input_shape))
            _check_shape(architecture, "body", features_BF, network.num_features)
            _check_shape(architecture, "head", network.head(features_BF), num_outputs, submodels=True)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"architecture={architecture}: cannot run on inputs of shape {list(input_shape)} with "
            f"options={dict(options)} ({error_in_short(error)}); use larger inputs or another architecture"
        ) from error
    return network


def _two_rows(input_shape: tuple[int, ...]) -> Tensor:
    """Zeros as a network takes them: [2, ch, H, W] for images of (H, W, ch), else [2, D]."""
    if len(input_shape) != 3:
        return torch.zeros(2, *input_shape)
    height, width, channels = input_shape
    return torch.zeros(2, channels, height, width)


def _check_shape(architecture: str, part: str, values: Any, width: int, *, submodels: bool = False) -> None:
    shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
    of_submodels = submodels and len(shape) == 3 and [shape[0], shape[2]] == [2, width]
    if shape != [2, width] and not of_submodels:
        raise UserError(
            f"architecture={architecture}: its {part} gives {shape} for 2 inputs instead of {[2, width]}; "
            f"mend the {part}, or num_features"
        )


# --- torchvision


def _torchvision_network(
    name: str, input_shape: tuple[int, ...], num_outputs: int, options: Mapping[str, Any]
) -> Network:
    """torchvision's model without weights; its last linear layer is the head, all before it the body."""
    channels = image_channels(name, input_shape)
    if channels not in (1, 3):
        raise UserError(f"architecture={name}: takes 1 or 3 channels, the inputs have {channels}; use cnn or resnet20")
    model = _torchvision_model(name, input_shape, num_outputs, options)
    place, head = _last_linear(name, model, num_outputs)
    model.set_submodule(place, nn.Identity())
    body = RepeatGrey(model) if channels == 1 else model
    return Network(body, head, head.in_features)


def _torchvision_options(name: str) -> type[Section]:
    models = _torchvision_models()
    known = models.list_models(module=models)
    if name not in known:
        raise UserError(_unknown(name, [*ARCHITECTURES, *known]))
    parameters = _torchvision_parameters(name)
    plain = {key for key, item in parameters.items() if isinstance(item.default, bool | int | float | str)}
    ours = {key for key in ("init_weights", "image_size", "input_size") if key in parameters}
    return _names_alone(name, sorted((plain | ours) - {"weights", "num_classes", "aux_logits"}))


def _torchvision_parameters(name: str) -> Mapping[str, inspect.Parameter]:
    builder = _torchvision_models().get_model_builder(name)
    return inspect.signature(inspect.signature(builder).return_annotation).parameters


def _torchvision_models() -> ModuleType:
    """Imported when asked for: it costs a worker a second, and most architectures do not need it."""
    return importlib.import_module("torchvision.models")


def _torchvision_model(
    name: str, input_shape: tuple[int, ...], num_outputs: int, options: Mapping[str, Any]
) -> nn.Module:
    parameters = _torchvision_parameters(name)
    fixed: dict[str, Any] = {"weights": None, "num_classes": num_outputs}
    if "aux_logits" in parameters:
        fixed["aux_logits"] = False
    ours = {"init_weights": True, "image_size": input_shape[0], "input_size": input_shape[:2]}
    defaults = {key: value for key, value in ours.items() if key in parameters}
    try:
        return _torchvision_models().get_model_builder(name)(**fixed, **{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise UserError(
            f"architecture={name}: refuses inputs of shape {list(input_shape)} with options={dict(options)} "
            f"({error_in_short(error)}); change one of the three"
        ) from error


def _last_linear(name: str, model: nn.Module, num_outputs: int) -> tuple[str, nn.Linear]:
    linears = [(place, module) for place, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears or linears[-1][1].out_features != num_outputs:
        raise UserError(
            f"architecture={name}: does not end in a linear layer of {num_outputs} outputs; use another architecture"
        )
    return linears[-1]


class RepeatGrey(nn.Module):
    """A body made for three channels on grey images: [B, 1, H, W] -> what `body` makes of [B, 3, H, W]."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.body(images.expand(-1, 3, -1, -1))


# --- the user's own


def _users_options(path: str) -> type[Section]:
    """Names of the function's parameters after input shape and number of outputs; any name where it takes any."""
    function = import_own(path)
    if not callable(function):
        raise UserError(f"is a {type(function).__name__}, not a function; name a function")
    parameters = inspect.signature(function).parameters.values()
    takes_any = any(item.kind is inspect.Parameter.VAR_KEYWORD for item in parameters)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    later = [item for item in list(parameters)[2:] if item.kind in by_name and item.name != _CATEGORIES]
    required = [item.name for item in later if item.default is inspect.Parameter.empty]
    return _names_alone(path, [item.name for item in later], required, takes_any=takes_any)


def _categories_for(path: str, function: Callable[..., Any], categories: tuple[int, ...]) -> dict[str, Any]:
    """The argument `categories` for a function that has it; codes must not be taken for numbers."""
    if _CATEGORIES in inspect.signature(function).parameters:
        return {_CATEGORIES: categories}
    if any(categories):
        number = sum(map(bool, categories))
        raise UserError(
            f"architecture={path}: {number} of the {len(categories)} features are categories, but the function has no "
            f"parameter {_CATEGORIES}; add it (docs/recipes.md), or use mlp, tabm or xdeepfm"
        )
    return {}


def _as_network(path: str, module: Any) -> Network:
    """A module with the three attributes, as a `Network`, so that its weights have the usual names."""
    if isinstance(module, Network):
        return module
    body, head, width = (getattr(module, name, None) for name in ("body", "head", "num_features"))
    if not isinstance(body, nn.Module) or not isinstance(head, nn.Module) or not isinstance(width, int):
        raise UserError(
            f"architecture={path}: returned a {type(module).__name__} without body, head and num_features; "
            "return hydra_ray.models.Network(body, head, num_features)"
        )
    return Network(body, head, width)


# --- options of which the names alone are known


class _Names(Section):
    """Options that are passed on as they are."""

    model_config = ConfigDict(protected_namespaces=())


class _AnyNames(_Names):
    model_config = ConfigDict(extra="allow")


def _names_alone(
    title: str, names: Iterable[str], required: Iterable[str] = (), *, takes_any: bool = False
) -> type[Section]:
    base = _AnyNames if takes_any else _Names
    fields: dict[str, Any] = {name: (Any, ... if name in required else None) for name in names}
    return create_model(title, __base__=base, **fields)


def _unknown(name: str, known: list[str]) -> str:
    near = close_to(name, known, most=3)
    meant = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(ARCHITECTURES)}."
    return f"not known; {meant} Or a name of torchvision.models, timm:NAME, or package.module:function"
