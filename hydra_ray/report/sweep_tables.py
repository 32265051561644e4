"""Tables of sweeps: mean and spread of each predictor under each setting; of standard splits what others published too.

They are formatted from sweep.json alone (`hydra_ray/runs/sweep.py`), nothing is computed.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import DASH, decimal, percent, significant
from hydra_ray.report.inputs import ENSEMBLE, MEMBER, task_of
from hydra_ray.report.tables import TextTable, to_latex, to_markdown
from hydra_ray.tasks import REGRESSION

Sweep = Mapping[str, Any]
Format = Callable[[float | None], str]

_IN_PERCENT = {"coverage_95"}
_IN_TARGET_UNITS = {"rmse", "crps"}
_KEPT = ("knowledge_variance_ratio", "spearman_knowledge_variance")
PUBLISHED: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "concrete": {
        "ensemble": {"rmse": 5.619, "nll": 3.113, "crps": 2.993, "coverage_95": 0.952},
        "Hydra": {"rmse": 6.056, "nll": 3.259, "crps": 3.308, "coverage_95": 0.910},
        "DLF": {"rmse": 5.605, "nll": 3.158, "crps": 3.062, "coverage_95": 0.929},
    },
    "energy": {
        "ensemble": {"rmse": 0.569, "nll": 0.853, "crps": 0.314, "coverage_95": 1.00},
        "Hydra": {"rmse": 0.655, "nll": 0.991, "crps": 0.362, "coverage_95": 0.995},
        "DLF": {"rmse": 0.566, "nll": 0.853, "crps": 0.316, "coverage_95": 1.00},
    },
    "kin8nm": {
        "ensemble": {"rmse": 0.0794, "nll": -1.111, "crps": 0.0443, "coverage_95": 0.961},
        "Hydra": {"rmse": 0.0932, "nll": -0.943, "crps": 0.0518, "coverage_95": 0.941},
        "DLF": {"rmse": 0.0825, "nll": -1.075, "crps": 0.0458, "coverage_95": 0.976},
    },
    "wine-quality-red": {
        "ensemble": {"rmse": 0.550, "nll": 0.798, "crps": 0.296, "coverage_95": 0.975},
        "Hydra": {"rmse": 0.569, "nll": 0.832, "crps": 0.308, "coverage_95": 0.959},
        "DLF": {"rmse": 0.551, "nll": 0.823, "crps": 0.298, "coverage_95": 0.968},
    },
}
"""Data set -> predictor -> figure: the UCI table of DLF (Park et al. 2025, arXiv 2510.19290), 50 members, 10 splits."""


@dataclass(frozen=True)
class _Column:
    """A figure of every predictor.

    Attributes:
        heading: of its column.
        path: in metrics.json, with None in the predictor's place.
        shown: its format.
    """

    heading: str
    path: tuple[str | None, ...]
    shown: Format

    def of(self, predictor: str) -> tuple[str, ...]:
        """The path of one predictor's figure."""
        return tuple(predictor if name is None else name for name in self.path)

    @property
    def name(self) -> str:
        """Of the figure, whosever it is: `fidelity.nll_ratio`."""
        return ".".join(name for name in self.path if name is not None)


def settings_of(sweep: Sweep) -> list[Sweep]:
    """The settings of a sweep, each as a mapping of its own: `settings`, `runs`, `figures` and what all share."""
    return [{**sweep, **group} for group in sweep["groups"]]


def sweep_table(sweep: Sweep) -> TextTable:
    """Every predictor's figures under every setting, mean and spread over the runs that repeat it."""
    columns = _columns(sweep)
    rows = [
        (*map(str, one["settings"].values()), name, *(_cell(one, column.of(name), column.shown) for column in columns))
        for one in settings_of(sweep)
        for name in _predictors([one])
    ]
    headings = (*_settings(sweep), "predictor", *(column.heading for column in columns))
    return TextTable(_title(sweep), headings, tuple(rows))


def sweep_files(sweep: Sweep) -> dict[str, bytes]:
    """The table as sweep.md, sweep.tex, and with all digits as sweep.csv; file name -> content."""
    table = sweep_table(sweep)
    markdown = f"# {sweep['config']['name']}\n\n{table.title}\n\n{to_markdown(table)}\n"
    return {"sweep.md": markdown.encode(), "sweep.tex": to_latex(table).encode(), "sweep.csv": _csv(sweep).encode()}


def _csv(sweep: Sweep) -> str:
    """A line for each setting and predictor, and of each figure its mean and the standard deviation over runs."""
    columns = _columns(sweep)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = [f"{column.name}_{part}" for column in columns for part in ("mean", "deviation")]
    writer.writerow([*_settings(sweep), "predictor", "num_runs", *names])
    for one in settings_of(sweep):
        for name in _predictors([one]):
            values = [
                figure(one["figures"], *column.of(name), part) for column in columns for part in ("mean", "deviation")
            ]
            writer.writerow([*one["settings"].values(), name, len(one["runs"]), *values])
    return stream.getvalue()


def _columns(sweep: Sweep) -> list[_Column]:
    """Those that some predictor has."""
    task = task_of(sweep)
    knowledge = task.figures.knowledge
    short = task.words.knowledge_short
    sets = {name: None for one in settings_of(sweep) for name in one["figures"].get("unknown", {})}
    columns = [_Column(heading, ("test", None, key), _format(key)) for key, heading in task.words.published.items()]
    columns += [
        _Column(f"AUROC of {short}, {name}", ("unknown", name, None, f"auroc_{knowledge}"), decimal) for name in sets
    ]
    columns += [
        _Column("NLL ratio", ("fidelity", None, "nll_ratio"), decimal),
        _Column(f"{short} ratio", ("fidelity", None, f"{knowledge}_ratio", "test"), decimal),
        _Column(f"rho of {short}", ("fidelity", None, f"spearman_{knowledge}", "test"), decimal),
    ]

    def is_there(column: _Column) -> bool:
        return any(
            figure(one["figures"], *column.of(name), "mean") is not None
            for one in settings_of(sweep)
            for name in _predictors([one])
        )

    return [column for column in columns if is_there(column)]


def _settings(sweep: Sweep) -> tuple[str, ...]:
    return tuple(sweep["groups"][0]["settings"])


def _title(sweep: Sweep) -> str:
    number = max(len(group["runs"]) for group in sweep["groups"])
    if number == 1:
        return "Test rows"
    repeated = [key.rpartition(".")[2].replace("test_split", "split") for key in sweep["repeated"]]
    over = (
        f"{number} {repeated[0]}s" if len(repeated) == 1 else f"{number} runs of different {'s and '.join(repeated)}s"
    )
    spread = "standard error" if sweep["spread"] == "standard_error" else "standard deviation"
    return f"Test rows, mean ± {spread} over {over}"


def sweeps_section(over_splits: Sequence[Sweep]) -> str:
    """The page's section on regressions: for each figure a table with a line for each data set; Markdown."""
    sweeps = [one for sweep in over_splits for one in settings_of(sweep)]
    numbers = sorted({len(sweep["runs"]) for sweep in sweeps})
    ensemble = sweeps[0]["config"]["ensemble"]
    parts = [
        "## UCI regression",
        f"Mean ± standard error over the first {' or '.join(map(str, numbers))} standard splits; our ensemble of "
        f"{ensemble['num_members']} beside the students. Published figures are of the same protocol "
        "(50 members, two hidden layers of 100; student one hidden layer of 50; docs/method.md), "
        "which gives no errors. "
        "`_raw` is a student without its calibration of disagreement.",
    ]
    for key, heading in REGRESSION.words.published.items():
        parts += [f"### {heading}", to_markdown(_figure_table(sweeps, key, heading))]
    parts += [
        "### Disagreement kept",
        "Mean knowledge variance of the student over the ensemble's, 1 is ideal, and Spearman's rank correlation "
        "(rho) of the rows' knowledge variance with the ensemble's.",
        to_markdown(_disagreement_table(sweeps)),
    ]
    return "\n\n".join(parts)


def data_set_of(sweep: Sweep) -> str:
    """Name of the data set: of its file, without the ending."""
    return re.sub(r"\.(parquet|csv)$", "", PurePosixPath(sweep["config"]["data"]["source"]).name)


def _figure_table(sweeps: Sequence[Sweep], key: str, heading: str) -> TextTable:
    ours = _predictors(sweeps)
    shown = _format(key)
    theirs = ("ensemble", "Hydra", "DLF")
    rows = []
    for sweep in sweeps:
        name = data_set_of(sweep)
        published = [PUBLISHED.get(name, {}).get(each, {}).get(key) for each in theirs]
        rows.append(
            (name, *(_cell(sweep, ("test", each, key), shown) for each in ours), *(shown(value) for value in published))
        )
    return TextTable(heading, ("data set", *ours, *(f"published {each}" for each in theirs)), tuple(rows))


def _disagreement_table(sweeps: Sequence[Sweep]) -> TextTable:
    """A line for each data set and student that disagrees; test rows first, then unknown ones."""
    splits = list(dict.fromkeys(["test", *(name for sweep in sweeps for name in sweep["figures"].get("unknown", {}))]))
    headings = [f"{what}, {split}" for split in splits for what in ("ratio", "rho")]
    rows = []
    for sweep in sweeps:
        for student in sweep["figures"].get("fidelity", {}):
            paths = [("fidelity", student, what, split) for split in splits for what in _KEPT]
            cells = [_cell(sweep, path, significant) for path in paths]
            if set(cells) != {DASH}:
                rows.append((data_set_of(sweep), student, *cells))
    return TextTable("Disagreement kept", ("data set", "student", *headings), tuple(rows))


def _predictors(sweeps: Sequence[Sweep]) -> list[str]:
    """All there are, in the order of the first that has them."""
    names = [name for sweep in sweeps for name in sweep["figures"]["test"]]
    found = list(dict.fromkeys(names))
    return [name for name in (MEMBER, ENSEMBLE) if name in found] + [
        name for name in found if name not in (MEMBER, ENSEMBLE)
    ]


def _format(key: str) -> Format:
    if key in _IN_PERCENT:
        return lambda value: percent(value, 1)
    return significant if key in _IN_TARGET_UNITS else decimal


def _cell(sweep: Sweep, path: tuple[str, ...], shown: Format) -> str:
    mean, error = (figure(sweep["figures"], *path, part) for part in ("mean", sweep["spread"]))
    if mean is None:
        return DASH
    if error is None:
        return shown(mean)
    return f"{shown(mean)} ± {100 * error:.2g} %" if path[-1] in _IN_PERCENT else f"{shown(mean)} ± {error:.2g}"
