"""One trial of the search on its workers: trains a student on the shards and reports its validation figures to Tune.

A trial on one worker is a plain function, in a process that the next trial uses again; one on several workers runs Ray
Train inside. An exception in a trial is reported as its result, so that Tune restarts only trials whose process died:
it cannot tell the two apart. Which trials there are, and when they are stopped, is in `trial_control.py`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import Any

import ray.train
import torch
from ray import tune
from ray.train import RunConfig, ScalingConfig, TrainingFailedError
from ray.tune.integration.ray_train import TuneReportCallback

from hydra_ray.cluster.distill import StudentInputs, StudentRows
from hydra_ray.cluster.failures import cause_of, full_text, is_death, one_line
from hydra_ray.cluster.trainer import Trainer
from hydra_ray.cluster.worker_setup import resources_of_worker, set_up_worker
from hydra_ray.cluster.workers import ranks_of_train
from hydra_ray.config import MACS, Config, StudentKind, overlay_of, with_overlay
from hydra_ray.models import build_student, count_macs
from hydra_ray.training import DistributedContext, Report, distil

FAILED = "failed"
"""Key of a result that says why the trial failed."""
_DRIVER_CPUS = 0.1  # of a trial that only waits for its own workers
_WORKER_SHARE = 0.9  # of a worker's CPUs, which leaves room for that


@dataclass(frozen=True)
class Job:
    """What every trial needs, passed through the object store.

    Attributes:
        config: the run's.
        source: the shards.
        rows: those that all trials read.
    """

    config: Config
    source: StudentInputs
    rows: StudentRows


@dataclass(frozen=True)
class TrialWork:
    """Tune's `config` of a trial: its kind of student, its number and its parameters."""

    kind: StudentKind
    number: int
    parameters: dict[str, Any]

    @classmethod
    def of(cls, config: dict[str, Any]) -> TrialWork:
        """Read Tune's `config`."""
        return cls(config["kind"], config["number"], config["parameters"])

    def to_config(self) -> dict[str, Any]:
        """Write it as Tune's `config`."""
        return {"kind": self.kind, "number": self.number, "parameters": self.parameters}


def trainable(job: Job) -> Any:
    """The function that Tune runs for each trial, with its resources."""
    cluster = job.config.cluster
    if job.config.tune.workers_per_trial > 1:
        return tune.with_resources(tune.with_parameters(_distributed_trial, job=job), {"CPU": _DRIVER_CPUS})
    resources = resources_of_worker(cluster, cluster.cpus_per_worker)
    return tune.with_resources(tune.with_parameters(_trial, job=job), resources)


def _trial(config: dict[str, Any], job: Job) -> None:
    """Run one trial in this process."""
    device = set_up_worker(job.config.cluster)
    try:
        _fit(TrialWork.of(config), job, DistributedContext(), device, tune.report)
    except Exception as error:
        tune.report({FAILED: one_line(error)})


def _distributed_trial(config: dict[str, Any], job: Job) -> None:
    """Run one trial as a Ray Train run; a callback passes its figures to Tune."""
    try:
        _trainer(config, job).fit()
    except TrainingFailedError as error:
        cause = cause_of(error)
        if is_death(cause):
            raise
        tune.report({FAILED: one_line(cause, full_text(error))})


def _trainer(config: dict[str, Any], job: Job) -> Trainer:
    cluster = job.config.cluster
    cpus = cluster.cpus_per_worker * _WORKER_SHARE
    return Trainer(
        _trial_worker,
        (TrialWork.of(config), job),
        scaling_config=ScalingConfig(
            num_workers=job.config.tune.workers_per_trial,
            use_gpu=cluster.has_gpu,
            resources_per_worker=resources_of_worker(cluster, cpus),
        ),
        run_config=RunConfig(
            name=f"trial-{uuid.uuid4().hex[:8]}",
            storage_path=tune.get_context().get_trial_dir(),
            callbacks=[TuneReportCallback()],
        ),
    )


def _trial_worker(arguments: tuple[TrialWork, Job]) -> None:
    work, job = arguments
    device = set_up_worker(job.config.cluster)
    _fit(work, job, ranks_of_train(), device, ray.train.report)


def _fit(work: TrialWork, job: Job, ranks: DistributedContext, device: torch.device, report: Report) -> None:
    """Train a trial's student; whatever it has heads for, its figures compare it with all members."""
    epochs = {"epochs": job.config.tune.epochs} if job.config.tune.epochs else {}
    config = with_overlay(job.config, overlay_of(work.kind, {**epochs, **work.parameters}), "tune")
    own = job.source.plan(config, work.kind, job.rows.held_out.rows.inputs.shape[1:])
    plan = replace(own, compared_with=job.source.num_members)
    macs = count_macs(build_student(plan.spec, seed=0), plan.spec.input_shape)
    distil(
        plan,
        job.source.batches(config, plan, ranks, job.rows),
        job.rows.held_out,
        job.source.scaling(job.rows, plan.num_members),
        device=device,
        ranks=ranks,
        checkpoints=None,
        report=lambda figures: report({**figures, MACS: macs}),
    )
