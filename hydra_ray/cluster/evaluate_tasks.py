"""What evaluate's tasks do. Their processes import no report and no pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config
from hydra_ray.data import SplitId
from hydra_ray.models import Ensemble, HydraStudent, Member, count_macs, latency_ms, num_parameters
from hydra_ray.runs import load_published
from hydra_ray.shards import ShardReader
from hydra_ray.storage import Artifact, Folder
from hydra_ray.training import predict

LATENCY_BATCHES = (1, 256)
"""Rows of the requests whose latency is measured."""


def ask_student(artifact: Artifact, splits: dict[SplitId, Folder], config: Config) -> dict[SplitId, np.ndarray]:
    """A student's outputs [N, M, C] on every split, a shard at a time."""
    student = load_published(artifact, set_up_worker(config.cluster))
    assert isinstance(student, HydraStudent)
    answers = {}
    for split, folder in splits.items():
        shards = ShardReader(folder)
        answers[split] = np.concatenate([predict(student, shards.read(part).inputs).numpy() for part in shards.names])
    return answers


def measure_cost(artifacts: Sequence[Artifact], config: Config) -> dict[str, Any]:
    """Parameters, multiply-adds of a row and latencies of a network, or of several as one predictor."""
    device = set_up_worker(config.cluster)
    models = [load_published(artifact, device) for artifact in artifacts]
    members = [model for model in models if isinstance(model, Member)]
    model = Ensemble(members) if len(members) > 1 else models[0]
    shape = models[0].spec.input_shape
    repeats = config.evaluate.latency_repeats
    return {
        "num_parameters": sum(num_parameters(each) for each in models),
        "macs": sum(count_macs(each, shape) for each in models),
        "latency_ms": {str(size): round(latency_ms(model, shape, size, repeats), 4) for size in LATENCY_BATCHES},
    }
