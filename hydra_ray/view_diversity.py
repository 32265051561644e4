"""How much the members disagree under each view: what tells, before any student is trained, whether there is anything
to learn.

Figures of shards that are there; who wrote them is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from hydra_ray.predictions import Predictions, read_shard, shard_names
from hydra_ray.storage import Folder
from hydra_ray.training import to_device
from hydra_ray.transfer_set import NumberedView
from hydra_ray.uncertainty import disagreement, uncertainty

Diversity = dict[str, dict[str, float]]
"""Number or label of a view -> rows, mutual_information (nats), disagreement."""


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
    return {
        "rows": rows,
        **{
            key: sum(part[key] * part["rows"] for part in parts) / rows
            for key in ("mutual_information", "disagreement")
        },
    }


def view_diversity(folder: Folder) -> Diversity:
    """For each view of a folder of shards: rows, the members' mean MI (nats) and disagreement.

    Of rows that are learnt from some members only, the disagreement is that of those members.
    """
    sums: dict[str, list[float]] = {}
    for name in shard_names(folder):
        shard = read_shard(folder, name)
        view = str(int(shard.view[0]))
        for logits_NMC in _by_teachers(shard):
            found = [len(logits_NMC), uncertainty(logits_NMC).knowledge.sum(), disagreement(logits_NMC).sum()]
            sums[view] = [a + float(b) for a, b in zip(sums.get(view, [0, 0, 0]), found, strict=True)]
    return {
        view: {"rows": int(rows), "mutual_information": mi / rows, "disagreement": different / rows}
        for view, (rows, mi, different) in sorted(sums.items(), key=lambda pair: int(pair[0]))
    }


def _by_teachers(shard: Predictions) -> Iterator[Tensor]:
    """Logits [N, M, C] of rows that are learnt from the same members; there are as many parts as folds."""
    logits_NMC = to_device(shard.logits_NMC, torch.device("cpu")).float()
    if shard.mask_NM is None:
        yield logits_NMC
        return
    patterns, which_N = np.unique(shard.mask_NM, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        yield logits_NMC[torch.from_numpy(which_N == number)][:, torch.from_numpy(pattern)]
