"""`hydra_ray.run`: the command `hydra-ray run` as a function, for scripts and notebooks; it returns objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.config import Config, StudentKind, load_config, validate
from hydra_ray.inference import Student, load_student
from hydra_ray.runs import STAGES, Listener, Run, always, never


@dataclass(frozen=True)
class RunResult:
    """What a run has made.

    Attributes:
        folder: of the run, a path or URI.
        report: the report's page, likewise.
        metrics: the content of its metrics.json.
        kinds: of its students.
    """

    folder: str
    report: str
    metrics: dict[str, Any]
    kinds: tuple[StudentKind, ...]

    def student(self, kind: StudentKind | None = None) -> Student:
        """One of its students; the first where none is named."""
        return load_student(f"{self.folder}/students/{kind or self.kinds[0]}")


def run(
    config: Config | Mapping[str, Any] | str | Path,
    overrides: Iterable[str] = (),
    *,
    progress: Listener | None = None,
    wait: bool = False,
    redo: bool = False,
) -> RunResult:
    """Bring all stages of a run up to date; what is done and still valid is skipped.

    Args:
        config: a recipe's path or name, its content as a mapping, or a `Config`.
        overrides: `key=value` words, for a path or name.
        progress: called with each event as events.jsonl has it: `stage`, `event` and its figures.
        wait: for another command that works in the run folder, rather than fail.
        redo: replace finished results of another seed, or of other data, rather than fail.

    Raises:
        UserError: something that the caller can mend; where possible it is found before any worker starts.
    """
    if isinstance(config, str | Path):
        config = load_config(config, overrides)
    elif not isinstance(config, Config):
        config = validate(config, "config")
    this = Run(config)
    run_stages(this, STAGES, wait=wait, redo=always if redo else never, listener=progress or _nobody)
    report = this.report()
    metrics = json.loads(report.read("metrics.json"))
    return RunResult(str(this.folder), f"{report.files}/report.html", metrics, tuple(this.config.student_kinds))


def _nobody(event: Mapping[str, Any]) -> None:
    """Nobody listens, and nothing is printed."""
