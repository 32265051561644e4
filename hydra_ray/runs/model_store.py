"""Publishing a network in a run folder, weights and JSON file, and loading it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hydra_ray.errors import DivergedError, UserError
from hydra_ray.models import (
    WEIGHTS,
    HydraStudent,
    Member,
    ModelSpec,
    from_model_json,
    load_model,
    to_model_json,
    to_safetensors_bytes,
)
from hydra_ray.storage import Artifact, not_finite, way_out


def publish_model(
    artifact: Artifact,
    model: nn.Module,
    spec: ModelSpec,
    facts: Mapping[str, Any],
    beside: Mapping[str, bytes] | None = None,
) -> int:
    """Publish the weights and the JSON file with spec, fingerprint and `facts`; checkpoints are removed.

    Args:
        artifact: where.
        model: with its weights.
        spec: what rebuilds it.
        facts: further entries of the JSON file.
        beside: further files by name.

    Returns:
        The bytes of all files but the JSON file.

    Raises:
        DivergedError: a weight or a figure is not finite; nothing is published.
    """
    broken = [*_weights_not_finite(model), *not_finite(facts)]
    if broken:
        raise DivergedError(
            f"{artifact.folder}: {broken[0]} is not finite, so it is not published; lower learning_rate"
        )
    files = {WEIGHTS: to_safetensors_bytes(model), **(beside or {})}
    artifact.publish_files(to_model_json(spec, facts), files)
    return sum(map(len, files.values()))


def load_published(artifact: Artifact, device: torch.device | str = "cpu") -> Member | HydraStudent:
    """Load the published network onto `device`, in evaluation mode.

    Raises:
        UserError: nothing valid is published there, it is damaged, or a weight is not finite.
    """
    manifest = artifact.require()
    weights = artifact.read(WEIGHTS)
    model = load_model(from_model_json(manifest), weights, device)
    for name in _weights_not_finite(model):
        raise UserError(f"{artifact.folder}/{WEIGHTS}: {name} is not finite; {way_out(artifact.folder)}")
    return model


def _weights_not_finite(model: nn.Module) -> list[str]:
    return [name for name, value in model.state_dict().items() if not value.isfinite().all()]
