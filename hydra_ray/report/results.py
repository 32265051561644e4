"""docs/results.md: several runs of a recipe, one for each seed, as tables of mean and standard deviation.

It reads metrics.json files and computes nothing but means; runs of one recipe are those whose
configurations differ in seed and name alone.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra_ray.config import flatten
from hydra_ray.errors import UserError
from hydra_ray.evaluation import figure
from hydra_ray.metrics import SCORES
from hydra_ray.report.formats import count, decimal, origin
from hydra_ray.report.inputs import ENSEMBLE, MEMBER, students, task_of, unknown_sets
from hydra_ray.report.sweep_tables import Sweep, sweeps_section
from hydra_ray.report.tables import TextTable, to_markdown
from hydra_ray.storage import Folder, find_published, read_checked

_NOT_THE_RECIPE = ("name", "seed", "storage", "cluster", "tracking")
_HOW_TO_READ = (
    "Mean and standard deviation over seeds. Ratios are student / ensemble of the same seed, 1 is ideal (NLL: less is "
    "better, AUROC: more); rho is Spearman's rank correlation of the rows' MI. `_raw` is a student without its "
    "calibration on validation rows. MACs are in units of one member's."
)


@dataclass(frozen=True)
class FinishedRun:
    """One run: its resolved configuration and the content of its metrics.json."""

    config: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Folder) -> FinishedRun:
        """From a run folder.

        Raises:
            UserError: there is no finished report, or it is damaged.
        """
        manifest, report = find_published(folder / "report", "manifest.json")
        if manifest is None:
            raise UserError(f"{folder}: no finished report there; run `hydra-ray run CONFIG` first")
        config, metrics = (read_checked(report, name, manifest["files"]) for name in ("config.json", "metrics.json"))
        return cls(json.loads(config), json.loads(metrics))

    @property
    def recipe(self) -> dict[str, Any]:
        """The configuration but for what makes no recipe of its own; teachers' files are others for every seed."""
        found = {key: value for key, value in self.config.items() if key not in _NOT_THE_RECIPE}
        teachers = {key: value for key, value in self.teachers.items() if key != "files"}
        return {**found, "ensemble": {**self.config["ensemble"], "teachers": teachers}}

    @property
    def teachers(self) -> Mapping[str, Any]:
        """Who answered in the members' place, in runs that know of any."""
        return self.config["ensemble"].get("teachers", {"kind": "trained"})


def results_page(
    runs: Sequence[FinishedRun], facts: Mapping[str, str], command: str, sweeps: Sequence[Sweep] = ()
) -> str:
    """The whole page in Markdown.

    Args:
        runs: in any order.
        facts: machine, versions, commit.
        command: that made the page, to be shown in it.
        sweeps: contents of sweep.json, of regressions over standard splits.
    """
    parts = ["# Results", origin(command, facts), _HOW_TO_READ]
    groups = _groups(runs)
    for group in groups:
        first = next(other for other in groups if _heading(other) == _heading(group))
        parts += [_title(group, first), to_markdown(_quality(group)), to_markdown(_fidelity(group))]
    parts += [sweeps_section(sweeps)] if sweeps else []
    return "\n\n".join(parts) + "\n"


def _groups(runs: Sequence[FinishedRun]) -> list[list[FinishedRun]]:
    groups: dict[str, list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault(json.dumps(run.recipe, sort_keys=True, default=str), []).append(run)
    return list(groups.values())


def _heading(group: Sequence[FinishedRun]) -> str:
    config = group[0].config
    kind = group[0].teachers["kind"]
    who = config["ensemble"]["architecture"] if kind == "trained" else kind
    members = f"{config['ensemble']['num_members']} x {who}"
    return f"## {config['data']['source'].rstrip('/').split('/')[-1]}: {members}"


def _title(group: Sequence[FinishedRun], first: Sequence[FinishedRun]) -> str:
    """Heading, names of the runs, and in what their recipe differs from the first one under the same heading."""
    names = ", ".join(f"{run.config['name']} (seed {run.config['seed']})" for run in group)
    own, other = (flatten(of[0].recipe) for of in (group, first))
    changed = [f"`{key}={value}`" for key, value in own.items() if value != other.get(key)]
    differing = f" With {', '.join(changed)}." if changed else ""
    return f"{_heading(group)}\n\nRuns: {names}.{differing}"


def _quality(group: Sequence[FinishedRun]) -> TextTable:
    unknown = unknown_sets(group[0].metrics)
    task = task_of(group[0].metrics)
    detectors = [(name, score) for name in unknown for score in (task.figures.knowledge, task.figures.total)]
    aurocs = [f"AUROC of {SCORES[score].short}, {name}" for name, score in detectors]
    rows = []
    for name in (MEMBER, ENSEMBLE, *students(group[0].metrics)):
        cells = [_mean_and_deviation(group, "test", name, key) for key in task.words.published]
        cells += [_mean_and_deviation(group, "unknown", each, name, f"auroc_{score}") for each, score in detectors]
        rows.append((name, *cells, _relative_macs(group[0], name)))
    return TextTable("Test rows", ("predictor", *task.words.published.values(), *aurocs, "MACs / member"), tuple(rows))


def _fidelity(group: Sequence[FinishedRun]) -> TextTable:
    unknown = unknown_sets(group[0].metrics)
    task = task_of(group[0].metrics)
    knowledge = task.figures.knowledge
    short = task.words.knowledge_short
    paths: list[tuple[str, tuple[str, ...]]] = [("NLL ratio", ("nll_ratio",))]
    for name in ("test", *unknown):
        paths.append((f"mean {short} ratio, {name}", (f"{knowledge}_ratio", name)))
    for name in ("test", *unknown):
        paths.append((f"rho of {short}, {name}", (f"spearman_{knowledge}", name)))
    paths += [(f"AUROC ratio, {name}", ("auroc_ratio", name)) for name in unknown]
    names = students(group[0].metrics)
    rows = [(label, *(_mean_and_deviation(group, "fidelity", name, *path) for name in names)) for label, path in paths]
    return TextTable("Student against ensemble", ("figure", *names), tuple(rows))


def _mean_and_deviation(group: Sequence[FinishedRun], *path: str) -> str:
    """Mean +- standard deviation over the runs that have the figure."""
    values = [value for run in group if (value := figure(run.metrics, *path)) is not None]
    if not values:
        return decimal(None)
    mean = decimal(statistics.fmean(values))
    return mean if len(values) == 1 else f"{mean} ± {statistics.stdev(values):.2g}"


def _relative_macs(run: FinishedRun, name: str) -> str:
    macs = figure(run.metrics, "cost", name, "macs")
    member = figure(run.metrics, "cost", MEMBER, "macs")
    return count(macs) if macs is None or not member else f"{macs / member:.2f} x"
