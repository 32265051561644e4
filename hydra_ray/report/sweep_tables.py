"""Tables of a sweep over standard splits: mean and standard error of each predictor, and what others published.

They are formatted from sweep.json alone (`hydra_ray/runs/split_sweep.py`), nothing is computed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import DASH, decimal, percent, significant
from hydra_ray.report.inputs import ENSEMBLE, MEMBER, task_of
from hydra_ray.report.tables import TextTable, to_markdown
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


def sweep_table(sweep: Sweep) -> TextTable:
    """Every predictor's figures on test rows, mean +- standard error over splits."""
    columns = task_of(sweep).words.published
    names = list(sweep["figures"]["test"])
    rows = [(name, *(_cell(sweep, ("test", name, key), _format(key)) for key in columns)) for name in names]
    title = f"Test rows, mean ± standard error over {len(sweep['splits'])} splits"
    return TextTable(title, ("predictor", *columns.values()), tuple(rows))


def sweeps_section(sweeps: Sequence[Sweep]) -> str:
    """The page's section on regressions: for each figure a table with a line for each data set; Markdown."""
    numbers = sorted({len(sweep["splits"]) for sweep in sweeps})
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
    mean, error = (figure(sweep["figures"], *path, part) for part in ("mean", "standard_error"))
    if mean is None:
        return DASH
    if error is None:
        return shown(mean)
    return f"{shown(mean)} ± {100 * error:.2g} %" if path[-1] in _IN_PERCENT else f"{shown(mean)} ± {error:.2g}"
