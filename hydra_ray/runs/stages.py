"""The table of stages: what each needs, makes and costs, and the function that runs it.

The chain (`cluster/pipeline.py`), the plan and the command line read this table and know no stage by name. A new stage
is a row here, a module with its function, and a short main in `pipelines/`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hydra_ray.config import Config
from hydra_ray.data import VALIDATION_VIEWS
from hydra_ray.runs.quorum import in_words
from hydra_ray.runs.run import TRANSFER, Run
from hydra_ray.storage import Artifact

_ROW_OVERHEAD = 20  # bytes of row_id, view and label


@dataclass(frozen=True)
class StageSpec:
    """One stage of the pipeline.

    Attributes:
        name: of the stage, its subcommand of `hydra-ray` and its main in `pipelines/`.
        help: what the command line says it does.
        needs: stages whose results must all be published before it runs.
        artifacts: the results of a run's stage; it is done when all of them are published and valid.
        unit: what the results are called, in the plural.
        cost: in words, what it costs to run the whole stage.
        run: `module:function`, called with the run and the running stage. A string, so that a plan imports no Ray.
        trains_on_shards: whether it trains on shards; every byte of them is checked first.
        workers: how many have to be there at the same time; other work goes on as far as there is room.
        shared: whether a result of the same key may be taken from another run of the sweep.
        off: why the configuration switches it off; None where it does not.
        remark: what else there is to say of its results.
    """

    name: str
    help: str
    needs: tuple[str, ...]
    artifacts: Callable[[Run], list[Artifact]]
    unit: str
    cost: Callable[[Run], str]
    run: str
    trains_on_shards: bool = False
    workers: Callable[[Config], int] = lambda config: 1
    shared: bool = True
    off: Callable[[Config], str | None] = lambda config: None
    remark: Callable[[Run], str] = lambda run: ""

    def missing(self, run: Run) -> list[Artifact]:
        """The results that are not published, or are of another configuration.

        Raises:
            UserError: one is published, but damaged.
        """
        return [artifact for artifact in self.artifacts(run) if not artifact.is_done]


def _members_cost(run: Run) -> str:
    ensemble = run.config.ensemble
    rows = run.data.splits["train"].num_rows
    return f"{_counted(ensemble.num_members * ensemble.epochs, 'member-epoch')} of {rows:,} rows"


def _no_members(config: Config) -> str | None:
    """Why no members are trained here."""
    if config.predict.shards is not None:
        return f"predict.shards={config.predict.shards}"
    kind = config.ensemble.teachers.kind
    return None if config.trains_members else f"ensemble.teachers.kind={kind}"


def _shards_cost(run: Run) -> str:
    rows = sum(map(run.num_rows, run.split_names))
    size = readable_bytes(rows * row_bytes(run))
    return f"{rows:,} rows x {_counted(run.config.ensemble.num_members, 'member')}, up to {size} of shards"


def _search_cost(run: Run) -> str:
    tune = run.config.tune
    distill = run.config.distill
    kinds = len(run.searched_kinds)
    epochs = kinds * tune.num_trials * (distill.mean_phase_epochs + (tune.epochs or distill.epochs))
    rows = run.num_rows(TRANSFER)
    trials = f"{_counted(tune.num_trials, 'trial')} of {_counted(kinds, 'kind')}"
    return f"{trials}, {_counted(epochs, 'epoch')} of {rows:,} rows at most"


def _students_cost(run: Run) -> str:
    distill = run.config.distill
    students = len(run.config.student_kinds)
    epochs = students * (distill.mean_phase_epochs + distill.epochs)
    return f"{_counted(students, 'student')}, {_counted(epochs, 'epoch')} of {run.num_rows(TRANSFER):,} rows"


def _report_cost(run: Run) -> str:
    rows = sum(run.num_rows(split) for split in run.split_names if split not in (TRANSFER, VALIDATION_VIEWS.name))
    return f"{rows:,} rows x {_counted(len(run.config.student_kinds), 'student')}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def row_bytes(run: Run) -> int:
    """Uncompressed bytes of one row of the shards."""
    split = run.data.splits["train"].source
    inputs = int(np.prod(split.input_shape)) * np.dtype(split.dtype).itemsize
    logits = run.config.ensemble.num_members * run.data.num_outputs * np.dtype(run.shard_dtype).itemsize
    return inputs + logits + _ROW_OVERHEAD


def readable_bytes(number: float) -> str:
    """A number of bytes with three digits and its unit, e.g. `12.3 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:  # what rounds to 1000 is one of the next unit
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


_ROWS = (
    StageSpec(
        "train_ensemble",
        help="train the members that are missing, on Ray Train workers",
        needs=(),
        artifacts=Run.members,
        unit="members",
        cost=_members_cost,
        off=_no_members,
        remark=lambda run: f", goes on {in_words(run.given_up)}" if run.given_up else "",
        workers=lambda config: config.cluster.fewest_workers,
        run="hydra_ray.cluster.train_ensemble:train_ensemble",
    ),
    StageSpec(
        "predict",
        help="ask the members about every split, through Ray Data, and write the shards",
        needs=("train_ensemble",),
        artifacts=lambda run: [run.shards(split) for split in run.split_names],
        unit="splits",
        cost=_shards_cost,
        run="hydra_ray.cluster.predict:predict",
    ),
    StageSpec(
        "tune",
        help="search the student with Ray Tune, on the shards",
        needs=("train_ensemble",),
        trains_on_shards=True,
        artifacts=lambda run: [run.search(kind) for kind in run.searched_kinds],
        unit="searches",
        cost=_search_cost,
        workers=lambda config: config.tune.workers_per_trial,
        off=lambda config: None if config.tune.num_trials else "tune.num_trials=0",
        run="hydra_ray.cluster.tune:tune",
    ),
    StageSpec(
        "distill",
        help="distil the students that are missing from the shards, on Ray Train workers",
        needs=("train_ensemble",),
        trains_on_shards=True,
        artifacts=lambda run: [run.student(kind) for kind in run.config.student_kinds],
        unit="students",
        cost=_students_cost,
        workers=lambda config: config.cluster.fewest_workers,
        run="hydra_ray.cluster.distill:distill",
    ),
    StageSpec(
        "evaluate",
        help="compare ensemble and students and write the report",
        needs=("train_ensemble", "predict", "distill"),
        artifacts=lambda run: [run.report()],
        unit="reports",
        cost=_report_cost,
        shared=False,  # seconds and latencies are each run's own
        run="hydra_ray.cluster.evaluate:evaluate",
    ),
)

STAGES: dict[str, StageSpec] = {stage.name: stage for stage in _ROWS}
"""Every stage by its name, in the order in which they run."""
