"""The report's figures as tables of text: for the terminal, for Markdown, for the page.

Every cell is taken from metrics.json and only formatted; nothing is computed here but ratios of cost. What
single-head predictors do not have is a dash.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from hydra_ray.evaluation import figure, figures
from hydra_ray.metrics import MEASURES, SCORES
from hydra_ray.report.formats import (
    DASH,
    ascii_only,
    count,
    decimal,
    duration,
    milliseconds,
    percent,
    rough_percent,
    significant,
    times,
    words,
)
from hydra_ray.report.inputs import ENSEMBLE, MEMBER, predictors, students, task_of, unknown_sets

_NAMES = {
    "nll": "NLL (nats)",
    "calibrated_nll": "calibrated NLL (nats)",
    "brier": "Brier score",
    "accuracy": "accuracy",
    "ece": "calibration error (ECE)",
    "ece_equal_mass": "calibration error, equal mass",
    "aurc": "AURC",
    "e_aurc": "E-AURC",
    "prr": "PRR",
    "roc_auc": "ROC AUC",
    "roc_auc_difference": "ROC AUC - ensemble's",
    "nll_ratio": "NLL / ensemble's",
    "auroc_ratio": "AUROC of knowledge / ensemble's",
    "pairwise_kl_ratio": "pairwise KL / ensemble's",
    "member_agreement": "agreement of head and member",
    "member_kl": "KL(member || head) (nats)",
    "rmse": "RMSE",
    "crps": "CRPS",
    "coverage_95": "coverage of the 95 % interval",
    "width_95": "mean width of the 95 % interval",
    "nll_difference": "NLL - ensemble's (nats)",
    "rmse_ratio": "RMSE / ensemble's",
    "gradient_cosine": "|cos| of input gradients (less)",
    "log_volume": "ln det of predictions of other classes (more)",
}
_DETECTION = {
    "auroc": "AUROC",
    "aupr": "AUPR",
    "aupr_in": "AUPR, test rows positive",
    "fpr95": "FPR95 (lower is better)",
}
SHARES = {"accuracy", "member_agreement", "coverage_95"}
_HIGHER = {"accuracy", "prr", "roc_auc"}
_LOWER = {"nll", "calibrated_nll", "brier", "ece", "ece_equal_mass", "aurc", "e_aurc", "rmse", "crps"}
_IN_TARGET_UNITS = {"rmse", "crps", "width_95"}
_IDEALS = {"member_agreement": "100 %", "member_kl": "0", "nll_difference": "0", "roc_auc_difference": "0"}


@dataclass(frozen=True)
class TextTable:
    """A table ready to be shown.

    Attributes:
        title: one short line.
        columns: headings; the first column holds the rows' names.
        rows: cells as text, each row as long as `columns`.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def terminal_table(metrics: Mapping[str, Any]) -> Table:
    """The comparison at the end of a run; 100 columns hold two unknown sets, and it needs no colour."""
    return as_terminal(comparison_table(metrics))


def as_terminal(comparison: TextTable) -> Table:
    """A table of text for the terminal."""
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        collapse_padding=True,
        header_style="bold",
    )
    for index, heading in enumerate(comparison.columns):
        heading = heading.replace("parameters", "params")
        table.add_column(heading, justify="right" if index else "left", no_wrap=not index, overflow="fold")
    for row in comparison.rows:
        table.add_row(*(ascii_only(cell).replace("± ", "±") for cell in row))  # a narrow cell breaks before the sign
    return table


def comparison_table(metrics: Mapping[str, Any]) -> TextTable:
    """Member, ensemble and students: quality, knowledge uncertainty, its AUROC / that of the total, cost."""
    sets = unknown_sets(metrics)
    words = task_of(metrics).words
    shown = [key for key in words.compared if any(key in of for of in metrics.get("test", {}).values())]
    scores = " / ".join(name.removesuffix(" variance") for name in (words.knowledge_short, words.total_short))
    columns = [words.compared[key] for key in shown] + [f"AUROC {name}\n{scores}" for name in sets]
    rows = []
    for name in predictors(metrics):
        cells = [_compared_cell(key, figure(metrics, "test", name, key)) for key in shown]
        cells += [_both_aurocs(metrics, unknown, name) for unknown in sets]
        cells += [count(figure(metrics, "cost", name, key)) for key in ("num_parameters", "macs")]
        rows.append((name, *cells))
    return TextTable("Comparison", ("predictor", *columns, "parameters", "MACs"), tuple(rows))


def fidelity_table(metrics: Mapping[str, Any]) -> TextTable:
    """How much of the ensemble each student kept: one row a figure, one column a student."""
    fidelity = metrics.get("fidelity", {})
    names = [name for name in students(metrics) if name in metrics.get("fidelity", {})]
    rows = [
        (
            _path_name(path),
            _IDEALS.get(path[0], "1"),
            *(_cell(path[0], figure(fidelity, name, *path)) + _interval(fidelity[name], path) for name in names),
        )
        for path in _paths(fidelity[name] for name in names)
    ]
    return TextTable("What the students kept of the ensemble", ("figure", "ideal", *names), tuple(rows))


def decision_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """What the students' thresholds do on test rows: answering at a risk, and sets or intervals at a coverage."""
    found = metrics.get("decisions", {})
    risks = [
        (f"{name}: {percent(float(risk), 0)} wrong, by {score}", percent(each["coverage"], 1), percent(each["risk"], 2),
         percent(each["risk_bound"], 2))
        for name, of in found.items()
        for risk, scores in of.get("risks", {}).items()
        for score, each in scores.items()
    ]  # fmt: skip
    conformal = [
        (f"{name}: {words(method)}, {percent(float(coverage), 0)}", percent(each["coverage"], 1),
         significant(each["size"]))
        for name, of in found.items()
        for coverage, methods in of.get("conformal", {}).items()
        for method, each in methods.items()
    ]  # fmt: skip
    size = "classes in a set" if risks else "width of an interval"
    tables = (
        TextTable(
            "Answering or abstaining",
            ("rule: at most so many", "test rows answered", "wrong among them", "risk at most (95 %)"),
            tuple(risks),
        ),
        TextTable("Sets and intervals", ("method and coverage", "coverage of test rows", size), tuple(conformal)),
    )
    return [table for table in tables if table.rows]


def diversity_table(metrics: Mapping[str, Any]) -> TextTable:
    """Measures of the members' diversity on test rows (Liu et al. 2019): one row a measure."""
    found = metrics.get("diversity", {})
    rows = [
        (MEASURES[name].heading if name in MEASURES else _path_name((name,)), decimal(figure(found, name)))
        for name in found
    ]
    return TextTable("How the members differ", ("measure on test rows", "ensemble"), tuple(rows))


def test_figures_table(metrics: Mapping[str, Any]) -> TextTable:
    """All figures of the test rows: one row a figure, one column a predictor."""
    names = predictors(metrics)
    rows = [
        (
            _path_name(path) + _better(path[0]),
            *(_cell(path[0], figure(metrics, "test", name, *path)) for name in names),
        )
        for path in _paths(metrics["test"][name] for name in names)
    ]
    return TextTable("Test rows, all figures", ("figure", *names), tuple(rows))


def unknown_figures_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """All figures of detection, a table for each unknown set: one row a figure, one column a predictor."""
    tables = []
    for unknown, found in metrics.get("unknown", {}).items():
        names = [name for name in predictors(metrics) if name in found]
        rows = [
            (_detection_name(path[0]), *(decimal(figure(found, name, *path)) for name in names))
            for path in _paths(found[name] for name in names)
        ]
        tables.append(TextTable(f"Telling {unknown} from test rows, all figures", ("figure", *names), tuple(rows)))
    return tables


def cost_table(metrics: Mapping[str, Any]) -> TextTable:
    """Parameters and multiply-adds of one row, and in members and ensembles; latency by batch size."""
    costs = metrics.get("cost", {})
    names = [name for name in predictors(metrics) if name in costs]
    batches = list(dict.fromkeys(size for name in names for size in costs[name].get("latency_ms") or {}))
    columns = ("predictor", "parameters", "MACs", "MACs /\nmember's", "MACs /\nensemble's")
    rows = []
    for name in names:
        macs = figure(costs, name, "macs")
        cells = [count(figure(costs, name, "num_parameters")), count(macs)]
        cells.append(times(_ratio(macs, figure(costs, MEMBER, "macs"))))
        cells.append(rough_percent(_ratio(macs, figure(costs, ENSEMBLE, "macs"))))
        cells += [milliseconds(figure(costs, name, "latency_ms", size)) for size in batches]
        rows.append((name, *cells))
    return TextTable("Cost", columns + tuple(f"latency,\nbatch of {size}" for size in batches), tuple(rows))


def seconds_table(metrics: Mapping[str, Any]) -> TextTable:
    """How long each stage took, over all commands that had a part in it."""
    seconds = metrics.get("seconds", {})
    rows = tuple((stage, duration(figure(seconds, stage))) for stage in seconds)
    return TextTable("Time of each stage", ("stage", "took"), rows)


def to_markdown(table: TextTable) -> str:
    """A pipe table, names at the left and figures at the right; the title is left to the caller."""
    rule = ("---", *["---:"] * (len(table.columns) - 1))
    heading, *rows = [[markdown_text(cell) for cell in row] for row in (table.columns, *table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, rule, *rows))


def to_latex(table: TextTable) -> str:
    """A tabular that needs no package, names at the left and figures at the right."""
    heading, *rows = [[latex_text(cell) for cell in row] for row in (table.columns, *table.rows)]
    lines = [f"{' & '.join(cells)} \\\\" for cells in (heading, *rows)]
    first, *others = lines
    begin = f"\\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}"
    return "\n".join([f"% {table.title}", begin, "\\hline", first, "\\hline", *others, "\\hline", "\\end{tabular}", ""])


def latex_text(text: str) -> str:
    """Text on one line that LaTeX shows as it is."""
    text = text.replace("\\", "/")
    for special in "&%$#_{}":
        text = text.replace(special, f"\\{special}")
    return text.replace("±", "$\\pm$").replace(DASH, "--").replace("×", "$\\times$").replace("~", " ").replace("^", " ")


def markdown_text(text: str) -> str:
    """Text on one line that Markdown shows as it is, in a table cell too."""
    for special in "\\`*_[]|":
        text = text.replace(special, f"\\{special}")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())


def _both_aurocs(metrics: Mapping[str, Any], unknown: str, name: str) -> str:
    scores = (task_of(metrics).figures.knowledge, task_of(metrics).figures.total)
    return " / ".join(decimal(figure(metrics, "unknown", unknown, name, f"auroc_{score}"), 3) for score in scores)


def _paths(trees: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Every path to a figure in any of the trees, in order of appearance."""
    return list(dict.fromkeys(path for tree in trees for path, _ in figures(tree)))


def _path_name(path: tuple[str, ...]) -> str:
    name = _NAMES.get(path[0]) or _score_name(path[0]) or words(path[0])
    return ", ".join([name, *path[1:]])


def _score_name(key: str) -> str | None:
    """A score's mean, how well it rejects, and what fidelity has of it; None for other figures."""
    for name, score in SCORES.items():
        of_score = {
            name: score.heading,
            f"spearman_{name}": f"rank correlation of {score.short}",
            f"{name}_ratio": f"mean {score.short} / ensemble's",
            f"prr_{name}": f"PRR of {score.short}",
        }
        if key in of_score:
            return of_score[key]
    return None


def _detection_name(key: str) -> str:
    names = {
        f"{measure}_{name}": f"{heading} of {score.short}"
        for measure, heading in _DETECTION.items()
        for name, score in SCORES.items()
    }
    return names.get(key) or words(key)


def _better(key: str) -> str:
    return (
        ", higher is better"
        if key in _HIGHER or key.startswith("prr_")
        else ", lower is better"
        if key in _LOWER
        else ""
    )


def _cell(key: str, value: float | None) -> str:
    unit = SCORES[key].unit if key in SCORES else None
    if key in SHARES or unit == "share":
        return percent(value)
    return significant(value) if key in _IN_TARGET_UNITS or unit == "target's" else decimal(value)


def _compared_cell(key: str, value: float | None) -> str:
    return percent(value, 1) if key == "coverage_95" else _cell(key, value)


def _interval(fidelity: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """The figure's 95 % interval, ` [low, high]`; nothing where there is none."""
    found: Any = fidelity.get("interval_95", {})
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    if not isinstance(found, Sequence) or None in found:
        return ""
    return f" [{decimal(found[0], 3)}, {decimal(found[1], 3)}]"


def _ratio(value: float | None, reference: float | None) -> float | None:
    return value / reference if value is not None and reference else None
