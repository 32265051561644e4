"""Models to bytes and back: safetensors for weights, JSON for what rebuilds the module. Never a pickle.

It is: `model.safetensors` as bytes, the content of the JSON file beside it (a member's `model.json`, a student's
`config.json`), and the exact module from both.
It is not: storage. Whoever calls writes and reads the bytes, on whatever file system.

Reading one whose architecture is an import path imports that function: read only files you trust
as much as your own code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from hydra_ray.errors import UserError, reason_of
from hydra_ray.models.members import Member, ModelSpec, build_member
from hydra_ray.models.student import HydraStudent, build_student
from hydra_ray.randomness import THROWN_AWAY

WEIGHTS = "model.safetensors"


def build_model(spec: ModelSpec) -> Member | HydraStudent:
    """The module that `spec` describes, its weights still arbitrary; the global generator is left as it was.

    Raises:
        UserError: see `networks.build_network`.
    """
    return build_student(spec, THROWN_AWAY) if spec.kind == "student" else build_member(spec, THROWN_AWAY)


def to_safetensors_bytes(model: nn.Module) -> bytes:
    """The content of `model.safetensors`: every parameter and buffer, bit for bit, from whatever device."""
    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    return safetensors.torch.save(state)


def load_model(
    spec: ModelSpec, weights: bytes | str | Path, device: torch.device | str = "cpu"
) -> Member | HydraStudent:
    """The module of `spec` with the weights of a `model.safetensors` (its bytes or a local path), evaluating.

    Raises:
        UserError: the file is damaged or missing, or belongs to another model.
    """
    name = WEIGHTS if isinstance(weights, bytes) else str(weights)
    model = build_model(spec)
    try:
        model.load_state_dict(_read(weights))
    except (SafetensorError, OSError) as error:
        raise UserError(f"{name}: cannot be read ({error}); run the stage that wrote it again") from error
    except RuntimeError as error:
        reason = reason_of(error, 300)
        raise UserError(
            f"{name}: not the weights of a {spec.kind} with architecture={spec.architecture} ({reason}); "
            "take the JSON file of the same folder, or run the stage that wrote it again"
        ) from error
    return model.to(device).eval()


def to_model_json(spec: ModelSpec, facts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The content of the JSON file: `spec`, and beside it `facts` such as seed, fingerprint or calibration."""
    return {**(facts or {}), "spec": spec.to_json()}


def from_model_json(content: Mapping[str, Any]) -> ModelSpec:
    """The spec in the content of the JSON file.

    Raises:
        UserError: there is none, or one of another version.
    """
    try:
        return ModelSpec.from_json(content["spec"])
    except (KeyError, TypeError) as error:
        raise UserError(
            f"the JSON file beside {WEIGHTS} holds no model specification we know ({error}); "
            "run the stage that wrote it again"
        ) from error


def _read(weights: bytes | str | Path) -> dict[str, Tensor]:
    if isinstance(weights, bytes):
        return safetensors.torch.load(weights)
    return safetensors.torch.load_file(weights)
