"""The loops a user would write instead: plain PyTorch and multiprocessing, no Ray, nothing that survives a kill.

They do the same work as our stages: the same networks, optimiser, data, batch sizes, processes and threads, and the
same library calls to read rows, make views and write Parquet. Whatever is ready before the first step (rows in memory,
networks built) is ready before the clock starts, as it is in the figures of our stages.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from hydra_ray.losses.classification import diversity_matching_loss, hydra_loss
from hydra_ray.losses.sums import Summed
from hydra_ray.models.members import Normalise, build_member
from hydra_ray.models.student import build_student
from hydra_ray.randomness import seed_of
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.shards.schema import load, rows_table, with_logits, write_shard
from hydra_ray.storage.folder import Folder
from hydra_ray.training.student import plan_of
from hydra_ray.views.apply import apply_view

Moments = list[tuple[float, float]]  # (time, amount done)


def in_processes(work: Callable[[int, int, Callable[[], None]], Moments], num_processes: int) -> tuple[float, Moments]:
    """Call `work(rank, num_processes, ready)` in as many processes, each with one thread.

    Returns:
        When the last of them had called `ready`, and what all of them returned.
    """
    context = mp.get_context("spawn")
    barrier = context.Barrier(num_processes)
    results = context.SimpleQueue()
    processes = [
        context.Process(target=_one_process, args=(work, rank, num_processes, barrier, results))
        for rank in range(num_processes)
    ]
    for process in processes:
        process.start()
    found = [_next(results, processes) for _ in processes]
    for process in processes:
        process.join()
    failed = [error for error, _, _ in found if error is not None]
    if failed:
        raise RuntimeError(failed[0])
    return max(ready for _, ready, _ in found), [moment for _, _, moments in found for moment in moments]


def _next(results: Any, processes: list[Any]) -> Any:
    """The next process's result; a process that has died without one is an error, not a wait without end."""
    while results.empty():
        if any(process.exitcode not in (None, 0) for process in processes):
            raise RuntimeError("a process of a plain loop died")
        time.sleep(0.05)
    return results.get()


def _one_process(work: Any, rank: int, num_processes: int, barrier: Any, results: Any) -> None:
    torch.set_num_threads(1)
    begun: list[float] = []

    def ready() -> None:
        barrier.wait()
        begun.append(time.time())

    try:
        moments = work(rank, num_processes, ready)
        results.put((None, begun[0], moments))
    except BaseException as error:
        barrier.abort()
        results.put((repr(error), 0.0, []))


# --- train


def train_members(run: Run, place: Path) -> tuple[float, Moments]:
    """Every process fits its share of the members, one after the other."""
    return in_processes(partial(_train_members, run.config, str(place)), run.config.cluster.most_workers)


def _train_members(config: Any, place: str, rank: int, num_ranks: int, ready: Callable[[], None]) -> Moments:
    run = Run(config)
    train, validation = (run.data.splits[name].read_all() for name in ("train", "validation"))
    normalise = Normalise.fit(train.inputs)
    inputs = normalise(torch.from_numpy(train.inputs))
    labels = torch.from_numpy(train.labels)
    validation_inputs = normalise(torch.from_numpy(validation.inputs))
    validation_labels = torch.from_numpy(validation.labels)
    ready()
    moments = []
    for member in range(rank, config.ensemble.num_members, num_ranks):
        network = _train_member(config.ensemble, run, member, inputs, labels, validation_inputs, validation_labels)
        save_file(network.state_dict(), f"{place}/member-{member}.safetensors")
        moments.append((time.time(), 1))
    return moments


def _train_member(
    settings: Any, run: Run, member: int, inputs: Tensor, labels: Tensor, held_out: Tensor, held_out_labels: Tensor
) -> torch.nn.Module:
    network = build_member(run.member_spec(), seed_of(run.config.seed, "member weights", member)).network
    optimizer = _optimizer(settings, network)
    steps = len(inputs) // settings.batch_size
    scheduler = _cosine(optimizer, settings, settings.epochs * steps)
    for _ in range(settings.epochs):
        network.train()
        for rows in torch.randperm(len(inputs))[: steps * settings.batch_size].split(settings.batch_size):
            loss = F.cross_entropy(network(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        network.eval()
        with torch.no_grad():
            F.cross_entropy(torch.cat([network(part) for part in held_out.split(2048)]), held_out_labels).item()
    return network


def _optimizer(settings: Any, network: torch.nn.Module) -> torch.optim.Optimizer:
    rate = settings.learning_rate
    decay = settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), rate, momentum=0.9, nesterov=True, weight_decay=decay, fused=True)
    return torch.optim.AdamW(network.parameters(), rate, weight_decay=decay, fused=True)


def _cosine(optimizer: torch.optim.Optimizer, settings: Any, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    warmup = max(1, int(settings.warmup_fraction * steps))

    def factor(step: int) -> float:
        progress = (step - warmup) / max(1, steps - warmup)
        return min((step + 1) / warmup, 0.5 * (1 + math.cos(math.pi * max(0.0, min(1.0, progress)))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


# --- predict


def predict(run: Run, place: Path) -> tuple[float, Moments]:
    """Every process writes its share of the shards: read rows, make the view, ask every member, write."""
    return in_processes(partial(_predict, run.config, str(place)), run.config.cluster.most_workers)


@torch.no_grad()
def _predict(config: Any, place: str, rank: int, num_ranks: int, ready: Callable[[], None]) -> Moments:
    run = Run(config)
    spec = run.member_spec()
    seed = config.seed
    seeds = [seed_of(seed, "member weights", member) for member in range(config.ensemble.num_members)]
    members = [build_member(spec, each).network.eval() for each in seeds]
    normalise = Normalise.fit(run.data.splits["train"].read(0, 1000).inputs)
    ranges = _ranges(run)
    folder = Folder.open(place)
    ready()
    moments = []
    for split, start, stop in ranges[rank::num_ranks]:
        rows = run.data.splits[_rows_of(split)].read(start, stop)
        assert rows.labels is not None
        for number, numbered in run.views(split).items():
            view = numbered.view
            draws = seed_of(seed, "view", split, number)
            seen = apply_view(view.view, view.options, rows.inputs, rows.row_id, seed=draws)
            normalised = (normalise(part) for part in torch.from_numpy(seen).split(config.predict.batch_size))
            logits = torch.cat([torch.stack([member(part) for member in members], 1) for part in normalised])
            table = with_logits(rows_table(rows.row_id, number, seen, rows.labels), logits.numpy().astype("float16"))
            write_shard(folder, f"{split}-{number:03d}-{start:08d}.parquet", table, {})
            moments.append((time.time(), len(seen)))
    return moments


def _ranges(run: Run) -> list[tuple[str, int, int]]:
    """(split, start, stop) of all rows that are to be predicted."""
    size = run.config.predict.rows_per_shard
    return [
        (split, start, stop)
        for split in run.split_names
        for start, stop in run.data.splits[_rows_of(split)].chunks(size)
    ]


def _rows_of(split: str) -> str:
    return "train" if split == TRANSFER else split


# --- distill


def distil(run: Run) -> tuple[float, Moments]:
    """The second phase of a Hydra student with DDP, all rows of the shards as tensors in memory."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(_free_port()))
    return in_processes(partial(_distil, run.config), run.config.cluster.most_workers)


def _distil(config: Any, rank: int, num_ranks: int, ready: Callable[[], None]) -> Moments:
    dist.init_process_group("gloo", rank=rank, world_size=num_ranks)
    run = Run(config)
    settings = config.distill
    rows, held_out = (load(run.shards(split).files) for split in (TRANSFER, "validation"))
    inputs = torch.from_numpy(rows.inputs.copy())
    logits = torch.from_numpy(rows.logits_NMC.copy())
    student = build_student(
        student_spec(run), seed_of(config.seed, "student weights", "hydra"), Normalise.fit(rows.inputs[:5000])
    )
    wrapped = DistributedDataParallel(student) if num_ranks > 1 else student
    optimizer = _optimizer(settings, student)
    steps = len(inputs) // settings.batch_size
    scheduler = _cosine(optimizer, settings, settings.epochs * steps)
    ready()
    moments = []
    for epoch in range(settings.epochs):
        student.train()
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(epoch))
        for batch in order[: steps * settings.batch_size].split(settings.batch_size):
            mine = batch[rank::num_ranks]
            students = wrapped(inputs[mine])
            teachers = logits[mine].float()
            imitation, spread = student_loss(config, students, teachers)
            loss = imitation.mean() + spread.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
        _validation_nll(student, held_out)
        moments.append((time.time(), steps))
    dist.destroy_process_group()
    return moments if rank == 0 else []


def student_loss(config: Any, students_BMC: Tensor, teachers_BMC: Tensor) -> tuple[Summed, Summed]:
    """What every head imitates, and how far their disagreement is from the members'."""
    spread = diversity_matching_loss(students_BMC, teachers_BMC)
    weight = dict(config.student("hydra"))["diversity_weight"]
    return hydra_loss(students_BMC, teachers_BMC, config.distill.temperature), spread.scaled(weight)


@torch.no_grad()
def _validation_nll(student: torch.nn.Module, held_out: Any) -> float:
    student.eval()
    parts = torch.from_numpy(held_out.inputs.copy()).split(2048)
    log_probs = F.log_softmax(torch.cat([student(part) for part in parts]), -1).logsumexp(1)
    return float(F.nll_loss(log_probs - math.log(held_out.logits_NMC.shape[1]), torch.tensor(held_out.labels)))


def student_spec(run: Run) -> Any:
    """The Hydra student that the configuration describes."""
    members = run.config.ensemble.num_members
    data = run.data
    sizes = {"num_members": members, "input_shape": data.input_shape, "num_outputs": data.num_outputs}
    return plan_of(run.config, run.task, "hydra", **sizes).spec


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
