"""Publishing a network in a run folder, weights and `model.json`, and loading it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hydra_ray.errors import DivergedError, UserError
from hydra_ray.models import (
    HydraStudent,
    Member,
    ModelSpec,
    from_model_json,
    load_model,
    to_model_json,
    to_safetensors_bytes,
)
from hydra_ray.storage import Artifact, not_finite, read_checked, way_out

WEIGHTS = "model.safetensors"


def publish_model(artifact: Artifact, model: nn.Module, spec: ModelSpec, facts: Mapping[str, Any]) -> None:
    """Publish the weights and `model.json` with spec, fingerprint and `facts`; checkpoints of the training are removed.

    Raises:
        DivergedError: a weight or a figure is not finite; nothing is published.
    """
    broken = [*_weights_not_finite(model), *not_finite(facts)]
    if broken:
        raise DivergedError(
            f"{artifact.folder}: {broken[0]} is not finite, so it is not published; lower learning_rate"
        )
    artifact.attempt.write(WEIGHTS, to_safetensors_bytes(model))
    artifact.publish(to_model_json(spec, facts), [WEIGHTS])


def load_published(artifact: Artifact, device: torch.device | str = "cpu") -> Member | HydraStudent:
    """Load the published network onto `device`, in evaluation mode.

    Raises:
        UserError: nothing valid is published there, it is damaged, or a weight is not finite.
    """
    manifest = artifact.require()
    weights = read_checked(artifact.folder, WEIGHTS, manifest["files"])
    model = load_model(from_model_json(manifest), weights, device)
    for name in _weights_not_finite(model):
        raise UserError(f"{artifact.folder}/{WEIGHTS}: {name} is not finite; {way_out(artifact.folder)}")
    return model


def _weights_not_finite(model: nn.Module) -> list[str]:
    return [name for name, value in model.state_dict().items() if not value.isfinite().all()]
