"""Where stages are measured: run folders in a temporary place, members without training, and what happened when."""

from __future__ import annotations

import contextlib
import io
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from hydra_ray.config.load import load_config
from hydra_ray.models.members import Normalise, build_member
from hydra_ray.randomness import seed_of
from hydra_ray.runs.model_store import publish_model
from hydra_ray.runs.run import Run

REPO = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """What all benchmarks share.

    Attributes:
        place: a temporary folder.
        quick: sizes for a look, not for a table.
    """

    place: Path
    quick: bool

    def run(self, recipe: str, name: str, *overrides: str) -> Run:
        """A run of a shipped recipe with a folder of its own, whose stages have workers however little they do."""
        words = [f"storage={self.place}", f"name={name}", "data.unknown={}", "cluster.local=false", *overrides]
        return Run(load_config(REPO / "configs" / f"{recipe}.yaml", words))

    def pick(self, full: Any, quick: Any) -> Any:
        """A size."""
        return quick if self.quick else full


def do_stage(run: Run, stage: str) -> list[dict[str, Any]]:
    """Run one stage without its lines on the terminal; its events, in order."""
    from hydra_ray.cluster.pipeline import run_stages

    with contextlib.redirect_stdout(io.StringIO()):
        run_stages(run, [stage])
    return [event for event in events(run) if event["stage"] == stage]


def events(run: Run) -> list[dict[str, Any]]:
    """The record of a run folder."""
    return [json.loads(line) for line in Path(run.folder.path, "events.jsonl").read_text().splitlines()]


def moment(found: Sequence[dict[str, Any]], name: str) -> float:
    """When an event happened for the last time."""
    return max(event["time"] for event in found if event["event"] == name)


def publish_untrained(run: Run) -> None:
    """Members with their first weights: they cost what trained ones cost."""
    normalise = Normalise.fit(run.data.splits["train"].read(0, 1000).inputs)
    spec = run.member_spec()
    for number, artifact in enumerate(run.members()):
        publish_model(
            artifact, build_member(spec, seed_of(0, "member weights", number), normalise), spec, {"member": number}
        )


@dataclass
class Memory:
    """Memory (PSS) of this process and all below it while a `with` block runs, MB; shared pages count once.

    Attributes:
        before_mb: what there was before; measured when the block begins, unless given.
        peak_mb: the most seen.
    """

    before_mb: float | None = None
    peak_mb: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def grown_mb(self) -> float:
        """How far the peak lies above what there was before."""
        return self.peak_mb - (self.before_mb or 0.0)

    def __enter__(self) -> Self:
        self.before_mb = all_mb() if self.before_mb is None else self.before_mb
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak_mb = max(self.peak_mb, all_mb())
            if self._stop.wait(0.5):
                return


def all_mb() -> float:
    """Memory (PSS) of this process and all below it."""
    return sum(_pss_kb(pid) for pid in _descendants()) / 1024


def _descendants() -> Iterator[int]:
    """This process and all below it; what Ray starts is among them."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text()
                parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    waiting = [os.getpid()]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += parents.get(pid, [])


def _pss_kb(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
