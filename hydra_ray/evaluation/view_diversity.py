"""How much the members disagree under each view: what tells, before any student is trained, whether there is anything
to learn.

Figures of shards that are there; who wrote them is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch

from hydra_ray.metrics import Members
from hydra_ray.models import to_device
from hydra_ray.shards import ShardRows
from hydra_ray.tasks import Task
from hydra_ray.views import NumberedView

Diversity = dict[str, dict[str, float]]
"""Number or label of a view -> rows, and means of the task's figures of disagreement."""


def merged(views: Mapping[int, NumberedView], diversity: Diversity) -> Diversity:
    """The same figures with the repetitions of a view as one entry, `affine x3`; means over all of its rows."""
    entries: list[tuple[NumberedView, list[dict[str, float]]]] = []
    for number, facts in diversity.items():
        view = views[int(number)]
        if not entries or entries[-1][0].describe() != view.describe():
            entries.append((view, []))
        entries[-1][1].append(facts)
    merged: Diversity = {}
    for view, parts in entries:
        label = view.label if len(parts) == 1 else f"{view.label} x{len(parts)}"
        while label in merged:  # the same view twice in the recipe, with other options
            label += "'"
        merged[label] = _mean_facts(parts)
    return merged


def _mean_facts(parts: list[dict[str, float]]) -> dict[str, float]:
    rows = sum(part["rows"] for part in parts)
    figures = [key for key in parts[0] if key != "rows"]
    return {"rows": rows, **{key: sum(part[key] * part["rows"] for part in parts) / rows for key in figures}}


def disagreement_sums(task: Task, shard: ShardRows) -> dict[str, float]:
    """Of one shard: its rows, and over them the sums of how much the members disagree (`TaskFigures.disagreement`).

    Of rows that are learnt from some members only, the disagreement is that of those members.
    """
    members = Members.of(None if shard.mask_NM is None else to_device(shard.mask_NM, torch.device("cpu")))
    outputs_NMC = to_device(shard.logits_NMC, torch.device("cpu")).float()
    found = task.figures.disagreement(outputs_NMC, members)
    return {"rows": len(shard), **{key: float(figure_N.sum()) for key, figure_N in found.items()}}


def view_diversity(shards: Iterable[tuple[int, Mapping[str, float]]]) -> Diversity:
    """For each view: rows, and how much the members disagree; from the views and `disagreement_sums` of all shards."""
    sums: dict[int, dict[str, float]] = {}
    for view, part in shards:
        total = sums.setdefault(view, {})
        for key, value in part.items():
            total[key] = total.get(key, 0) + value
    return {str(view): _as_means(total) for view, total in sorted(sums.items())}


def _as_means(total: dict[str, float]) -> dict[str, float]:
    return {key: value if key == "rows" else value / total["rows"] for key, value in total.items()}
