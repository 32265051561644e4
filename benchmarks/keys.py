"""`keys`: what one changed key of `distill` or of a kind of student does to the demo's student, on the same shards.

Every key that no shipped recipe sets has a row here, or a line in docs/recipes.md that says what it is for.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from typing import Any

import torch

from benchmarks.pairs import Table
from benchmarks.workplace import Setting, do_stage
from hydra_ray.config import Config, StudentKind, parse_yaml, with_overlay
from hydra_ray.metrics.fidelity import spearman
from hydra_ray.randomness import seed_of
from hydra_ray.runs import TRANSFER, Run
from hydra_ray.shards import BatchReader, ShardRows, load
from hydra_ray.training import DistributedContext, HeldOut, InputOutputScaling, distil, plan_of, predict
from hydra_ray.training.student import validation_figures

COLUMNS = ["kind", "changed", "NLL", "accuracy", "KL(member || head)", "MI / members'", "rho of MI", "x seconds"]
CHANGES: dict[StudentKind, list[str]] = {
    "hydra": [
        "",
        "distill.optimizer=sgd",
        "distill.weight_decay=0",
        "distill.weight_decay=1e-2",
        "distill.warmup_fraction=0",
        "distill.clip_norm=1",
        "distill.precision=bfloat16",
        "distill.label_weight=0.1",
        "distill.standardise=true",
        "distill.disagreement_sampling=4",
        "distill.average=0.1",
        "students.hydra.num_heads=4",
        "students.hydra.head_init_noise=0",
        "students.hydra.head_init_noise=0.5",
        "predict.dtype=float32",
        "transfer.num_rows=4000",
    ],
    "end2": ["", "students.end2.first_temperature=1", "students.end2.smoothing=0", "students.end2.smoothing=0.01"],
    "proxy_end2": ["", "students.proxy_end2.max_precision=100"],
}
_SHARES = "transfer.views=[{view: identity, share: 0.2}, {view: affine, share: 0.8}]"


def keys(setting: Setting) -> list[Table]:
    """Figures of validation rows, mean and deviation over seeds."""
    seeds = range(setting.pick(3, 1))
    epochs = setting.pick(20, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    rows = [
        row
        for kind, changes in setting.pick(CHANGES, {"hydra": CHANGES["hydra"][:2]}).items()
        for row in _rows(setting, kind, changes, seeds, epochs)
    ]
    torch.set_num_threads(before)
    title = (
        f"The demo's shards; {len(seeds)} seeds of the student, {epochs} epochs, one process with one thread. Seconds "
        "are those of the kind's first row times so many."
    )
    return [Table("keys", title, COLUMNS, rows)]


def _rows(setting: Setting, kind: StudentKind, changes: list[str], seeds: range, epochs: int) -> list[list[Any]]:
    rows: list[list[Any]] = []
    first: float | None = None
    for change in changes:
        run = _with_shards(setting, kind, change, epochs)
        found = [_figures(run, kind, seed) for seed in seeds]
        seconds = statistics.median(each.pop("seconds") for each in found)
        first = seconds if first is None else first
        cells = [_cell([each[name] for each in found]) for name in found[0]]
        rows.append([kind, change or "nothing", *cells, f"{seconds / first:.2f}"])
    return rows


def _with_shards(setting: Setting, kind: StudentKind, change: str, epochs: int) -> Run:
    """The demo with one key changed, its members and shards there."""
    words = ["tune.num_trials=0", "distill.use_best_trial=false", f"distill.epochs={epochs}", "cluster.num_workers=2"]
    words.append(f"students=[{kind}]")
    if change.startswith("transfer.num_rows"):
        words.append(_SHARES)
    has_own_shards = change.startswith(("predict.", "transfer."))
    run = setting.run("digits", "keys-own" if has_own_shards else "keys", *words)
    run = Run(_overridden(run.config, change)) if change else run
    for stage in ("train_ensemble", "predict"):
        do_stage(run, stage)
    return run


def _overridden(config: Config, change: str) -> Config:
    key, value = change.split("=", 1)
    overlay: Any = parse_yaml(value)
    for part in reversed(key.split(".")):
        overlay = {part: overlay}
    return with_overlay(config, overlay, change)


def _figures(run: Run, kind: StudentKind, seed: int) -> dict[str, float]:
    """One student, trained in this process, on validation rows."""
    transfer: ShardRows = load(run.shards(TRANSFER).files)
    held: ShardRows = load(run.shards("validation").files)
    members = run.config.ensemble.num_members
    shape = held.inputs.shape[1:]
    plan = plan_of(run.config, run.task, kind, num_members=members, input_shape=shape, num_outputs=run.data.num_outputs)
    plan = replace(plan, seed=seed)
    batches = BatchReader(
        transfer,
        batch_size=run.config.distill.batch_size,
        seed=seed_of(seed, "student order", kind),
        num_members=plan.num_members,
        draws=plan.draws,
    )
    scaling = InputOutputScaling.of(run.task, transfer, plan.num_members)
    begin = time.perf_counter()
    student = distil(
        plan, batches, HeldOut(held), scaling, device=torch.device("cpu"), ranks=DistributedContext(), checkpoints=None,
        report=lambda figures: None,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    found = validation_figures(plan, student, HeldOut(held))
    said = plan.prediction(predict(student, held.inputs))
    ensemble = run.task.of_members(torch.tensor(held.of_first(plan.num_members).logits_NMC).float())
    rho = spearman(said.scores["mutual_information"], ensemble.scores["mutual_information"])
    names = ("nll", "accuracy", "member_kl", "mutual_information_ratio")
    return {
        **{name: found.get(f"validation_{name}", float("nan")) for name in names},
        "rho": float("nan") if rho is None else rho,
        "seconds": seconds,
    }


def _cell(values: list[float]) -> str:
    mean = statistics.fmean(values)
    if mean != mean:  # NaN: the kind has no heads
        return "-"
    return f"{mean:.4f} +- {statistics.stdev(values):.4f}" if len(values) > 1 else f"{mean:.4f}"
