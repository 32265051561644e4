"""The table of the ways to make one answer of the members' (`evaluate.consensus`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_ray.metrics.consensus import RULES
from hydra_ray.report.formats import DASH, decimal, percent
from hydra_ray.report.inputs import MEMBER, students
from hydra_ray.report.tables import TextTable

CONSENSUS_NOTE = (
    "Weights and the stacker are fitted on validation rows. A majority is more than half of the members; rows without "
    "one are undecided and count as wrong. A vote has no probabilities, and so no NLL."
)


def consensus_tables(metrics: Mapping[str, Any]) -> list[TextTable]:
    """One table, or none where nobody asked: a member, every rule, the students."""
    if "consensus" not in metrics:
        return []
    rules = [_line(RULES[name].heading, found) for name, found in metrics["consensus"].items()]
    test = metrics["test"]
    lines = [_line(MEMBER, test[MEMBER]), *rules, *(_line(name, test[name]) for name in students(metrics))]
    return [TextTable("One answer of many", ("", "accuracy", "NLL (nats)", "undecided"), tuple(lines))]


def _line(name: str, found: Mapping[str, Any]) -> tuple[str, str, str, str]:
    undecided = found.get("undecided")
    return (name, percent(found["accuracy"]), decimal(found["nll"]), percent(undecided) if undecided else DASH)
