"""evaluate: students answer the rows the members answered; metrics.json, report.md, report.html and pictures.

The ensemble's answers are in the shards. A Ray task for each split reads them, and has the students answer the same
rows; then, with nothing else running, one task after the other measures what each predictor costs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from itertools import takewhile
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from hydra_ray.cluster.attacks import attack_all
from hydra_ray.cluster.evaluate_tasks import LATENCY_BATCHES, ask_students, measure_cost
from hydra_ray.cluster.input_grid import ask_grid, has_plane, plane_of
from hydra_ray.cluster.place_of_work import submit
from hydra_ray.cluster.teachers import teachers_latencies
from hydra_ray.config import Config, StudentKind, goal_of, space_of
from hydra_ray.data import TEST, SplitId
from hydra_ray.evaluation import ENSEMBLE, MEMBER, Answers, Plane, StudentVersion, UnderAttack, metrics_of, row_scores
from hydra_ray.inference import CARD, THRESHOLDS, Thresholds
from hydra_ray.metrics import Members
from hydra_ray.report import ReportInputs, SearchResult, make_report, student_card
from hydra_ray.runs import STAGES, TRANSFER, Run, Stage, Tracker, in_words, software_facts
from hydra_ray.runs.work_seconds import work_seconds
from hydra_ray.shards import ShardRows, is_labelled
from hydra_ray.storage import Artifact
from hydra_ray.tasks import Prediction, Task
from hydra_ray.training import calibration_from_json, kind_named


def evaluate(run: Run, stage: Stage) -> dict[str, Any]:
    """Write and publish the report; its metrics."""
    for split in _evaluated(run):
        run.require_shards(split.name)
    answers, test_rows = _answers(run)
    stage.event("answers", predictors=list(answers.predictions), splits=[split.name for split in answers.ensemble])
    stage.say(f"answers of {', '.join(answers.predictions)} on {', '.join(split.name for split in answers.ensemble)}")
    asked = run.config.evaluate
    under_attack = _under_attack(run, stage, answers.versions, test_rows)
    metrics = metrics_of(
        answers,
        _costs(run, answers.versions),
        _seconds(run, stage.tracker),
        num_samples=asked.bootstrap_samples,
        seed=run.config.seed,
        consensus=asked.consensus or (),
        under_attack=under_attack,
    )
    if run.given_up:
        metrics["left_out"] = {str(number): reason for number, reason in run.given_up.items()}
    evidence = _report_inputs(run, stage.tracker, metrics, answers)
    artifact = run.report()
    files = make_report(evidence)
    for name, content in files.items():
        if name.endswith(".png"):
            stage.picture(name.removesuffix(".png"), content)
    artifact.publish_files({}, {**files, "config.json": run.config.model_dump_json(indent=1).encode()})
    _write_cards(run, metrics)
    _log(stage, metrics)
    return metrics


def _answers(run: Run) -> tuple[Answers, ShardRows]:
    """What the ensemble has said in the shards, and what students say of their rows; the test rows."""
    config = run.config
    students = {kind: run.student(kind) for kind in config.student_kinds}
    pending = {split: _asked(run, split, students) for split in _evaluated(run)}
    ensemble = {}
    labels = {}
    found: dict[SplitId, ShardRows] = {}
    said: dict[SplitId, dict[StudentKind, np.ndarray]] = {}
    for split, answer in pending.items():
        rows, said[split] = answer()
        found[split] = rows
        answered = Members.of(None if rows.mask_NM is None else torch.tensor(rows.mask_NM))
        ensemble[split] = run.task.of_members(torch.tensor(rows.logits_NMC).float(), answered)
        if is_labelled(rows.labels).all():
            labels[split] = torch.tensor(rows.labels)
    predictions = {ENSEMBLE: ensemble}
    versions: list[StudentVersion] = []
    thresholds: dict[str, Thresholds] = {}
    for kind in config.student_kinds:
        facts = run.student(kind).require()
        if THRESHOLDS in facts["files"]:
            thresholds[kind] = Thresholds.from_json(json.loads(run.student(kind).read(THRESHOLDS)))
        for version in _versions_of(kind, facts):
            versions.append(version)
            predictions[version.name] = {
                split: _prediction_of(run.task, version, facts, each[kind]) for split, each in said.items()
            }
    views = {split for split in run.views_of_test if np.array_equal(found[split].row_id, found[TEST].row_id)}
    answers = Answers(run.task, predictions, labels, frozenset(views), versions, thresholds, config.distill.members)
    return answers, found[TEST]


def _asked(
    run: Run, split: SplitId, students: Mapping[StudentKind, Artifact]
) -> Callable[[], tuple[ShardRows, dict[StudentKind, np.ndarray]]]:
    """Has a task read a split's shards and ask the students; inputs come back where they are to be attacked."""
    is_attacked = split == TEST and run.config.evaluate.attacks is not None
    folder = run.shards(split.name).files
    return submit(ask_students, run.config.cluster, students, folder, is_attacked, run.config)


def _under_attack(run: Run, stage: Stage, versions: Sequence[StudentVersion], rows: ShardRows) -> UnderAttack | None:
    """What attacks do, where any are asked for; students are attacked without their calibration."""
    settings = run.config.evaluate.attacks
    if settings is None:
        return None
    students = {version.name: run.student(version.kind) for version in versions if not version.calibrated}
    return attack_all(run, stage, settings, students, rows)


def _evaluated(run: Run) -> list[SplitId]:
    """Not the rows that students learn from, nor the views that they are calibrated on."""
    return [split for split in run.predicted_splits if split.role not in ("transfer", "validation_views")]


def _versions_of(kind: str, facts: dict[str, Any]) -> list[StudentVersion]:
    """The student as it is used, and where that is with a calibration of disagreement, raw too."""
    if "calibration" not in facts:
        return [StudentVersion(kind, kind, calibrated=False)]
    return [StudentVersion(kind, kind, calibrated=True), StudentVersion(f"{kind}_raw", kind, calibrated=False)]


def _prediction_of(task: Task, version: StudentVersion, facts: dict[str, Any], answers: np.ndarray) -> Prediction:
    calibration = calibration_from_json(facts["calibration"]) if version.calibrated else None
    return kind_named(version.kind).prediction(task, torch.tensor(answers), calibration, facts.get("member_weights"))


def _costs(run: Run, versions: Sequence[StudentVersion]) -> dict[str, Any]:
    """Parameters, MACs and latency of every predictor, one at a time."""

    def cost_of(artifacts: Sequence[Artifact]) -> dict[str, Any]:
        return submit(measure_cost, run.config.cluster, artifacts, run.config)()

    costs = {kind: cost_of([run.student(kind)]) for kind in run.config.student_kinds}
    if members := run.members():
        costs |= {MEMBER: _mean_cost(_costs_of_groups(run, members, cost_of)), ENSEMBLE: cost_of(members)}
    latencies = teachers_latencies(run, LATENCY_BATCHES)
    if latencies is not None:
        costs[ENSEMBLE] = {"num_parameters": None, "macs": None, "latency_ms": latencies}
    return {**costs, **{version.name: costs[version.kind] for version in versions}}


def _costs_of_groups(
    run: Run, members: Sequence[Artifact], cost_of: Callable[[Sequence[Artifact]], dict[str, Any]]
) -> list[tuple[int, dict[str, Any]]]:
    """What the first member of each group costs, and how many there are like it."""
    ensemble = run.config.ensemble
    firsts = {ensemble.group_of(number): member for number, member in reversed(list(enumerate(members)))}
    return [(group.count, cost_of([firsts[place]])) for place, group in enumerate(ensemble.groups)]


def _mean_cost(groups: Sequence[tuple[int, dict[str, Any]]]) -> dict[str, Any]:
    """What a member costs on average, of groups of so many members that cost the same."""
    if len(groups) == 1:
        return groups[0][1]
    total = sum(count for count, _ in groups)

    def mean(figures: Sequence[float]) -> float:
        return sum(count * figure for (count, _), figure in zip(groups, figures, strict=True)) / total

    costs = [cost for _, cost in groups]
    latency = {size: round(mean([cost["latency_ms"][size] for cost in costs]), 4) for size in costs[0]["latency_ms"]}
    counts = {name: round(mean([cost[name] for cost in costs])) for name in ("num_parameters", "macs")}
    return {**counts, "latency_ms": latency}


def _seconds(run: Run, tracker: Tracker) -> dict[str, float]:
    """Seconds of the work behind each stage's results; that of this one is not over."""
    before = takewhile(lambda stage: stage.name != "evaluate", STAGES.values())
    in_use = {stage.name: [artifact.lineage for artifact in stage.artifacts(run)] for stage in before}
    return work_seconds(tracker.events(), in_use)


def _report_inputs(run: Run, tracker: Tracker, metrics: dict[str, Any], answers: Answers) -> ReportInputs:
    config = run.config
    return ReportInputs(
        run_name=config.name,
        config={**config.model_dump(), **_found_by_searches(run)},
        metrics=metrics,
        scores=row_scores(answers),
        epochs=_epochs(run, tracker),
        searches={kind: _search(run, kind) for kind in run.searched_kinds if run.search(kind).is_done},
        facts={**software_facts(), "ray": metadata.version("ray"), "seed": str(config.seed)},
        notes=_notes(run),
        plane=_plane(run, config) if has_plane(run) else None,
    )


def _notes(run: Run) -> list[str]:
    """Which figures are of a student without its calibration, and what is known against a calibration."""
    notes = []
    if run.given_up:
        notes.append(f"The ensemble is {in_words(run.given_up)}.")
    for kind in run.config.student_kinds:
        facts = run.student(kind).manifest() or {}
        if "calibration" in facts:
            raw = next(version.name for version in _versions_of(kind, facts) if not version.calibrated)
            times = calibration_from_json(facts["calibration"])
            notes.append(f"{raw} is {kind} without its calibration, which makes heads differ {times} as much.")
        if "calibration_caveat" in facts:
            notes.append(f"{kind}: {facts['calibration_caveat']}.")
    return notes


def _plane(run: Run, config: Config) -> Plane:
    """What ensemble and students, as they are used, say over the whole of a small input space."""
    outputs = ask_grid(run, config)
    found = {ENSEMBLE: run.task.of_members(torch.tensor(outputs[ENSEMBLE]))}
    for kind in config.student_kinds:
        facts = run.student(kind).require()
        version = _versions_of(kind, facts)[0]
        found[kind] = _prediction_of(run.task, version, facts, outputs[kind])
    return plane_of(run, found)


def _epochs(run: Run, tracker: Tracker) -> list[dict[str, Any]]:
    """What was reported after each epoch of the members and students there are now, in order."""
    latest: dict[tuple[str, str, int], dict[str, Any]] = {}
    lengths = {str(number): run.config.ensemble.epochs for number in run.member_numbers}
    for kind in run.config.student_kinds:
        distill = run.tuned(kind).distill
        lengths[kind] = distill.mean_phase_epochs + distill.epochs
    for event in tracker.events():
        owner = str(event.get("member", event.get("student")))
        if event["event"] == "epoch" and event["epoch"] <= lengths.get(owner, 0):
            latest[event["stage"], owner, event["epoch"]] = event
    return list(latest.values())


def _search(run: Run, kind: StudentKind) -> SearchResult:
    tune = run.config.tune
    search = run.search(kind)
    table = pq.read_table(pa.BufferReader(search.read("trials.parquet")))
    return SearchResult(
        table.to_pylist(),
        goal_of(kind, tune),
        keys=list(space_of(kind, tune)),
        taken=search.require()["best"]["trial"],
        budget=tune.budget and tune.budget.macs_ratio,
    )


def _found_by_searches(run: Run) -> dict[str, Any]:
    """What students were trained with in place of the recipe's values."""
    if not run.config.distill.use_best_trial:
        return {}
    return {"found by tune": {kind: run.search(kind).require()["best"]["parameters"] for kind in run.searched_kinds}}


def _write_cards(run: Run, metrics: dict[str, Any]) -> None:
    """Each student's card, beside its published files; made of the report's figures, it is in no manifest."""
    config = run.config.model_dump()
    views = list(dict.fromkeys(view.label for view in run.views(TRANSFER).values()))
    for kind in run.config.student_kinds:
        artifact = run.student(kind)
        card = student_card(str(artifact.folder), artifact.require(), metrics, config, views)
        artifact.files.write(CARD, card.encode())


def _log(stage: Stage, metrics: dict[str, Any]) -> None:
    for name, figures in metrics["test"].items():
        numbers: dict[str, Any] = {key: value for key, value in figures.items() if isinstance(value, float)}
        stage.figures("test", series=f"test/{name}", predictor=name, **numbers)
