"""tune: Ray Tune over the student, on the shards that are there; M is searched by slicing their member axis.

A trial that needs one worker is a plain function, in processes that are used again for the next trial; the rows are
put into the object store once where they fit. A trial of several workers runs Ray Train inside. A killed search
goes on with the trials that are left.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.train
import ray.train.torch
import torch
import yaml
from ray import tune
from ray.train import RunConfig as TrainRunConfig
from ray.train import ScalingConfig
from ray.train.torch import TorchTrainer
from ray.tune.integration.ray_train import TuneReportCallback
from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchAlgorithm, Searcher
from ray.tune.search.optuna import OptunaSearch

from hydra_ray.cluster.failures import full_text, one_line
from hydra_ray.cluster.interrupts import interrupts_kept, raise_if_interrupted
from hydra_ray.cluster.process_group import torch_config
from hydra_ray.cluster.relay import Event, relay
from hydra_ray.cluster.session import available
from hydra_ray.cluster.students import Source, source_of
from hydra_ray.config import Config, TuneConfig, with_overlay
from hydra_ray.distillation import Report, distil
from hydra_ray.errors import StageError
from hydra_ray.predictions import Predictions, load
from hydra_ray.randomness import in_32_bits, seed_of
from hydra_ray.stages import Run
from hydra_ray.storage import Folder
from hydra_ray.tracking import Stage, Tracker, WandbSink
from hydra_ray.training import Ranks

TRIALS = "trials"
_MAILBOX = "hydra-ray-trials"
_DRIVER_CPUS = 0.1  # of a trial that only waits for its own workers
_WORKER_SHARE = 0.9  # of a worker's CPUs, which leaves room for that


@dataclass(frozen=True)
class _Job:
    """What every trial gets, through the object store.

    Attributes:
        config: the run's.
        source: the shards.
        validation: rows to compare trials on.
        transfer: rows to learn from, None where a trial reads them itself.
    """

    config: Config
    source: Source
    validation: Predictions
    transfer: Predictions | None


def search(run: Run, stage: Stage, tracker: Tracker) -> None:
    """Run the trials that are left, write `trials.parquet` and `best.yaml`, publish."""
    config, artifact = run.config, run.search()
    source = source_of(run)
    job = _Job(config, source, load(source.validation), _rows_that_fit(source))
    record = _Record(stage, tracker, config.tune)
    with relay(record.handle, name=_MAILBOX), interrupts_kept():
        results = _tuner(config, job, artifact.attempt).fit()
    record.close()
    table = trials_table(results, config.tune)
    best = best_trial(table, config.tune)
    (artifact.attempt / TRIALS).remove()
    with artifact.attempt.writing("trials.parquet") as stream:
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), stream)
    artifact.attempt.write("best.yaml", yaml.safe_dump({"distill": best["parameters"]}).encode())
    artifact.publish({"trials": len(table), "best": best})
    stage.event("best", **best)
    stage.say(f"best: {_words(best['parameters'])} ({config.tune.objective} {best['objective']:.4f})")


def _rows_that_fit(source: Source) -> Predictions | None:
    """The transfer rows, if they take less than half of the object store."""
    store = ray.cluster_resources().get("object_store_memory", 0)
    on_disk = sum(source.transfer.files().values())
    return load(source.transfer) if on_disk < store / 4 else None


def _tuner(config: Config, job: _Job, attempt: Folder) -> tune.Tuner:
    """The search that was killed, or a new one."""
    trainable = _trainable(config, job)
    place = f"{attempt.path}/{TRIALS}"
    if tune.Tuner.can_restore(place, storage_filesystem=attempt.fs):
        try:
            return tune.Tuner.restore(
                place, trainable, storage_filesystem=attempt.fs, resume_unfinished=True, restart_errored=True
            )
        except Exception:  # killed while Tune wrote its own state, which is then half a pickle: begin again
            (attempt / TRIALS).remove()
    return _new_tuner(config, trainable, attempt)


def _new_tuner(config: Config, trainable: Any, attempt: Folder) -> tune.Tuner:
    settings = config.tune
    return tune.Tuner(
        trainable,
        param_space={key: domain_of(domain) for key, domain in settings.space.items()},
        tune_config=tune.TuneConfig(
            metric=settings.objective,
            mode=settings.direction,
            num_samples=settings.num_trials,
            reuse_actors=settings.workers_per_trial == 1,
            scheduler=_scheduler(config),
            search_alg=_searcher(config),
        ),
        run_config=tune.RunConfig(
            name=TRIALS,
            storage_path=attempt.path,
            storage_filesystem=attempt.fs,
            callbacks=[_Forward()],
            verbose=0,
        ),
    )


def concurrent_trials(config: Config) -> int:
    """Trials at a time: as many as the resources hold, or fewer if told so."""
    cpus, gpus = available(config.cluster)
    workers, cluster = config.tune.workers_per_trial, config.cluster
    fit = cpus / (workers * cluster.cpus_per_worker)
    if cluster.use_gpu:
        fit = min(fit, gpus / workers)
    return max(1, min(int(fit), config.tune.max_concurrent or config.tune.num_trials))


def domain_of(domain: Any) -> Any:
    """A list of choices, or `{low, high, log}`, as Tune has it; whole numbers stay whole, `high` included."""
    if isinstance(domain, list):
        return tune.choice(domain)
    low, high, log = domain["low"], domain["high"], domain.get("log", False)
    if isinstance(low, int) and isinstance(high, int):
        return tune.lograndint(low, high + 1) if log else tune.randint(low, high + 1)
    return tune.loguniform(low, high) if log else tune.uniform(low, high)


def _num_epochs(config: Config) -> int:
    return config.distill.mean_epochs + (config.tune.epochs or config.distill.epochs)


def _scheduler(config: Config) -> TrialScheduler:
    grace = min(config.tune.grace_epochs + config.distill.mean_epochs, _num_epochs(config))
    if config.tune.scheduler == "asha":
        # one more than there are: a trial that is stopped at its last epoch would not give its workers back itself
        return AsyncHyperBandScheduler(max_t=_num_epochs(config) + 1, grace_period=grace, reduction_factor=2)
    if config.tune.scheduler == "median":
        return MedianStoppingRule(time_attr="training_iteration", grace_period=grace)
    return FIFOScheduler()


def _searcher(config: Config) -> Searcher | SearchAlgorithm:
    seed = in_32_bits(seed_of(config.seed, "search", "hydra"))
    if config.tune.search == "optuna":
        return ConcurrencyLimiter(OptunaSearch(seed=seed), max_concurrent=concurrent_trials(config))
    return BasicVariantGenerator(random_state=seed, max_concurrent=concurrent_trials(config))


def _trainable(config: Config, job: _Job) -> Any:
    cluster = config.cluster
    if config.tune.workers_per_trial > 1:
        return tune.with_resources(tune.with_parameters(_distributed_trial, job=job), {"CPU": _DRIVER_CPUS})
    resources = {"CPU": cluster.cpus_per_worker, **({"GPU": 1.0} if cluster.use_gpu else {})}
    return tune.with_resources(tune.with_parameters(_trial, job=job), resources)


def _trial(parameters: dict[str, Any], job: _Job) -> None:
    """One trial in one process."""
    torch.set_num_threads(max(1, int(job.config.cluster.cpus_per_worker)))
    device = torch.device("cuda" if job.config.cluster.use_gpu else "cpu")
    _fit(parameters, job, Ranks(), device, tune.report)


def _distributed_trial(parameters: dict[str, Any], job: _Job) -> None:
    """One trial as a Ray Train run of its own; its figures reach Tune through the callback."""
    cluster = job.config.cluster
    cpus = cluster.cpus_per_worker * _WORKER_SHARE
    TorchTrainer(
        _trial_worker,
        train_loop_config={"parameters": parameters, "job": job},
        torch_config=torch_config(),
        scaling_config=ScalingConfig(
            num_workers=job.config.tune.workers_per_trial,
            use_gpu=cluster.use_gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if cluster.use_gpu else {})},
        ),
        run_config=TrainRunConfig(
            name=f"trial-{uuid.uuid4().hex[:8]}",
            storage_path=tune.get_context().get_trial_dir(),
            callbacks=[TuneReportCallback()],
        ),
    ).fit()


def _trial_worker(arguments: dict[str, Any]) -> None:
    job = arguments["job"]
    torch.set_num_threads(max(1, int(job.config.cluster.cpus_per_worker)))
    context = ray.train.get_context()
    ranks = Ranks(context.get_world_rank(), context.get_world_size())
    _fit(arguments["parameters"], job, ranks, ray.train.torch.get_device(), ray.train.report)


def _fit(parameters: dict[str, Any], job: _Job, ranks: Ranks, device: torch.device, report: Report) -> None:
    epochs = {"epochs": job.config.tune.epochs} if job.config.tune.epochs else {}
    config = with_overlay(job.config, {"distill": {**epochs, **parameters}}, "tune")
    plan = job.source.plan(config, "hydra", job.validation.inputs.shape[1:])
    batches = job.source.batches(config, plan, ranks, rows=job.transfer)
    distil(
        plan,
        batches,
        job.validation,
        job.source.ends(plan.num_members),
        device=device,
        ranks=ranks,
        checkpoints=None,
        report=report,
    )


def trials_table(results: tune.ResultGrid, settings: TuneConfig) -> pd.DataFrame:
    """One row a trial: its parameters, its last objective, epochs, and whether it was stopped early or failed."""
    rows = []
    longest = max((r.metrics or {}).get("training_iteration", 0) for r in results)
    for result in results:
        figures = result.metrics or {}
        epochs = figures.get("training_iteration", 0)
        rows.append(
            {
                "trial": figures.get("trial_id", "?"),
                **{key: (result.config or {})[key] for key in settings.space},
                "objective": figures.get(settings.objective),
                "epochs": epochs,
                "stopped_early": result.error is None and epochs < longest,
                "seconds": figures.get("time_total_s"),
                "error": None if result.error is None else one_line(result.error, full_text(result.error)),
            }
        )
    return pd.DataFrame(rows)


def best_trial(table: pd.DataFrame, settings: TuneConfig) -> dict[str, Any]:
    """Parameters and objective of the best trial.

    Raises:
        StageError: no trial has reported anything.
    """
    scored = table.dropna(subset=["objective"])
    if scored.empty:
        errors = "; ".join(str(error) for error in table["error"].dropna().unique()[:2])
        raise StageError(f"tune: all {len(table)} trials failed: {errors}")
    objective = scored["objective"]
    row = scored.loc[objective.idxmin() if settings.direction == "min" else objective.idxmax()]
    parameters = {key: json.loads(json.dumps(row[key], default=lambda value: value.item())) for key in settings.space}
    return {"parameters": parameters, "objective": float(row["objective"]), "trial": row["trial"]}


def _words(parameters: dict[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in parameters.items()
    )


class _Forward(tune.Callback):
    """Sends what happens to trials to the relay.

    Tune pickles its callbacks, to have them when a search is restored; so this one knows no more than an actor's name.
    """

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        figures = {
            key: result[key] for key in result if key.startswith("validation_") or key in ("epoch", "loss", "phase")
        }
        _send({"event": "trial_epoch", "trial": trial.trial_id, "parameters": trial.config, **figures})

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        figures = {key: value for key, value in (trial.last_result or {}).items() if key.startswith("validation_")}
        _send({"event": "trial", "trial": trial.trial_id, "parameters": trial.config, **figures})

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        raise_if_interrupted()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        _send({"event": "trial_failed", "trial": trial.trial_id, "parameters": trial.config})


def _send(event: Event) -> None:
    ray.get_actor(_MAILBOX).put.remote(event)


class _Record:
    """Trials' figures to events.jsonl, the terminal and W&B."""

    def __init__(self, stage: Stage, tracker: Tracker, settings: TuneConfig) -> None:
        self._stage, self._tracker, self._settings = stage, tracker, settings
        self._sinks: dict[str, WandbSink | None] = {}
        self._finished = 0

    def handle(self, event: Event) -> None:
        """One event of the relay."""
        facts = {key: value for key, value in event.items() if key != "event"}
        self._stage.event(event["event"], **facts)
        if event["event"] == "trial_epoch":
            self._log(facts)
            return
        self._finished += 1
        value = event.get(self._settings.objective)
        outcome = "failed" if value is None else f"{self._settings.objective} {value:.4f}"
        self._stage.say(f"[{self._finished}/{self._settings.num_trials}] {_words(event['parameters'])}: {outcome}")
        self._close(event["trial"])

    def close(self) -> None:
        """End whatever W&B runs are open."""
        for trial in list(self._sinks):
            self._close(trial)

    def _log(self, facts: dict[str, Any]) -> None:
        trial = facts["trial"]
        if trial not in self._sinks:
            self._sinks[trial] = self._tracker.trial_sink(trial, facts["parameters"])
        sink = self._sinks[trial]
        if sink is not None:
            sink.log({key: value for key, value in facts.items() if isinstance(value, (int, float))})

    def _close(self, trial: str) -> None:
        sink = self._sinks.pop(trial, None)
        if sink is not None:
            sink.close()
