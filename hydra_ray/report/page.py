"""The report as Markdown and as one HTML file that needs nothing beside it.

Both tell the same in the same order: the answer, the comparison, what was kept, the pictures, the search, all
figures, cost, time, how the run was configured. Layout and style are in `page.html.j2`.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

from hydra_ray.report.attack_tables import attack_note, attack_tables, member_transfer_tables
from hydra_ray.report.consensus_table import CONSENSUS_NOTE, consensus_tables
from hydra_ray.report.figures import PictureKind, pictures_of
from hydra_ray.report.headline import headline
from hydra_ray.report.inputs import ReportInputs, predictors, task_of
from hydra_ray.report.search_tables import trials_table
from hydra_ray.report.style import colours
from hydra_ray.report.tables import (
    TextTable,
    comparison_table,
    cost_table,
    decision_tables,
    diversity_table,
    fidelity_table,
    markdown_text,
    seconds_table,
    test_figures_table,
    to_markdown,
    unknown_figures_tables,
)
from hydra_ray.training import kinds

TEMPLATE = "page.html.j2"
DECISION_NOTE = (
    "Thresholds are fitted on validation rows (thresholds.json beside the weights) and measured here on test rows. "
    "The bound and the coverage hold for rows drawn like the validation rows; for unknown rows nothing is promised."
)


def write_markdown(inputs: ReportInputs) -> str:
    """The report for people and forges that read Markdown; it shows the PNG files beside it."""
    metrics = inputs.metrics
    words = task_of(inputs.metrics).words
    parts = [f"# {markdown_text(inputs.run_name)}", markdown_text(headline(metrics)), _subtitle(inputs)]
    parts += _section(comparison_table(metrics), words.comparison_note)
    parts += _section(fidelity_table(metrics), words.fidelity_note, *map(markdown_text, inputs.notes))
    for kind in pictures_of(inputs):
        parts += [f"## {kind.heading}", f"![{kind.heading}]({kind.file})", kind.reading]
    parts += _several(decision_tables(metrics), DECISION_NOTE)
    parts += _several(consensus_tables(metrics), CONSENSUS_NOTE)
    parts += _several(attack_tables(metrics), attack_note(metrics))
    for table in [*_search(inputs), *_all_figures(metrics), cost_table(metrics), seconds_table(metrics)]:
        parts += _section(table)
    parts += ["## Configuration", f"```yaml\n{_as_yaml(inputs.config)}\n```", *_section(_facts(inputs))]
    return "\n\n".join(parts) + "\n"


def write_html(inputs: ReportInputs, pictures: Mapping[str, bytes]) -> str:
    """The report as one self-contained HTML file.

    Args:
        inputs: what it is made of.
        pictures: file name -> PNG, of `figures.draw_pictures`; those that are missing are left out.
    """
    metrics = inputs.metrics
    words = task_of(inputs.metrics).words
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files("hydra_ray.report").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        run_name=inputs.run_name,
        headline=headline(metrics).replace(" %", "\u00a0%").replace(" ×", "\u00a0×"),
        subtitle=_subtitle(inputs),
        comparison=comparison_table(metrics),
        comparison_note=words.comparison_note,
        fidelity=fidelity_table(metrics),
        fidelity_note=words.fidelity_note,
        notes=inputs.notes,
        pictures=[_inline(kind, pictures[kind.file]) for kind in pictures_of(inputs) if kind.file in pictures],
        decisions=decision_tables(metrics),
        decision_note=DECISION_NOTE,
        consensus=consensus_tables(metrics),
        consensus_note=CONSENSUS_NOTE,
        attacks=attack_tables(metrics),
        attack_note=attack_note(metrics),
        search=_search(inputs),
        all_figures=_all_figures(metrics),
        cost=cost_table(metrics),
        seconds=seconds_table(metrics),
        config=_as_yaml(inputs.config),
        facts=_facts(inputs),
        colours=colours(predictors(metrics)),
        what_they_are=_what_they_are(metrics),
    )


def _what_they_are(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Predictor -> what it is, in a few words."""
    task = task_of(metrics).name
    students = {kind.kind: kind.words[task] for kind in kinds() if task in kind.words}
    raw = {f"{name}_raw": "the same without its calibration" for name in students}
    return {"member": "one network, mean over members", "ensemble": "all members", **students, **raw}


def _section(table: TextTable, *notes: str) -> list[str]:
    return [f"## {markdown_text(table.title)}", to_markdown(table), *notes] if table.rows else []


def _several(tables: Sequence[TextTable], note: str) -> list[str]:
    """Tables with one note below the last of them."""
    parts = [part for table in tables for part in _section(table)]
    return [*parts, note] if parts else []


def _subtitle(inputs: ReportInputs) -> str:
    members = inputs.metrics.get("num_members")
    left_out = len(inputs.metrics.get("left_out", ()))
    of_all = f" of {members + left_out}" if members and left_out else ""
    known = [
        inputs.metrics.get("task"),
        f"{members}{of_all} members" if members else None,
        inputs.facts.get("date"),
    ]
    return ", ".join(str(part) for part in known if part)


def _search(inputs: ReportInputs) -> list[TextTable]:
    return [trials_table(kind, search) for kind, search in inputs.searches.items() if search.ranked]


def _all_figures(metrics: Mapping[str, Any]) -> list[TextTable]:
    tables = (
        test_figures_table(metrics),
        *unknown_figures_tables(metrics),
        diversity_table(metrics),
        *member_transfer_tables(metrics),
    )
    return [table for table in tables if table.rows]


def _facts(inputs: ReportInputs) -> TextTable:
    return TextTable("Where and with what", ("", ""), tuple((name, value) for name, value in inputs.facts.items()))


def _as_yaml(config: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(config, default=str))
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100).rstrip()


def _inline(kind: PictureKind, png: bytes) -> dict[str, Any]:
    """What the template needs of a picture; its size keeps the page from jumping as it loads."""
    width, height = struct.unpack(">II", png[16:24])
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return {"kind": kind, "source": source, "width": width, "height": height}
