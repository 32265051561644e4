"""A student's model card, `README.md` in its folder: what it is, how good it is, when not to trust it, how to load it.

Its front matter is that of the Hugging Face Hub, with the test figures as `model-index` results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from hydra_ray.data import InputFormat
from hydra_ray.evaluation import figure
from hydra_ray.inference.thresholds import ASSUMES
from hydra_ray.report.formats import count
from hydra_ray.report.headline import headline
from hydra_ray.report.inputs import ENSEMBLE, MEMBER, task_of, unknown_sets
from hydra_ray.report.tables import TextTable, comparison_table, decision_tables, fidelity_table, to_markdown
from hydra_ray.training import calibration_from_json, kind_named

TEMPLATE = "card.j2"
_TASK_TYPES = {
    ("classification", True): "image-classification",
    ("classification", False): "tabular-classification",
    ("regression", True): "image-regression",
    ("regression", False): "tabular-regression",
}


def student_card(
    place: str, about: Mapping[str, Any], metrics: Mapping[str, Any], config: Mapping[str, Any], views: Sequence[str]
) -> str:
    """The card of one student.

    Args:
        place: of its folder.
        about: the content of its config.json.
        metrics: of the run.
        config: of the run, resolved.
        views: of the transfer set, in words.
    """
    kind = about["kind"]
    own = _only(metrics, kind)
    task = task_of(metrics)
    is_image = len(about["inputs"]["shape"]) == 3
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)
    template = environment.from_string(files("hydra_ray.report").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    comparison = comparison_table(own)
    fidelity = fidelity_table(own)
    return template.render(
        name=f"{config['name']}-{kind}",
        kind=kind,
        what=kind_named(kind).words[task.name],
        answer=headline(own),
        task_type=_TASK_TYPES[task.name, is_image],
        data=about["data"],
        classes=about["classes"],
        results=[(key, round(value, 6)) for key in task.words.compared if (value := figure(own, "test", kind, key))],
        metrics=metrics,
        config=config,
        takes=_takes(about["inputs"]),
        views=", ".join(views),
        cost=f"{count(figure(own, 'cost', kind, 'num_parameters'))} parameters, "
        f"{count(figure(own, 'cost', kind, 'macs'))} multiply-adds a row; the ensemble has "
        f"{count(figure(own, 'cost', ENSEMBLE, 'macs'))}",
        calibration=_calibration(about),
        place=place,
        comparison=comparison,
        comparison_markdown=to_markdown(comparison),
        comparison_note=task.words.comparison_note,
        fidelity_markdown=to_markdown(fidelity) if fidelity.rows else "",
        decisions=_titled(decision_tables(own)),
        assumes=ASSUMES,
        unknown=unknown_sets(metrics),
        limits_of_kind=_limits(about),
    )


def _only(metrics: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The metrics of one student beside member and ensemble."""
    kept = (MEMBER, ENSEMBLE, kind)

    def of_kept(tree: Mapping[str, Any]) -> dict[str, Any]:
        return {name: figures for name, figures in tree.items() if name in kept}

    unknown = {name: of_kept(figures) for name, figures in metrics.get("unknown", {}).items()}
    parts = {name: of_kept(metrics.get(name, {})) for name in ("test", "fidelity", "cost", "decisions")}
    return {**metrics, **parts, "unknown": unknown}


def _titled(tables: Sequence[TextTable]) -> list[tuple[str, str]]:
    return [(table.title, to_markdown(table)) for table in tables]


def _takes(inputs: Mapping[str, Any]) -> str:
    shape = inputs["shape"]
    if len(shape) == 3:
        colour = "grey" if shape[2] == 1 else "colour"
        return f"images, brought to {shape[0]} x {shape[1]} pixels, {colour}"
    names = InputFormat.from_json(inputs).names
    if names is None:
        return f"{shape[0]} features"
    return f"{len(names)} {'features' if len(names) == shape[0] else 'columns'}: {', '.join(names)}"


def _calibration(about: Mapping[str, Any]) -> str:
    if "calibration" not in about:
        return "none: one head has none" if about["spec"]["num_heads"] == 1 else "as the heads have it"
    caveat = about.get("calibration_caveat")
    times = calibration_from_json(about["calibration"])
    said = f"of {about['spec']['num_heads']} heads, made {times} as large (fitted on validation rows)"
    return f"{said}; {caveat}" if caveat else said


def _limits(about: Mapping[str, Any]) -> str:
    if about["spec"]["num_heads"] > 1:
        return "Its knowledge uncertainty imitates the ensemble's: of unknown rows trust its order more than its size."
    return "It has one head: what it says of uncertainty is not a disagreement of members."
