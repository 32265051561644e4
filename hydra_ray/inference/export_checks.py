"""What an exported graph is worth: how far its answers are from the student's, and how long it takes for them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
import torch

from hydra_ray.data import InputFormat
from hydra_ray.errors import StageError
from hydra_ray.inference.answering import KNOWLEDGE
from hydra_ray.inference.student import Student
from hydra_ray.metrics.fidelity import spearman
from hydra_ray.models import HydraStudent
from hydra_ray.randomness import numpy_generator, seed_of
from hydra_ray.shards import read_shard, shard_names
from hydra_ray.storage import Folder, files_of

Answers = dict[str, np.ndarray]
Ask = Callable[[np.ndarray], Answers]
Name = str | None
"""Of a file; None for the student itself."""

NUM_ROWS = 1000
LATENCY_BATCHES = (1, 256)
_BATCHES = (1, 2, 7)
"""Batches that a graph is asked first, as a size is easily baked into one."""
_AT_ONCE = 256
_REPEATS = 20
_WARM_UP = 3
_MOST_SECONDS = 10
"""For the latencies at one batch; large networks are asked fewer times."""
_TOLERANCE = 1e-3
"""Of an output's largest value; float32 leaves a hundredth of it, a branch that was traced one way only leaves more."""


@dataclass(frozen=True)
class Comparison:
    """A graph's answers beside the student's on the same rows.

    Attributes:
        differences: largest absolute difference by output.
        relative: the largest of them, as a share of the largest value that the output has.
        rank_correlation: Spearman's, of knowledge uncertainty; None where there is none, or it is constant.
    """

    differences: Mapping[str, float]
    relative: float
    rank_correlation: float | None


def rows_to_check(place: str, student: Student) -> tuple[np.ndarray, str]:
    """Rows as the student takes them: validation rows of the run in whose folder it lies, or else random ones.

    Returns:
        uint8 [N, H, W, channels] or float32 [N, D], and in words which they are.
    """
    folder = Folder.open(place, "student")
    run = folder.parent.parent
    shards = files_of(run / "predictions" / "validation")
    names = shard_names(shards)
    if names and folder.parent.name == "students":
        rows = read_shard(shards, names[0]).inputs[:NUM_ROWS].copy()
        if rows.shape[1:] == student.inputs.shape:
            return rows, f"{len(rows):,} validation rows of {run}"
    return _random_rows(student.inputs, student.network), f"{NUM_ROWS:,} random rows"


def _random_rows(form: InputFormat, network: HydraStudent) -> np.ndarray:
    generator = numpy_generator(seed_of(0, "rows of a check"))
    if form.is_image:
        return generator.integers(0, 256, (NUM_ROWS, *form.shape), dtype=np.uint8)
    normalise = network.normalise
    standard = generator.normal(size=(NUM_ROWS, *form.shape))
    rows = (standard * normalise.std.cpu().numpy() + normalise.mean.cpu().numpy()).astype(np.float32)
    num_codes = np.array(network.spec.categories or (0,))
    return np.where(num_codes > 0, np.floor(generator.random(rows.shape) * num_codes), rows).astype(np.float32)


def compare(ask: Ask, student: Student, rows: np.ndarray) -> Comparison:
    """A graph's answers beside the student's."""
    answers = [student.answer(part) for part in _parts(rows)]
    expected = type(answers[0]).joined(answers)
    parts = [ask(part) for part in _parts(rows)]
    found = {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}
    differences = {name: float(np.abs(values - getattr(expected, name)).max()) for name, values in found.items()}
    largest = {name: float(np.abs(getattr(expected, name)).max()) for name in found}
    relative = max(differences[name] / max(largest[name], _TOLERANCE) for name in found)
    rank = None
    if KNOWLEDGE in found:
        rank = spearman(torch.tensor(found[KNOWLEDGE]), torch.tensor(expected.knowledge))
    return Comparison(differences, relative, rank)


def require_agreement(name: Name, comparison: Comparison) -> None:
    """Refuse a graph that says something else than the student.

    Raises:
        StageError: its answers differ by more than rounding does.
    """
    if not comparison.relative <= _TOLERANCE:  # NaN too
        worst = max(comparison.differences, key=lambda output: comparison.differences[output])
        apart = f"its {worst} differs from the student's by {comparison.differences[worst]:.3g}"
        raise StageError(
            f"{name or 'the graph'}: {apart}; the network does something that a graph does "
            "not keep (a branch on values, numbers drawn); nothing was written"
        )


def latencies(asks: Mapping[Name, Ask], rows: np.ndarray) -> dict[Name, dict[int, float]]:
    """Median milliseconds of an answer by name and batch; the names take turns, so that all see the same machine."""
    found: dict[Name, dict[int, float]] = {name: {} for name in asks}
    for size in LATENCY_BATCHES:
        batch = np.resize(rows, (size, *rows.shape[1:]))
        rounds = _rounds(asks, batch)
        counted = rounds[_WARM_UP:] or rounds[-1:]
        for name in asks:
            found[name][size] = 1e3 * statistics.median(seconds[name] for seconds in counted)
    return found


def _rounds(asks: Mapping[Name, Ask], batch: np.ndarray) -> list[dict[Name, float]]:
    """Seconds that each takes, round after round."""
    rounds: list[dict[Name, float]] = []
    end = time.perf_counter() + _MOST_SECONDS
    while len(rounds) < _WARM_UP + _REPEATS and (len(rounds) < 2 or time.perf_counter() < end):
        rounds.append({name: _seconds(ask, batch) for name, ask in asks.items()})
    return rounds


def _seconds(ask: Ask, batch: np.ndarray) -> float:
    start = time.perf_counter()
    ask(batch)
    return time.perf_counter() - start


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for size in chain(_BATCHES, repeat(_AT_ONCE)):
        if start >= len(rows):
            return
        yield rows[start : start + size]
        start += size
