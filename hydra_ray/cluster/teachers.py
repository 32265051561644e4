"""What is asked of teachers in Ray tasks beside their predictions: the variance of those that give a mean alone, and
how long they take for an answer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import numpy as np

from hydra_ray.cluster.place_of_work import submit
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import Config
from hydra_ray.data import Split
from hydra_ray.runs import Run
from hydra_ray.teachers import AskedTeachers, Teachers

_ROWS_AT_ONCE = 4096


def residual_variances(run: Run) -> np.ndarray | None:
    """Variance of each of a run's teachers that give a mean alone, [M], squared target units; None for all others."""
    if run.teachers is None or run.teachers.outputs != "mean":
        return None
    return submit(_residual_variances, run.config.cluster, run.teachers, run.data.splits["validation"], run.config)()


def teachers_latencies(run: Run, batches: Sequence[int]) -> dict[str, float] | None:
    """Milliseconds until all teachers have answered so many rows; None for those that are not asked."""
    if not isinstance(run.teachers, AskedTeachers):
        return None
    return submit(_latencies, run.config.cluster, run.teachers, batches, run.config)()


def _residual_variances(teachers: Teachers, validation: Split, config: Config) -> np.ndarray:
    """Mean squared error of each teacher's means on validation rows: float64 [M], squared target units.

    It is the variance of a Gaussian of one width that fits them best, as members with `ensemble.likelihood=mse` have.
    """
    set_up_worker(config.cluster)
    squares = np.zeros(config.ensemble.num_members)
    counts = np.zeros(config.ensemble.num_members)
    for start, stop in validation.chunks(_ROWS_AT_ONCE):
        rows = validation.read(start, stop)
        assert rows.labels is not None
        found = teachers.answer("validation", "validation", rows, 0)
        answered = np.ones(found.outputs_NMC.shape[:2]) if found.mask_NM is None else found.mask_NM > 0
        errors = found.outputs_NMC[..., 0].astype(np.float64) - rows.labels[:, None]
        squares += (answered * np.square(errors)).sum(axis=0)
        counts += answered.sum(axis=0)
    return squares / np.maximum(counts, 1)


def _latencies(teachers: AskedTeachers, batches: Sequence[int], config: Config) -> dict[str, float]:
    """Milliseconds until all teachers have answered the first so many test rows, for each size of a batch."""
    set_up_worker(config.cluster)
    test = teachers.data.splits["test"]
    known = test.read(0, int(test.row_ids()[: max(batches)][-1]) + 1)
    latencies = {}
    for size in batches:
        rows = np.arange(size) % len(known)  # a small test split is shown again
        inputs = known.inputs[rows]
        row_id = known.row_id[rows]
        teachers.ask(inputs, row_id)
        times = []
        for _ in range(config.evaluate.latency_repeats):
            begin = time.perf_counter()
            teachers.ask(inputs, row_id)
            times.append(time.perf_counter() - begin)
        latencies[str(size)] = round(1e3 * statistics.median(times), 4)
    return latencies
