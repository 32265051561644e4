"""tune: Ray Tune searches each kind of student on the published shards; M is searched by slicing their member axis.

The kinds are searched one after the other in one Tune session, whose processes are used again; the rows are put into
the object store once if they fit. Each finished trial is a file of the attempt, so that a killed search resumes with
the trials that are left and finds what it would have found without the interruption. Another budget takes another of
the same trials, and runs none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.tune
import yaml

from hydra_ray.cluster.distill import student_inputs_of
from hydra_ray.cluster.progress import Event, progress_channel
from hydra_ray.cluster.session import SCRATCH, available
from hydra_ray.cluster.signals import interrupts_kept
from hydra_ray.cluster.trial_control import CHANNEL, Forward, InOrder, KindSearch, StopInOrder
from hydra_ray.cluster.trial_jobs import Job, trainable
from hydra_ray.config import MACS, Config, Goal, StudentKind, goal_of, overlay_of, space_of
from hydra_ray.errors import StageError, UserError
from hydra_ray.models import build_member, count_macs
from hydra_ray.runs import Pace, Run, Stage, WandbSink
from hydra_ray.runs.gpus import most_workers
from hydra_ray.shards import Sharing
from hydra_ray.storage import Folder, find_published, fingerprint, read_checked, sealed, unsealed
from hydra_ray.training import StoppingRule, Trial, best_of, table_of

TRIALS = "trials"


def tune(run: Run, stage: Stage) -> None:
    """Run the trials that are left of each unfinished search; publish its `trials.parquet` and `best.yaml`."""
    kinds = [kind for kind in run.searched_kinds if not run.search(kind).is_done]
    searches = [_search_of(run, kind) for kind in kinds if not _has_all_trials(run, kind)]
    for kind in kinds:
        _say_what_is_compared(run.config, kind, stage)
    member_macs = _member_macs(run)
    if not all(trial.is_over for each in searches for trial in each.trials):
        _run_trials(run, searches, _Record(stage, run, searches, member_macs))
    rows = {each.kind: table_of(each.trials, list(each.space), each.goal, each.rule, member_macs) for each in searches}
    for kind in kinds:
        _publish(run, kind, rows[kind] if kind in rows else _published_rows(run, kind), stage)


def _has_all_trials(run: Run, kind: StudentKind) -> bool:
    """Whether a search is published that had the same trials, and took one of them by another budget."""
    manifest = run.search(kind).manifest()
    if manifest is None:
        return False
    key = {name: value for name, value in manifest["key"].items() if name != "budget"}
    return fingerprint(key) == run.trials(kind).fingerprint


def _published_rows(run: Run, kind: StudentKind) -> list[dict[str, Any]]:
    artifact = run.search(kind)
    manifest, files = find_published(artifact.folder, artifact.manifest_name)
    assert manifest is not None
    table = read_checked(files, "trials.parquet", manifest["files"])
    return pq.read_table(pa.BufferReader(table)).to_pylist()


def _say_what_is_compared(config: Config, kind: StudentKind, stage: Stage) -> None:
    goal = goal_of(kind, config.tune)
    missing = [name for name in config.tune.objectives if name not in goal.objectives]
    if missing:
        stage.say(f"{kind}: has no {' and no '.join(missing)}; compared by {' and '.join(goal.objectives)}")


def _member_macs(run: Run) -> float | None:
    """Multiply-adds of a member, the mean where they differ; None where none is trained here."""
    if not run.config.trains_members:
        return None
    groups = run.config.ensemble.groups
    specs = [run.group_spec(place) for place in range(len(groups))]
    macs = [count_macs(build_member(spec, seed=0), spec.input_shape) for spec in specs]
    counts = [group.count for group in groups]
    return sum(count * each for count, each in zip(counts, macs, strict=True)) / sum(counts)


def _search_of(run: Run, kind: StudentKind) -> KindSearch:
    """The search for a kind of student, with the trials that an earlier command finished."""
    config = run.config
    settings = config.tune
    folder = run.trials(kind).attempt / TRIALS
    num_epochs = config.distill.mean_phase_epochs + (settings.epochs or config.distill.epochs)
    trials = [Trial(number, {}) for number in range(settings.num_trials)]
    for number, trial in enumerate(trials):
        trials[number] = _finished(folder, trial) or trial
    rule = StoppingRule.of(settings, config.distill.mean_phase_epochs, num_epochs)
    space = space_of(kind, settings)
    return KindSearch(kind, space, settings.search, config.seed, goal_of(kind, settings), rule, trials)


def _finished(folder: Folder, trial: Trial) -> Trial | None:
    try:
        found = unsealed(folder, _file_of(trial))
    except UserError:  # half of a file, or a damaged one: it costs no more than to run the trial again
        return None
    return None if found is None else Trial.from_json(found)


def _file_of(trial: Trial) -> str:
    return f"{trial.name}.json"


def _run_trials(run: Run, searches: Sequence[KindSearch], record: _Record) -> None:
    """Run all trials that are not over.

    Raises:
        StageError: a trial's process died more often than `cluster.max_failures` allows.
    """
    source = student_inputs_of(run)
    scratch = run.folder / SCRATCH
    store = ray.cluster_resources().get("object_store_memory", 1)
    rows = source.rows(int(store), Sharing())  # of the transfer set if they take at most half of it
    job = Job(run.config, source, rows)
    try:
        with progress_channel(record.handle, name=CHANNEL), interrupts_kept():
            _tuner(run.config, job, searches, scratch).fit()
    finally:
        record.close()
        scratch.remove()
    record.require_all()


def _tuner(config: Config, job: Job, searches: Sequence[KindSearch], scratch: Folder) -> ray.tune.Tuner:
    left = sum(not trial.is_over for each in searches for trial in each.trials)
    return ray.tune.Tuner(
        trainable(job),
        tune_config=ray.tune.TuneConfig(
            num_samples=left,
            reuse_actors=config.tune.workers_per_trial == 1,
            scheduler=StopInOrder(searches),
            search_alg=InOrder(searches, concurrent_trials(config)),
            trial_dirname_creator=_directory_of,
        ),
        run_config=ray.tune.RunConfig(
            name=TRIALS,
            storage_path=scratch.path,
            storage_filesystem=scratch.fs,
            failure_config=ray.tune.FailureConfig(max_failures=config.cluster.max_failures),
            callbacks=[Forward()],
            verbose=0,
        ),
    )


def _directory_of(trial: Any) -> str:
    return f"{trial.config['kind']}-{trial.config['number']:03d}"


def concurrent_trials(config: Config) -> int:
    """Number of trials at a time: as many as CPUs and GPUs allow, or `tune.max_concurrent` if that is fewer."""
    cpus, gpus = available(config.cluster)
    workers = config.tune.workers_per_trial
    cluster = config.cluster
    fit = cpus / (workers * cluster.cpus_per_worker)
    if cluster.has_gpu:
        fit = min(fit, most_workers(cluster, gpus) / workers)
    return max(1, min(int(fit), config.tune.max_concurrent or config.tune.num_trials))


def _publish(run: Run, kind: StudentKind, rows: Sequence[Mapping[str, Any]], stage: Stage) -> None:
    tune = run.config.tune
    artifact = run.search(kind)
    attempt = artifact.attempt
    goal = goal_of(kind, tune)
    best = best_of(rows, list(space_of(kind, tune)), goal, kind, tune.budget and tune.budget.macs_ratio)
    (attempt / TRIALS).remove()
    with attempt.writing("trials.parquet") as stream:
        pq.write_table(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), stream)
    attempt.write("best.yaml", yaml.safe_dump(overlay_of(kind, best["parameters"])).encode())
    artifact.publish({"trials": len(rows), "objectives": list(goal.objectives), "best": best})
    stage.event("best", student=kind, **best)
    stage.say(f"{kind}: best {_words(best['parameters'])} ({_found(best, rows)})")


def _found(best: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """What the trial that is taken has reached, and out of how many it was chosen where that is not the best one."""
    parts = [_figures(best["objectives"], best["macs_ratio"])]
    if len(best["objectives"]) > 1:
        num_best = sum(row["on_front"] for row in rows)
        parts.append(f"one of {num_best} trials that no other beats" if num_best > 1 else "no other trial beats it")
    return "; ".join(parts)


def _figures(objectives: Mapping[str, float], macs_ratio: float | None) -> str:
    """`validation_nll 0.0712, macs 0.83 x a member's`."""
    cost = "" if macs_ratio is None else f"{macs_ratio:.3g} x a member's"
    texts = [
        f"{name} {(cost or f'{value:.0f}') if name == MACS else f'{value:.4f}'}" for name, value in objectives.items()
    ]
    return ", ".join(texts)


def _words(parameters: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}" for key, value in parameters.items()
    )


def _last_objectives(trial: Trial, goal: Goal) -> dict[str, float] | None:
    """What a trial reached when it ended, which may be after the epoch that counts; None where it failed."""
    curve = trial.to_json()["curve"]
    if not curve or trial.error is not None or None in curve[-1]:
        return None
    return dict(zip(goal.objectives, curve[-1], strict=True))


class _Record:
    """Logs trials: to files of the attempt, events.jsonl, the terminal and W&B."""

    def __init__(self, stage: Stage, run: Run, searches: Sequence[KindSearch], member_macs: float | None) -> None:
        self._stage = stage
        self._searches = {each.kind: each for each in searches}
        self._folders = {each.kind: run.trials(each.kind).attempt / TRIALS for each in searches}
        self._member_macs = member_macs
        self._sinks: dict[str, WandbSink | None] = {}
        self._lost: list[str] = []
        self._pace = Pace(1, "trials")
        self._show()

    def handle(self, event: Event) -> None:
        """Log one event of the progress channel."""
        trial = self._searches[event["student"]].trials[event["number"]]
        facts = {key: value for key, value in event.items() if key not in ("event", "number")}
        name = f"{event['student']}/{trial.name}"
        if event["event"] == "trial_epoch":
            self._stage.event("trial_epoch", trial=trial.name, **facts)
            self._log(name, facts)
        elif event["event"] == "trial":
            self._finish(name, event["student"], trial)
        else:
            self._stage.event(event["event"], trial=trial.name, **facts)
            is_lost = event["event"] == "trial_lost"
            self._stage.say(f"trial {name}: {event['failure']}" + ("" if is_lost else "; running it again"))
            if is_lost:
                self._lost.append(f"trial {name}: {event['failure']}")

    def require_all(self) -> None:
        """Raise a StageError unless every trial is over."""
        left = [trial for each in self._searches.values() for trial in each.trials if not trial.is_over]
        if left:
            reason = self._lost[0] if self._lost else f"{len(left)} trials were not run"
            raise StageError(
                f"tune: {reason}, more often than cluster.max_failures allows; trials that are over are kept, the same "
                "command runs the others"
            )

    def close(self) -> None:
        """End the W&B runs that are open."""
        for name in list(self._sinks):
            self._close(name)

    def _finish(self, name: str, kind: StudentKind, trial: Trial) -> None:
        self._folders[kind].write_json(_file_of(trial), sealed(trial.to_json()))
        search = self._searches[kind]
        objectives = _last_objectives(trial, search.goal)
        facts: dict[str, Any] = {"parameters": trial.parameters, "macs": trial.macs, "error": trial.error}
        self._stage.event("trial", student=kind, trial=trial.name, objectives=objectives, **facts)
        num_over = sum(each.is_over for each in search.trials)
        macs_ratio = trial.macs / self._member_macs if trial.macs and self._member_macs else None
        text = f"failed: {trial.error}" if objectives is None else _figures(objectives, macs_ratio)
        self._stage.say(f"{kind} [{num_over}/{len(search.trials)}] {_words(trial.parameters)}: {text}")
        self._show()
        self._close(name)

    def _show(self) -> None:
        trials = [trial for search in self._searches.values() for trial in search.trials]
        self._pace.update("trials", sum(trial.is_over for trial in trials), len(trials))
        self._stage.show(str(self._pace))

    def _log(self, name: str, facts: dict[str, Any]) -> None:
        if name not in self._sinks:
            self._sinks[name] = self._stage.trial_sink(name, facts["parameters"])
        sink = self._sinks[name]
        if sink is not None:
            sink.log({key: value for key, value in facts.items() if isinstance(value, (int, float))})

    def _close(self, name: str) -> None:
        sink = self._sinks.pop(name, None)
        if sink is not None:
            sink.close()
