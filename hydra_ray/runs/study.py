"""A study's runs as a sweep over its variants and seeds, and from their metrics.json to its figures and verdicts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hydra_ray.config import Claim, Config, Statement, Study, Variant
from hydra_ray.errors import UserError
from hydra_ray.evaluation import ENSEMBLE, MEMBER, all_of, difference, figure, share, verdict
from hydra_ray.runs.provenance import software_facts
from hydra_ray.runs.sweep import Sweep, placed
from hydra_ray.storage import as_json

STUDY_FILE = "study.json"
SCHEMA = 1
VARIANT = "variant"
LoadVariant = Callable[[Sequence[tuple[Mapping[str, Any], str]]], Config]
"""Loads the study's recipe with dotted keys and values laid over it, each mapping with the place that errors name."""
Values = Mapping[str, Mapping[str, list[float | None]]]
"""Row -> column -> the figure with each seed."""


def sweep_of_study(study: Study, load: LoadVariant) -> Sweep:
    """The runs of a study: each variant with each seed.

    Raises:
        UserError: a variant is no valid configuration, or a row names a predictor that its variant does not have.
    """
    settings: list[Mapping[str, Any]] = []
    configs: list[Config] = []
    for variant in study.variants:
        for seed in study.seeds:
            settings.append({VARIANT: variant.name, "seed": seed})
            configs.append(load(_laid_over(study, variant, seed)))
    _check_predictors(study, dict(zip((each[VARIANT] for each in settings), configs, strict=True)))
    shared = load([(study.set, f"study {study.name}: set"), ({"name": study.name}, f"study {study.name}")])
    return placed(shared, settings, configs)


def _laid_over(study: Study, variant: Variant, seed: int) -> list[tuple[Mapping[str, Any], str]]:
    return [
        (study.set, f"study {study.name}: set"),
        ({**variant.set, "seed": seed}, f"study {study.name}: variant {variant.name}"),
    ]


def _check_predictors(study: Study, configs: Mapping[str, Config]) -> None:
    for row, (variant, predictor) in study.table_rows.items():
        kinds = configs[variant].student_kinds
        known = (MEMBER, ENSEMBLE, *kinds, *(f"{kind}_raw" for kind in kinds))
        if predictor is not None and predictor not in known:
            raise UserError(
                f"study {study.name}: rows.{row}={variant}/{predictor}: the variant has no such predictor; it has "
                f"{', '.join(known)}"
            )


def study_results(study: Study, sweep: Sweep, runs: Sequence[Mapping[str, Any]], command: str) -> dict[str, Any]:
    """The content of study.json.

    Args:
        study: what was asked.
        sweep: its runs.
        runs: the metrics.json of each.
        command: that made them.

    Returns:
        `study`, `command`, `facts` of the software, `values` (row -> column -> a figure for each seed, None where a
        run does not have it), and `statements`, each with its words, its `verdict` and its `claims`: mean, low, high
        and verdict; an interval that is not bounded has None for its ends.
    """
    values = values_of(study, sweep, runs)
    found = {
        "schema": SCHEMA,
        "study": study.model_dump(),
        "command": command,
        "facts": software_facts(),
        "values": values,
        "statements": [_settled(statement, values) for statement in study.statements],
    }
    return as_json(found)


def values_of(study: Study, sweep: Sweep, runs: Sequence[Mapping[str, Any]]) -> Values:
    """Each row's figures, seed by seed."""
    of_variant: dict[str, list[Mapping[str, Any]]] = {}
    for settings, metrics in zip(sweep.settings, runs, strict=True):
        of_variant.setdefault(settings[VARIANT], []).append(metrics)
    return {
        row: {
            column: [figure(metrics, *path_of(path, predictor)) for metrics in of_variant[variant]]
            for column, path in study.columns.items()
        }
        for row, (variant, predictor) in study.table_rows.items()
    }


def path_of(path: str, predictor: str | None) -> list[str]:
    """The path of a column's figure in metrics.json; a dot between two digits is part of a number."""
    parts = re.split(r"(?<!\d)\.|\.(?!\d)", path)
    return [predictor if part == "*" and predictor is not None else part for part in parts]


def _settled(statement: Statement, values: Values) -> dict[str, Any]:
    claims = [_judged(claim, values) for claim in statement.claims]
    return {"says": statement.says, "verdict": all_of([claim["verdict"] for claim in claims]), "claims": claims}


def _judged(claim: Claim, values: Values) -> dict[str, Any]:
    """A claim's figure over the seeds that have all of its rows' figures."""
    names = [claim.of, claim.over] + ([claim.best] if claim.best else [])
    by_seed = zip(*(values[name][claim.figure] for name in names), strict=True)
    complete = [each for each in by_seed if None not in each]
    rows = [list(row) for row in zip(*complete, strict=True)] or [[] for _ in names]
    measured = share(*rows) if claim.best else difference(*rows)
    found = verdict(measured, above=claim.above, below=claim.below)
    return {**claim.model_dump(), **asdict(measured), "verdict": found}
