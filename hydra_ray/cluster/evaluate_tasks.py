"""What evaluate's tasks do. Their processes import no report and no pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config, StudentKind
from hydra_ray.models import Ensemble, HydraStudent, Member, count_macs, latency_ms, num_parameters
from hydra_ray.runs import load_published
from hydra_ray.shards import ShardReader, ShardRows, concatenate
from hydra_ray.storage import Artifact, Folder
from hydra_ray.training import predict

LATENCY_BATCHES = (1, 256)
"""Rows of the requests whose latency is measured."""


def ask_students(
    students: Mapping[StudentKind, Artifact], folder: Folder, keep_inputs: bool, config: Config
) -> tuple[ShardRows, dict[StudentKind, np.ndarray]]:
    """What the members have said of a split's rows, and what students say: outputs [N, M, C]. Each shard is read once.

    Args:
        students: who is asked.
        folder: of the split's shards.
        keep_inputs: whether the rows are to come with their inputs.
        config: of the run.
    """
    device = set_up_worker(config.cluster)
    loaded = {kind: load_published(artifact, device) for kind, artifact in students.items()}
    said: dict[StudentKind, list[np.ndarray]] = {kind: [] for kind in loaded}
    parts = []
    shards = ShardReader(folder)
    for name in shards.names:
        rows = shards.read(name, num_members=config.ensemble.num_members)
        for kind, student in loaded.items():
            assert isinstance(student, HydraStudent)
            said[kind].append(predict(student, rows.inputs).numpy())
        parts.append(rows if keep_inputs else replace(rows, inputs=rows.inputs[:, :0].copy()))
    return concatenate(parts), {kind: np.concatenate(outputs) for kind, outputs in said.items()}


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
