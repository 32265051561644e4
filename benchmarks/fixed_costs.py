"""`start`, `scale` and `tune`: what has to be paid however little there is to do, and how the rest grows."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from benchmarks.pairs import Table, line_through
from benchmarks.workplace import REPO, Setting, do_stage, publish_untrained

_FIRST = {  # what tells that a stage has taken its first step
    "train_ensemble": "started",
    "predict": "shard",
    "tune": "trial_epoch",
    "distill": "started",
    "evaluate": "answers",
}
_NUMBERS = itertools.count()


# --- start


def start(setting: Setting) -> list[Table]:
    """The demo as a user runs it, with workers for every stage, and again when all is done: where its seconds go."""
    words = ["cluster.object_store_mb=200"]
    if setting.quick:
        words += [
            "ensemble.epochs=2",
            "ensemble.num_members=2",
            "distill.epochs=2",
            "tune.num_trials=2",
            "distill.kind=hydra",
        ]
        words += ["tune.space={temperature: [1.0, 2.0]}"]
    ways = {"as it is": words, "workers for every stage": [*words, "cluster.local=false"]}
    cells = [row for way, chosen in ways.items() for row in _demo(setting, way, chosen)]
    skips = [_command(setting, "start-0", *words) for _ in range(setting.pick(3, 1))]
    cells.append(["as it is", "again, nothing to do (median)", "", "", round(sorted(skips)[len(skips) // 2], 1)])
    title = (
        "`pipelines.run configs/digits.yaml` in a process of its own; seconds. As it is, work of some seconds is done "
        "in that process; with `cluster.local=false` by Ray's workers. First step: rows in memory before the first "
        "step of training; the first shard; the first epoch of a trial; the students' answers."
    )
    columns = ["demo", "stage", "until its first step", "from there on", "seconds in all"]
    return [Table("start", title, columns, cells, {"skips": skips})]


def _demo(setting: Setting, way: str, words: list[str]) -> list[list[Any]]:
    """One whole demo, stage by stage."""
    name = f"start-{next(_NUMBERS)}"
    begin = time.time()
    whole = _command(setting, name, *words)
    rows, waited = _stages(setting, name)
    command = round(rows[0][3] - begin, 1)
    table = [[way, stage, first, then, ""] for stage, first, then, _ in rows]
    return [
        *table,
        [way, "command", command, "", ""],
        [way, "whole demo", round(waited + command, 1), "", round(whole, 1)],
    ]


def _command(setting: Setting, name: str, *words: str) -> float:
    begin = time.perf_counter()
    place = [f"storage={setting.place}", f"name={name}"]
    command = [sys.executable, "-m", "pipelines.run", "configs/digits.yaml", *place, *words]
    subprocess.run(command, cwd=REPO, check=True, capture_output=True)
    return time.perf_counter() - begin


def _stages(setting: Setting, name: str) -> tuple[list[list[Any]], float]:
    """(stage, seconds until its first step, seconds from there on, when it began), and the sum of the first seconds."""
    lines = Path(setting.place, name, "events.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    rows = []
    waited = 0.0
    for stage, sign in _FIRST.items():
        times = {event["event"]: event["time"] for event in reversed(found) if event["stage"] == stage}
        ends = [event["time"] for event in found if event["stage"] == stage]
        if sign in times:
            waited += times[sign] - times["start"]
            first = round(times[sign] - times["start"], 1)
            then = round(max(ends) - times[sign], 1)
            rows.append([stage, first, then, times["start"]])
    return rows, waited


# --- scale


def scale(setting: Setting) -> list[Table]:
    """Seconds of a stage against the number of members, and against rows; the line through them."""
    rows = [_scaled(setting, "train_ensemble", "M", setting.pick((1, 4, 16, 64), (1, 2)))]
    rows.append(_scaled(setting, "predict", "x rows", setting.pick((1, 4, 16), (1, 2))))
    columns = ["stage", "against", "seconds at each", "fixed part, s", "slope, s", "what is a unit"]
    return [Table("scale", "digits.yaml, 5 epochs a member; the whole stage, Ray being there.", columns, rows)]


def _scaled(setting: Setting, stage: str, against: str, sizes: tuple[int, ...]) -> list[Any]:
    seconds = []
    for size in sizes:
        members, views = (size, 1) if stage == "train_ensemble" else (8, size)
        words = [f"ensemble.num_members={members}", "ensemble.epochs=5", "tune.num_trials=0", "tune.space={}"]
        words += ["distill.use_best_trial=false"]
        words += [f"transfer.views=[{{view: affine, count: {20 * views}}}]"]
        run = setting.run("digits", f"scale-{next(_NUMBERS)}", *words)
        if stage == "predict":
            publish_untrained(run)
        begin = time.perf_counter()
        do_stage(run, stage)
        seconds.append(time.perf_counter() - begin)
    slope, fixed = line_through([float(size) for size in sizes], seconds)
    unit = "a member" if stage == "train_ensemble" else "20 views of 1,078 rows"
    each = ", ".join(f"{size}: {taken:.1f}" for size, taken in zip(sizes, seconds, strict=True))
    return [stage, against, each, f"{fixed:.1f}", f"{slope:.3f}", unit]


# --- tune


def tune(setting: Setting) -> list[Table]:
    """What a trial costs beside its own work, when the processes are there: their time less the trials' own."""
    trials = setting.pick(14, 4)
    words = [f"tune.num_trials={trials}", "tune.epochs=2", "tune.scheduler=none", "distill.mean_phase_epochs=0"]
    words += ["students=[hydra]"]  # of several kinds trials take turns
    run = setting.run("digits", f"tune-{next(_NUMBERS)}", *words)
    publish_untrained(run)
    do_stage(run, "predict")
    begin = time.perf_counter()
    found = do_stage(run, "tune")
    whole = time.perf_counter() - begin
    ends = sorted(event["time"] for event in found if event["event"] == "trial")
    own = pq.read_table(f"{run.search('hydra').folder.path}/trials.parquet", columns=["seconds"])["seconds"].to_pylist()
    at_once = run.config.cluster.most_workers
    each = at_once * (ends[-1] - ends[at_once - 1]) / (len(ends) - at_once)  # seconds of a process, once it has begun
    later = sorted(own)[: len(own) - at_once]  # the first of each process import what they need
    overhead = each - sum(later) / len(later)
    columns = [
        "trials",
        "at a time",
        "s, whole stage",
        "s, a trial's own work",
        "s, overhead of a trial once started",
    ]
    row = [trials, at_once, whole, sum(later) / len(later), overhead]
    return [Table("tune", "digits.yaml, trials of two epochs, processes used again.", columns, [row])]
