"""`train`, `predict` and `distill`: our stages once started, against plain loops doing the same work."""

from __future__ import annotations

import itertools
import shutil
import time
from typing import Any

import numpy as np
import torch

from benchmarks import plain
from benchmarks.pairs import Pairs, Table, paired_table, steady_rate
from benchmarks.workplace import Memory, Setting, all_mb, do_stage, moment, publish_untrained
from hydra_ray.models.members import Normalise
from hydra_ray.models.student import build_student
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards.loader import BatchReader, Feed
from hydra_ray.training.loop import DistributedContext, TrainState

_NUMBERS = itertools.count()


def _fresh(setting: Setting, recipe: str, *overrides: str) -> Run:
    return setting.run(recipe, f"{recipe}-{next(_NUMBERS)}", *overrides)


# --- train


def train(setting: Setting) -> list[Table]:
    """Members a minute, of an MLP on MNIST (one by one, and stacked) and of ResNet-20 on CIFAR-10."""
    members, epochs, rows = setting.pick((12, 3, 60_000), (2, 1, 2000))
    mlp = [f"ensemble.num_members={members}", f"ensemble.epochs={epochs}", f"data.max_train_rows={rows}"]
    small = [f"data.max_train_rows={setting.pick(1600, 160)}", "ensemble.num_members=2", "ensemble.epochs=1"]
    small += ["ensemble.architecture=resnet20", "ensemble.options={}", "ensemble.augment=null"]
    cases = [
        (f"MNIST MLP 784-200-200-10, {members} members, {epochs} epochs of {rows:,} rows", "mnist", mlp),
        ("the same, stack_size=auto", "mnist", [*mlp, "ensemble.stack_size=auto"]),
        (f"CIFAR-10 ResNet-20, 2 members, 1 epoch of {small[0].split('=')[1]} rows", "cifar10_small", small),
    ]
    pairs = [
        Pairs.measure(
            what,
            "members / minute",
            lambda recipe=recipe, words=words: _train(_fresh(setting, recipe, *words)),
            lambda recipe=recipe, words=words: _train_plain(setting, _fresh(setting, recipe, *words)),
            setting.pick(2, 1),
        )
        for what, recipe, words in cases
    ]
    title = "Rows in memory and first step ahead, until the last member is published; 2 processes of one thread each."
    return [paired_table("train", title, pairs)]


def _train(run: Run) -> float:
    found = do_stage(run, "train_ensemble")
    return 60 * run.config.ensemble.num_members / (moment(found, "member") - moment(found, "started"))


def _train_plain(setting: Setting, run: Run) -> float:
    begin, moments = plain.train_members(run, setting.place)
    return 60 * run.config.ensemble.num_members / (max(when for when, _ in moments) - begin)


# --- predict


def predict(setting: Setting) -> list[Table]:
    """Rows a second from rows to Parquet, and the memory it takes, for several M and ten times the rows."""
    pairs = []
    memory = []
    idle_mb = all_mb()
    for copies, members, repeats in setting.pick(
        ((0, 5, 2), (0, 20, 2), (0, 50, 2), (10, 5, 1)), ((0, 5, 1), (2, 5, 1))
    ):
        found = [_predict_pair(setting, copies, members, idle_mb) for _ in range(repeats)]
        what = f"MNIST, {found[0]['rows']:,} rows, M = {members}"
        pairs.append(Pairs(what, "rows / s", [each["ours"] for each in found], [each["plain"] for each in found]))
        memory.append(
            [what, *(max(each[key] for each in found) for key in ("ours_mb", "plain_mb", "ours_s", "plain_s"))]
        )
    title = (
        "Read, view, ask all members, write Parquet; between the first finished shard and the last; "
        "2 processes on 2 CPUs."
    )
    note = (
        "Peak (PSS) of all processes beyond this one and a Ray session in which nothing has run; "
        "wall time of the whole stage, start and check too."
    )
    columns = ["what", "ours, MB", "plain, MB", "ours, seconds", "plain, seconds"]
    return [paired_table("predict", title, pairs), Table("predict: memory and whole stage", note, columns, memory)]


def _predict_words(setting: Setting, copies: int, members: int) -> list[str]:
    views = "{view: identity}" + (f", {{view: cyclic_shift, count: {copies}}}" if copies else "")
    return [
        f"data.max_train_rows={setting.pick(60_000, 2000)}",
        f"predict.rows_per_shard={setting.pick(2500, 20_000)}",
        f"ensemble.num_members={members}",
        f"transfer.views=[{views}]",
        "data.validation_views=[]",
    ]


def _predict_pair(setting: Setting, copies: int, members: int, idle_mb: float) -> dict[str, float]:
    run = _fresh(setting, "mnist", *_predict_words(setting, copies, members))
    place = setting.place / "plain-shards"
    publish_untrained(run)
    begin = time.perf_counter()
    with Memory(idle_mb) as ours:
        found = do_stage(run, "predict")
    ours_s = time.perf_counter() - begin
    shards = [event for event in found if event["event"] == "shard"]
    begin = time.perf_counter()
    with Memory() as other:
        _, moments = plain.predict(run, place)
    plain_s = time.perf_counter() - begin
    shutil.rmtree(place)
    shutil.rmtree(run.folder.path)
    return {
        "ours": steady_rate([event["time"] for event in shards], [event["rows"] for event in shards]),
        "plain": steady_rate(*zip(*moments, strict=True)),
        "rows": sum(event["rows"] for event in shards),
        "ours_mb": ours.grown_mb,
        "plain_mb": other.grown_mb,
        "ours_s": ours_s,
        "plain_s": plain_s,
    }


# --- distill


def distill(setting: Setting) -> list[Table]:
    """Steps a second of a Hydra student, fed from shards or from tensors; and the share of time that is waiting."""
    members, epochs, rows = setting.pick((20, 6, 60_000), (4, 3, 2000))
    words = [f"ensemble.num_members={members}", f"data.max_train_rows={rows}", "transfer.views=[{view: identity}]"]
    words += [f"distill.epochs={epochs}", "distill.mean_phase_epochs=0", "distill.kind=hydra", "cluster.num_workers=2"]
    runs = [_fresh(setting, "mnist", *words) for _ in range(setting.pick(3, 1))]
    for run in runs:
        if run is runs[0]:
            publish_untrained(run)
            do_stage(run, "predict")
        else:
            shutil.copytree(runs[0].folder.path, run.folder.path)
    waiting = iter(runs)
    pair = Pairs.measure(
        f"MNIST, student 208-176 with {members} heads, batch 256, {epochs} epochs of {rows:,} rows",
        "steps / s",
        lambda: _distill(next(waiting)),
        lambda: steady_rate(*_by_epoch(plain.distil(runs[0])[1])),
        len(runs),
    )
    title = (
        "From the end of the first epoch to that of the last, validation included; DDP over 2 processes of one thread."
    )
    return [paired_table("distill", title, [pair]), _waiting(runs[0])]


def _distill(run: Run) -> float:
    ends = [event for event in do_stage(run, "distill") if event["event"] == "epoch"]
    times = [event["time"] for event in ends]
    steps = [event["step"] for event in ends]
    return steady_rate(times, [0, *np.diff(steps).tolist()])


def _by_epoch(moments: plain.Moments) -> tuple[list[float], list[float]]:
    times, steps = zip(*sorted(moments), strict=True)
    return list(times), list(steps)


def _waiting(run: Run) -> Table:
    """Of one process with one thread: where a step's time goes."""
    config = run.config
    source = run.shards(TRANSFER).folder
    members = config.ensemble.num_members
    batches = BatchReader(
        source, batch_size=config.distill.batch_size, seed=0, num_members=members, rank=0, num_ranks=1,
        max_bytes=config.cluster.transfer_memory_mb << 20,
    )  # fmt: skip
    normalise = Normalise.fit(run.data.splits["train"].read(0, 1000).inputs)
    student = build_student(plain.student_spec(run), 0, normalise)
    state = TrainState(student.train(), config.distill, num_steps=1000, seed=0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    spent = {"gathering the batch": 0.0, "the step": 0.0}
    steps = min(100, batches.steps_per_epoch - 1)
    fed = Feed(batches, torch.device("cpu")).batches(0)
    next(fed)  # reads the shards
    begin = time.perf_counter()
    for batch in itertools.islice(fed, steps):
        now = time.perf_counter()
        state.begin_step()
        terms = plain.student_loss(config, state.forward(batch.inputs), batch.logits_BMC.float())
        DistributedContext().share_of_loss(terms, is_even=True).backward()
        state.update()
        spent["gathering the batch"] += now - begin
        begin = time.perf_counter()
        spent["the step"] += begin - now
    torch.set_num_threads(before)
    whole = sum(spent.values())
    rows: list[list[Any]] = [[what, 1e3 * seconds / steps, f"{seconds / whole:.1%}"] for what, seconds in spent.items()]
    return Table(
        "distill: waiting for data", f"One process, one thread, {steps} steps.", ["what", "ms a step", "share"], rows
    )
