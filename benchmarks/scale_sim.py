"""Plans a run that no machine here can hold, and says what breaks first: `python -m benchmarks.scale_sim`.

    python -m benchmarks.scale_sim                                    # 10^9 rows x 50 members on 256 GPUs
    python -m benchmarks.scale_sim --rows-per-shard 100000 --ray      # larger shards; Ray's part measured too

Sizes are counted by the project's own functions. What the driver does is measured for plans of 1,000 to 100,000 shards,
in CPU seconds, and carried on by the power with which it grows. Rates of a GPU are arguments; those that stand there
were measured on one H200 (docs/performance.md, "On one GPU").
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.pairs import Table
from benchmarks.scale_measures import (
    Growth,
    file_figures,
    request_figures,
    row_figures,
    seconds_of_an_item,
    shard_bytes,
)
from benchmarks.scale_run import Scale, run_of
from hydra_ray.runs.run import TRANSFER
from hydra_ray.runs.stages import readable_bytes, row_bytes

_STEPS_OF_AN_ITEM = 3  # read, ask, write: a task, a call of an actor and a task of Ray, and a block after each


@dataclass(frozen=True)
class Rates:
    """What one GPU does in a second, and what there is besides.

    Attributes:
        train: rows of one member in training.
        ask: rows of one member asked and written.
        student: rows of a student's training.
        gpus: number of them, each a worker.
        epochs, student_epochs: of a member, of the student.
        gigabits: of a worker's network.
        latency: seconds of one request of an object store.
        head, worker: GB of memory of the driver's machine, and of a worker.
        item: CPU seconds of the driver for an item of `predict`.
    """

    train: float
    ask: float
    student: float
    gpus: int
    epochs: int
    student_epochs: int
    gigabits: float
    latency: float
    head: float
    worker: float
    item: float


@dataclass(frozen=True)
class Limit:
    """Something that a run of that size needs, and what there is of it.

    Attributes:
        what: it is.
        need, have: in the same unit.
        unit: GB, or hours, which are those of the GPUs' own work in that stage.
    """

    what: str
    need: float
    have: float
    unit: str

    @property
    def times(self) -> float:
        """How many times what there is; memory above 1 ends a run, time above 1 has GPUs wait."""
        return self.need / self.have

    def row(self) -> list[str]:
        """Cells of the table."""
        word = "ends the run" if self.unit == "GB" else "GPUs wait"
        return [
            self.what,
            f"{self.need:.3g} {self.unit}",
            f"{self.have:.3g} {self.unit}",
            f"{self.times:.2g}",
            word if self.times > 1 else "",
        ]


def hours_of(scale: Scale, rates: Rates) -> dict[str, float]:
    """Hours that GPUs compute, by stage; members one a GPU."""
    rounds = -(-scale.members // rates.gpus)
    return {
        "train_ensemble": rounds * rates.epochs * (scale.rows / scale.views) / rates.train / 3600,
        "predict": scale.rows * scale.members / rates.ask / rates.gpus / 3600,
        "distill": rates.student_epochs * scale.rows / rates.student / rates.gpus / 3600,
    }


def limits_of(
    scale: Scale,
    rates: Rates,
    found: Mapping[str, Growth],
    requests: Mapping[str, float],
    file_bytes: int,
) -> list[Limit]:
    """Everything that was found to grow, the largest in proportion to what there is first; memory before time."""
    hours = hours_of(scale, rates)
    stored = file_bytes * scale.shards
    a_second = rates.gigabits / 8 * 1e9
    at = {name: growth.at(scale.shards) for name, growth in found.items()}
    held = {name: value / 1000 for name, value in at.items() if name.endswith("MB held")}
    rows_in_memory = scale.rows / scale.views * _input_bytes(scale) / 1e9

    def waiting(name: str) -> float:
        return requests[name] * scale.shards * rates.latency / 3600

    unpickling = _STEPS_OF_AN_ITEM * scale.shards * at["unpickled by each task, CPU s"] / rates.gpus / 3600
    driver = sum(at[name] for name in at if name.endswith("CPU s") and "each task" not in name) / 3600
    memory = [
        Limit("train_ensemble: training rows in each worker's memory", rows_in_memory, rates.worker, "GB"),
        *(Limit(f"driver: {name.removesuffix(', MB held')}", gb, rates.head, "GB") for name, gb in held.items()),
    ]
    times = [
        Limit("predict: the driver hands out items", rates.item * scale.shards / 3600, hours["predict"], "hours"),
        Limit("predict: plan, checks, manifest, events in the driver", driver, hours["predict"], "hours"),
        Limit("predict: workers unpickle what each task gets", unpickling, hours["predict"], "hours"),
        Limit("predict: requests to publish, one after the other", waiting("publish"), hours["predict"], "hours"),
        Limit(
            "predict: the driver looks through half of the shards after a restart",
            waiting("find after a restart") / 2 + stored / 2 / a_second / 3600,
            hours["predict"],
            "hours",
        ),
        Limit("distill: requests to open, by the first rank", waiting("open for training"), hours["distill"], "hours"),
        Limit(
            "distill: each node reads all shards, each epoch",
            rates.student_epochs * stored / a_second / 3600,
            hours["distill"],
            "hours",
        ),
    ]
    largest = lambda limit: -limit.times  # noqa: E731
    fatal = [limit for limit in memory if limit.times > 1]
    others = [limit for limit in memory + times if limit not in fatal]
    return [*sorted(fatal, key=largest), *sorted(others, key=largest)]


def _input_bytes(scale: Scale) -> int:
    size = 1
    for length in scale.shape:
        size *= length
    return size


def tables(scale: Scale, rates: Rates, sizes: tuple[list[int], list[int]]) -> list[Table]:
    """Sizes, hours, what was measured, and what breaks."""
    row_sizes, file_sizes = sizes
    found = {**row_figures(scale, row_sizes), **file_figures(scale, file_sizes)}
    requests = request_figures(scale)
    file_bytes = shard_bytes(scale)
    run = run_of(scale.of_shards(scale.views))
    title = f"{scale.rows:,} rows ({scale.views} views) x {scale.members} members, {rates.gpus} GPUs."
    items = scale.shards
    size_rows = [
        ["shards of the transfer set", f"{items:,} of {scale.rows_per_shard:,} rows"],
        ["a row", f"{row_bytes(run)} bytes"],
        ["a shard, of random pixels", readable_bytes(file_bytes)],
        ["all shards", readable_bytes(file_bytes * items)],
        ["Ray's tasks and actor calls in predict", f"{_STEPS_OF_AN_ITEM * items:,}"],
        ["Ray's objects (blocks) in predict, with the items", f"{(_STEPS_OF_AN_ITEM + 1) * items:,}"],
        *([f"requests to {name}", f"{number:.3g} a shard, {number * items:,.0f}"] for name, number in requests.items()),
        *([f"hours of the GPUs: {stage}", f"{hours:.2f}"] for stage, hours in hours_of(scale, rates).items()),
    ]
    measured_rows = [
        [
            name,
            ", ".join(f"{size:,}: {value:.3g}" for size, value in zip(each.sizes, each.values, strict=True)),
            f"n^{each.power:.2f}",
            f"{each.at(items):.3g}",
        ]
        for name, each in found.items()
    ]
    limits = limits_of(scale, rates, found, requests, file_bytes)
    run_of_size = f"`{TRANSFER}` alone; the other splits are small beside it."
    return [
        Table("sizes", f"{title} {run_of_size}", ["what", "how much"], size_rows),
        Table(
            "measured",
            "In one process, CPU seconds.",
            ["what", "at so many shards", "grows as", f"at {items:,}"],
            measured_rows,
        ),
        Table(
            "what breaks, the first first",
            "Memory, then hours beside those that GPUs compute in that stage.",
            ["what", "needs", "there is", "times", ""],
            [limit.row() for limit in limits],
        ),
    ]


def _amount(word: str) -> float:
    """A finite number above 0, from the command line."""
    with suppress(ValueError):
        found = float(word)
        if 0 < found < math.inf:
            return found
    raise argparse.ArgumentTypeError(f"{word} is not a number above 0")


def _number(word: str) -> int:
    """A whole number above 0, from the command line."""
    found = _amount(word)
    if found != int(found):
        raise argparse.ArgumentTypeError(f"{word} is not a whole number")
    return int(found)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rows", type=_amount, default=1e9, help="of the transfer set")
    add("--views", type=_number, default=20, help="in which each source row stands there")
    add("--members", type=_number, default=50)
    add("--gpus", type=_number, default=256)
    add("--shape", type=_number, nargs=3, default=(32, 32, 3), help="of an input, uint8")
    add("--classes", type=_number, default=10)
    add("--rows-per-shard", type=_number, default=5000, help="predict.rows_per_shard")
    add("--train-rows-per-second", type=_amount, default=9_600, help="of one member on a GPU")
    add("--ask-rows-per-second", type=_amount, default=232_000, help="rows x members asked and written by a GPU")
    add("--student-rows-per-second", type=_amount, default=30_700, help="of a student on a GPU")
    add("--epochs", type=_number, default=20, help="of a member")
    add("--student-epochs", type=_number, default=5)
    add("--gigabits", type=_amount, default=10, help="a second, of a worker's network")
    add("--request-ms", type=_amount, default=30, help="of an object store's answer")
    add("--head-gigabytes", type=_amount, default=32, help="memory of the driver's machine")
    add("--worker-gigabytes", type=_amount, default=64, help="memory of a worker")
    add(
        "--item-seconds",
        type=_amount,
        default=0.08,
        help="CPU of the driver for an item of predict (--ray measures it)",
    )
    add("--ray", action="store_true", help="measure --item-seconds in a Ray session")
    add("--row-sizes", type=_number, nargs="+", default=[1_000, 10_000], help="plans in shards, whose rows are counted")
    add("--file-sizes", type=_number, nargs="+", default=[1_000, 10_000, 100_000], help="plans in shards")
    given = parser.parse_args()
    scale = Scale(int(given.rows), given.views, given.members, tuple(given.shape), given.classes, given.rows_per_shard)
    rates = Rates(
        train=given.train_rows_per_second,
        ask=given.ask_rows_per_second,
        student=given.student_rows_per_second,
        gpus=given.gpus,
        epochs=given.epochs,
        student_epochs=given.student_epochs,
        gigabits=given.gigabits,
        latency=given.request_ms / 1000,
        head=given.head_gigabytes,
        worker=given.worker_gigabytes,
        item=seconds_of_an_item() if given.ray else given.item_seconds,
    )
    print(f"driver's CPU seconds an item of predict: {rates.item:.3g}\n")
    for table in tables(scale, rates, (given.row_sizes, given.file_sizes)):
        print(table.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
