"""Attacks on members, ensemble and students, as Ray tasks: one for each predictor that is attacked.

Part of the stage evaluate. Every task has all networks, as rows made against one predictor are tried on all; what
comes back is who was right. The attacks are in `hydra_ray/metrics/attacks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hydra_ray.cluster.place_of_work import shared, submit
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.config import AttacksConfig, Config
from hydra_ray.data import TEST
from hydra_ray.evaluation import (
    ENSEMBLE,
    AttackedRows,
    UnderAttack,
    answered_right,
    mean_gradient_cosine,
    member_name,
    predictors_of,
    right_under_attack,
)
from hydra_ray.metrics import LogProbs
from hydra_ray.models import HydraStudent, Member
from hydra_ray.runs import Run, Stage, load_published
from hydra_ray.shards import ShardReader
from hydra_ray.storage import Artifact


@dataclass(frozen=True)
class _Work:
    """What every task is given."""

    members: Sequence[Artifact]
    students: Mapping[str, Artifact]
    rows: AttackedRows
    settings: AttacksConfig
    config: Config

    def on_this_worker(self) -> tuple[dict[str, LogProbs], AttackedRows]:
        """All predictors and the rows, on the device of this task."""
        device = set_up_worker(self.config.cluster)
        members = [load_published(artifact, device) for artifact in self.members]
        students = {name: load_published(artifact, device) for name, artifact in self.students.items()}
        predictors = predictors_of(
            [model for model in members if isinstance(model, Member)],
            {name: model for name, model in students.items() if isinstance(model, HydraStudent)},
        )
        return predictors, self.rows.to(device)


def attack_all(run: Run, stage: Stage, settings: AttacksConfig, students: Mapping[str, Artifact]) -> UnderAttack:
    """Attack everybody.

    Args:
        run: whose members.
        stage: evaluate.
        settings: what is tried.
        students: by the name that each has without its calibration.
    """
    members = run.members()
    work = _Work(members, students, _attacked_rows(run, settings), settings, run.config)
    cluster = run.config.cluster
    sent = shared(work, cluster)
    others = [ENSEMBLE, *students]
    names = [*(member_name(number) for number in range(len(members))), *others]
    stage.event("attacks", rows=len(work.rows), **settings.model_dump(exclude={"rows"}))
    before = submit(_before_attack, cluster, sent)
    pending = {name: submit(_attack, cluster, sent, name) for name in names}
    clean, cosine = before()
    right = []
    for place, name in enumerate(names, 1):
        right.append(torch.tensor(pending[name]()))
        stage.show(f"{place} of {len(names)} predictors attacked")
    stage.say(f"attacks ({', '.join(settings.kinds)}) on {len(work.rows):,} test rows of {len(names)} predictors")
    return UnderAttack(settings, len(members), others, torch.tensor(clean), torch.stack(right), cosine)


def _attacked_rows(run: Run, settings: AttacksConfig) -> AttackedRows:
    rows = ShardReader(run.shards(TEST.name).files).load()
    row_id, inputs, labels = (torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels))
    return AttackedRows.chosen(row_id, inputs, labels, settings.rows, run.config.seed)


def _before_attack(work: _Work) -> tuple[np.ndarray, float | None]:
    """Who is right on the rows as they are, [V, N], and how the members' gradients align."""
    predictors, rows = work.on_this_worker()
    members = [predictors[member_name(number)] for number in range(len(work.members))]
    return answered_right(predictors, rows).cpu().numpy(), mean_gradient_cosine(members, rows)


def _attack(work: _Work, source: str) -> np.ndarray:
    """Who is right on the rows that are made against one predictor: [K, E, V, N]."""
    predictors, rows = work.on_this_worker()
    return right_under_attack(predictors, source, rows, work.settings, work.config.seed).cpu().numpy()
