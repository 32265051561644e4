"""One GPU in minutes, without Ray: members one by one against stacked, predict, distill and infer.

    python -m benchmarks.gpu --out gpu.json               # under nine minutes on one GPU
    python -m benchmarks.gpu --device cpu --tiny          # what the test does: that it runs and that its checks hold

Builds what it needs from random pixels: no data set, no run folder, no Ray. Besides torch and numpy it needs what
`hydra_ray`'s plain modules import: pydantic, pyarrow, safetensors. Where pydantic is missing:
`pip download pydantic --only-binary=:all: --python-version 3.12 -d wheels`, unpack the wheels, add them to PYTHONPATH.

Shares of the peak are of rates measured on this device first: a large bfloat16 product and a large copy.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.latency import BATCHES, predictors
from benchmarks.latency import MEMBER as MLP
from benchmarks.pairs import Table
from hydra_ray.config.sections import DistillConfig, EnsembleConfig
from hydra_ray.losses.classification import hydra_loss
from hydra_ray.losses.sums import Summed
from hydra_ray.models.cost import count_macs, latency_ms
from hydra_ray.models.ensemble import Ensemble, StackedMembers
from hydra_ray.models.members import Member, ModelSpec, build_member
from hydra_ray.runs.provenance import software_facts
from hydra_ray.shards.loader import Batch
from hydra_ray.shards.schema import ShardRows
from hydra_ray.training.loop import TrainState
from hydra_ray.training.member import member_step
from hydra_ray.training.stacked import stack_step

RESNET = ModelSpec("member", "resnet20", (32, 32, 3), 10)
TINY_RESNET = ModelSpec("member", "resnet20", (8, 8, 3), 10, {"width": 4, "blocks_per_stage": 1})
BATCH = 128


@dataclass(frozen=True)
class Place:
    """Where and how large.

    Attributes:
        device: of everything.
        tiny: sizes for a test.
        deadline: `time.monotonic()` after which no new measurement begins.
    """

    device: torch.device
    tiny: bool
    deadline: float

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of members."""
        return (1, 3) if self.tiny else (1, 4, 16, 50)

    @property
    def specs(self) -> dict[str, ModelSpec]:
        """Networks by name."""
        return {"mlp": MLP, "resnet20": TINY_RESNET if self.tiny else RESNET}

    @property
    def is_late(self) -> bool:
        """Whether to stop."""
        return time.monotonic() > self.deadline

    def seconds(self, call: Callable[[], object]) -> float:
        """Median seconds of a call, waited for, after two that do not count."""
        taken = []
        for _ in range(4 if self.tiny else 7):
            self.wait()
            begin = time.perf_counter()
            call()
            self.wait()
            taken.append(time.perf_counter() - begin)
        return statistics.median(taken[2:])

    def wait(self) -> None:
        """For the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def pixels(self, spec: ModelSpec, num_rows: int) -> Tensor:
        """Random rows as stored, on the device."""
        return torch.randint(0, 256, (num_rows, *spec.input_shape), dtype=torch.uint8, device=self.device)

    def members(self, spec: ModelSpec, number: int) -> list[Member]:
        """With their first weights."""
        return [build_member(spec, member).to(self.device) for member in range(number)]


# --- ceilings and checks


def ceilings(place: Place) -> Table:
    """What this device reaches: a bfloat16 product and a copy."""
    size, number = (256, 1 << 20) if place.tiny else (8192, 1 << 29)
    left, right = (torch.randn(size, size, device=place.device).bfloat16() for _ in range(2))
    flops = 2 * size**3 / place.seconds(lambda: left @ right)
    source = torch.randn(number, device=place.device)
    target = torch.empty_like(source)
    copied = 2 * source.nbytes / place.seconds(lambda: target.copy_(source))
    rows = [["bfloat16 product, TFLOP/s", flops / 1e12], ["copy, TB/s (read and written)", copied / 1e12]]
    return Table(
        "ceilings", f"Measured; product of {size} x {size}, copy of {source.nbytes >> 20} MiB.", ["what", "rate"], rows
    )


def checks(place: Place) -> Table:
    """Weights after a few float64 steps: stacked against alone, as a share of how far they have moved.

    In float32 an H200's convolutions, grouped against plain, leave ResNet-20 a share of 5e-3.
    """
    rows = [[name, f"{_difference(place, spec):.1e}", "1e-4"] for name, spec in place.specs.items()]
    if any(not float(found) <= 1e-4 for _, found, _ in rows):
        raise SystemExit(f"stacked members are not those that they are alone: {rows}")
    columns = ["network", "difference / way", "must be below"]
    return Table("checks", "Three members, five steps of SGD, float64; losses in float32.", columns, rows)


def _difference(place: Place, spec: ModelSpec) -> float:
    settings = EnsembleConfig(optimizer="sgd", learning_rate=0.01, precision="float32")
    first = [member.double() for member in place.members(spec, 3)]
    alone = [member.double() for member in place.members(spec, 3)]
    stack = StackedMembers(first).to(place.device).train()
    apart = [TrainState(member.train(), settings, num_steps=5, seed=0) for member in alone]
    together = TrainState(stack, settings, num_steps=5, seed=0)
    for _ in range(5):
        inputs = place.pixels(spec, 3 * 32).unflatten(0, (3, 32))
        labels = torch.randint(0, 10, (3, 32), device=place.device)
        stack_step(together, _cross_entropy, inputs, labels)
        for state, rows, wanted in zip(apart, inputs, labels, strict=True):
            member_step(state, _cross_entropy, rows, wanted)
    moved = _distance([each.network for each in first], [each.network for each in alone])
    found = [dict(stack.network.named_parameters())[name] for name, _ in alone[0].network.named_parameters()]
    distance = sum(
        (weights[place_] - own).double().square().sum()
        for place_, member in enumerate(alone)
        for weights, own in zip(found, member.network.parameters(), strict=True)
    )
    return float((distance / moved).sqrt().detach())


def _distance(one: list[nn.Module], other: list[nn.Module]) -> Tensor:
    pairs = [
        pair for each in zip(one, other, strict=True) for pair in zip(*(m.parameters() for m in each), strict=True)
    ]
    return torch.stack([(a - b).double().square().sum() for a, b in pairs]).sum()


def _cross_entropy(logits_BC: Tensor, labels_B: Tensor) -> Summed:
    return Summed(F.cross_entropy(logits_BC, labels_B, reduction="sum"), len(labels_B))


# --- measurements


def train(place: Place, peak: float) -> Table:
    """A step of k members: one by one, and as one network."""
    rows = []
    for name, spec in place.specs.items():
        macs = count_macs(place.members(spec, 1)[0], spec.input_shape)
        alone = 0.0
        for number in place.numbers:
            if place.is_late:
                break
            seconds = _train_seconds(place, spec, number)
            alone = alone or seconds
            rate = 6 * macs * BATCH * number / seconds
            gain = round(number * alone / seconds, 2)
            rows.append([name, number, 1e3 * seconds, 1e3 * seconds / number, gain, f"{rate / peak:.2%}"])
    columns = ["network", "members", "ms a step", "ms a member's step", "x one by one", "share of peak"]
    return Table("train", f"Batch {BATCH}, AdamW, rows on the device, precision auto.", columns, rows)


def _train_seconds(place: Place, spec: ModelSpec, number: int, *, compiled: bool = False) -> float:
    inputs = place.pixels(spec, 512 if place.tiny else 20_000)
    labels = torch.randint(0, 10, (len(inputs),), device=place.device)
    members = place.members(spec, number)
    steps = 2 if place.tiny else 20
    model = members[0] if number == 1 else StackedMembers(members).to(place.device)
    state = TrainState(model.train(), EnsembleConfig(compile=compiled), num_steps=10_000, seed=0)
    places = torch.randint(0, len(inputs), (steps, number, BATCH), device=place.device)

    def some_steps() -> None:
        for rows in places if number > 1 else places[:, 0]:
            if number > 1:
                stack_step(state, _cross_entropy, inputs[rows], labels[rows])
            else:
                member_step(state, _cross_entropy, inputs[rows], labels[rows])

    return place.seconds(some_steps) / steps


def compiled_steps(place: Place) -> Table:
    """The same steps under `torch.compile`, where the time left allows it."""
    rows = []
    number = place.numbers[-2]
    for name, spec in () if place.tiny else place.specs.items():
        for members in (1, number):
            if not place.is_late:
                plain, compiled = (_train_seconds(place, spec, members, compiled=each) for each in (False, True))
                rows.append([name, members, 1e3 * plain, 1e3 * compiled, round(plain / compiled, 2)])
    columns = ["network", "members", "ms a step", "ms compiled", "gain"]
    return Table("compile", "`ensemble.compile=true`; compilation itself not counted.", columns, rows)


def predict(place: Place, peak: float) -> Table:
    """Rows a second from stored rows on the device to logits."""
    rows = []
    for name, spec in place.specs.items():
        inputs = place.pixels(spec, 64 if place.tiny else 4096)
        for number in place.numbers:
            members = place.members(spec, number)
            macs = count_macs(members[0], spec.input_shape)
            for stacked in (False, True) if not place.is_late else ():
                seconds = place.seconds(partial(Ensemble(members, stacked=stacked), inputs))
                rate = 2 * macs * number * len(inputs) / seconds
                how = "stacked" if stacked else "one by one"
                rows.append([name, number, how, len(inputs) / seconds, f"{rate / peak:.2%}"])
    columns = ["network", "members", "how", "rows / s", "share of peak"]
    return Table("predict", "float32; the share is of the bfloat16 peak.", columns, rows)


def distill(place: Place) -> Table:
    """Steps of a Hydra student: rows that stay on the device, and rows gathered on the host and copied."""
    rows = []
    for number in place.numbers[1:]:
        stays, copied = _distill_seconds(place, number)
        rows.append([number, 1 / stays, 1 / copied, round(copied / stays, 2)])
        if place.is_late:
            break
    columns = ["heads", "steps / s, rows on the device", "steps / s, rows copied", "gain"]
    return Table("distill", "mnist.yaml's student, batch 256, precision auto.", columns, rows)


def _distill_seconds(place: Place, number: int) -> tuple[float, float]:
    model = predictors(number)["hydra"].to(place.device).train()
    steps = 2 if place.tiny else 20
    state = TrainState(model, DistillConfig(), num_steps=10_000, seed=0)
    stored = _stored(2048 if place.tiny else 50_000, number)
    resident = Batch.of(stored, place.device)
    on_host = np.random.default_rng(0).integers(0, len(stored), (steps, 256))
    on_device = torch.from_numpy(on_host).to(place.device)

    def step(batch: Batch) -> None:
        state.begin_step()
        hydra_loss(state.forward(batch.inputs), batch.logits_BMC.float(), temperature=1.0).mean().backward()
        state.update()

    stays = place.seconds(lambda: [step(resident.at(places)) for places in on_device])
    copied = place.seconds(lambda: [step(Batch.of(stored.take(places), place.device)) for places in on_host])
    return stays / steps, copied / steps


def _stored(num_rows: int, number: int) -> ShardRows:
    rng = np.random.default_rng(0)
    return ShardRows(
        np.arange(num_rows),
        np.zeros(num_rows, np.int32),
        rng.integers(0, 256, (num_rows, *MLP.input_shape), np.uint8),
        rng.integers(0, 10, num_rows),
        rng.normal(size=(num_rows, number, 10)).astype(np.float16),
    )


def infer(place: Place) -> Table:
    """Milliseconds of a forward pass."""
    member = place.members(MLP, 1)[0]
    repeats = 3 if place.tiny else 50
    rows = [[1, "one member", *(latency_ms(member, MLP.input_shape, size, repeats) for size in BATCHES)]]
    for number in place.numbers[1:]:
        for name, model in predictors(number).items():
            model.to(place.device)
            rows.append([number, name, *(latency_ms(model, MLP.input_shape, size, repeats) for size in BATCHES)])
    return Table(
        "infer", "float32, inputs on the device.", ["M", "predictor", *(f"ms, batch {size}" for size in BATCHES)], rows
    )


def measure(place: Place) -> list[Table]:
    """All of it, checks first."""
    reached = ceilings(place)
    peak = float(reached.rows[0][1]) * 1e12
    tables = [reached, checks(place), train(place, peak), predict(place, peak), distill(place), infer(place)]
    return [*tables, compiled_steps(place)]


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="sizes for a test")
    parser.add_argument("--out", type=Path, help="JSON file; the Markdown goes beside it")
    arguments = parser.parse_args()
    begin = time.monotonic()
    tables = measure(Place(torch.device(arguments.device), arguments.tiny, begin + 300))
    page = "\n".join(table.markdown() for table in tables) + f"\n{time.monotonic() - begin:.0f} s; {software_facts()}\n"
    if arguments.out is not None:
        content = {"facts": software_facts(), "tables": [asdict(table) for table in tables]}
        arguments.out.write_text(json.dumps(content, indent=1) + "\n")
        arguments.out.with_suffix(".md").write_text(page)
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
