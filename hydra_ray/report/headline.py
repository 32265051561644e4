"""The answer in one sentence: what the student kept of the ensemble, and at what cost.

Not here: tables and pictures, which give the reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_ray.evaluation import figure
from hydra_ray.report.formats import decimal, rough_percent, times
from hydra_ray.report.inputs import ENSEMBLE, students, task_of, unknown_sets
from hydra_ray.training.kinds.labels import Labels


def headline(metrics: Mapping[str, Any]) -> str:
    """E.g. "hydra keeps 98 % of the ensemble's AUROC on photos at 13 % of its MACs; NLL 1.02 × its."

    It speaks of the first student with a knowledge uncertainty, else of the first student; clauses without
    figures are left out. Where the control, `labels`, has the better NLL, a second sentence says so.
    """
    names = students(metrics)
    if not names:
        return "No student was compared."
    knowledge = task_of(metrics).figures.knowledge
    student = next((name for name in names if figure(metrics, "test", name, knowledge) is not None), names[0])
    detection = _detection(metrics, student)
    cost = _cost(metrics, student)
    quality = _quality(metrics, student)
    if detection:
        first = f" {detection} at {cost} of its MACs" if cost else f" {detection}"
    else:
        first = f" takes {cost} of the ensemble's MACs" if cost else ""
    if not first:
        return f"{student}: {quality or 'no figures yet'}."
    kept = f"{student}{first}; {quality}." if quality else f"{student}{first}."
    return kept + _control(metrics, student)


def _control(metrics: Mapping[str, Any], student: str) -> str:
    """That the same network does better without any teacher, where it does."""
    own, control = (figure(metrics, "test", name, "nll") for name in (student, Labels.kind))
    if own is None or control is None or control >= own:
        return ""
    return f" Taught by labels alone the same network has an NLL of {decimal(control, 3)} against {decimal(own, 3)}."


def _detection(metrics: Mapping[str, Any], student: str) -> str:
    """The student's AUROC over the ensemble's, of knowledge uncertainty where the student has it."""
    sets = unknown_sets(metrics)
    task = task_of(metrics)
    for score, name in ((task.figures.knowledge, ""), (task.figures.total, f" of {task.words.total_short}")):
        ratios = [_auroc_ratio(metrics, unknown, student, f"auroc_{score}") for unknown in sets]
        known = [ratio for ratio in ratios if ratio is not None]
        if known:
            where = f" on {sets[0]}" if len(sets) == 1 else f" on {len(sets)} unknown sets"
            verb = "reaches" if max(known) > 1.005 else "keeps"
            return f"{verb} {_span(known)} of the ensemble's AUROC{name}{where}"
    return ""


def _auroc_ratio(metrics: Mapping[str, Any], unknown: str, student: str, score: str) -> float | None:
    own, ensemble = (figure(metrics, "unknown", unknown, name, score) for name in (student, ENSEMBLE))
    return own / ensemble if own is not None and ensemble else None


def _span(ratios: list[float]) -> str:
    low = rough_percent(min(ratios))
    high = rough_percent(max(ratios))
    return low if low == high else f"{low.removesuffix(' %')} to {high}"


def _cost(metrics: Mapping[str, Any], student: str) -> str:
    own, ensemble = (figure(metrics, "cost", name, "macs") for name in (student, ENSEMBLE))
    return rough_percent(own / ensemble) if own is not None and ensemble else ""


def _quality(metrics: Mapping[str, Any], student: str) -> str:
    own, ensemble = (figure(metrics, "test", name, "nll") for name in (student, ENSEMBLE))
    if own is None or ensemble is None:
        return ""
    rmse, others = (figure(metrics, "test", name, "rmse") for name in (student, ENSEMBLE))
    if rmse is not None and others:  # of densities: a ratio of NLLs depends on the target's unit
        return f"RMSE {times(rmse / others)} the ensemble's, NLL {decimal(own, 3)} against {decimal(ensemble, 3)}"
    return f"NLL {times(own / ensemble)} the ensemble's" if ensemble > 0 else ""
