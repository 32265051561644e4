"""Networks in run folders: publishing one with its weights and `model.json`, and reading it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from hydra_ray.manifests import read_checked
from hydra_ray.models.files import from_model_json, load_model, to_model_json, to_safetensors_bytes
from hydra_ray.models.hydra import HydraStudent
from hydra_ray.models.members import Member, ModelSpec
from hydra_ray.runs import Artifact

WEIGHTS = "model.safetensors"


def publish_model(artifact: Artifact, model: nn.Module, spec: ModelSpec, facts: Mapping[str, Any]) -> None:
    """Weights, then `model.json` with spec, fingerprint and `facts`; checkpoints of the fit go."""
    for name in artifact.attempt.files():
        artifact.attempt.delete(name)
    artifact.attempt.write(WEIGHTS, to_safetensors_bytes(model))
    artifact.publish(to_model_json(spec, facts))


def load_published(artifact: Artifact, device: torch.device | str = "cpu") -> Member | HydraStudent:
    """The published network, evaluating, on `device`.

    Raises:
        UserError: nothing is published there, or it is another's or damaged.
    """
    manifest = artifact.require()
    weights = read_checked(artifact.folder, WEIGHTS, manifest["files"])
    return load_model(from_model_json(manifest), weights, device)
