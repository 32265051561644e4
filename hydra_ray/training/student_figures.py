"""What a student says of rows, and the figures that it is known by: while it trains, and when it is finished.

N rows, M members, H heads, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hydra_ray.models import HydraStudent, to_device
from hydra_ray.shards import ShardRows, is_labelled
from hydra_ray.training.calibration import fit_calibration

if TYPE_CHECKING:
    from hydra_ray.training.student import Distillation

_BATCH_WITHOUT_GRADIENT = 2048


@torch.no_grad()
def predict(student: HydraStudent, inputs: Any) -> Tensor:
    """outputs_NHC of stored inputs (numpy), float32 on the CPU, computed a bounded batch at a time."""
    student.eval()
    device = next(student.parameters()).device
    parts = (inputs[i : i + _BATCH_WITHOUT_GRADIENT] for i in range(0, len(inputs), _BATCH_WITHOUT_GRADIENT))
    return torch.cat([student(to_device(part, device)).float().cpu() for part in parts])


def facts_of(plan: Distillation, student: HydraStudent, validation: ShardRows) -> dict[str, Any]:
    """What `config.json` says of a finished student beside architecture and data: figures and the fitted calibration.

    Of the members in `validation` the student's own are looked at, as its fingerprint holds no others: a student of 4
    heads is the same beside 4 members and beside 8. How it compares with all of them, the report says.
    """
    facts = {
        "kind": plan.objective.kind,
        "seed": plan.seed,
        "figures": validation_figures(plan, student, validation),
    }
    heads_NMC = plan.prediction(predict(student, validation.inputs)).outputs_NMC
    if heads_NMC is not None and heads_NMC.shape[1] > 1:
        members_NMC = torch.tensor(validation.of_first(plan.num_members).logits_NMC)
        found = fit_calibration(plan.task, heads_NMC, members_NMC)
        facts["calibration"] = found.scale
        if found.caveat is not None:
            facts["calibration_caveat"] = found.caveat
    return facts


def validation_figures(plan: Distillation, student: HydraStudent, rows: ShardRows) -> dict[str, float]:
    """Figures of a student in training: quality of its predictions, and how much of the disagreement it keeps.

    Quality is of the rows that have a label; where none has, there is no such figure.
    The disagreement is that of the student's own members, the first `plan.num_members`: a perfect copy of 4 of 8
    members has a ratio of 1.
    """
    task = plan.task
    outputs_NHC = predict(student, rows.inputs)
    found = plan.prediction(outputs_NHC)
    teacher_NMC = torch.tensor(rows.of_first(plan.num_members).logits_NMC).double()
    figures = {}
    has_label_N = torch.tensor(is_labelled(rows.labels))
    if has_label_N.any():
        labelled = plan.prediction(outputs_NHC[has_label_N])
        figures = task.figures.validation_figures(labelled, torch.tensor(rows.labels)[has_label_N])
    if task.figures.knowledge in found.scores:
        ensemble = task.likelihood.knowledge_of(teacher_NMC).mean()
        if ensemble > 0:  # members that never disagree leave no ratio
            figures[f"validation_{task.figures.knowledge}_ratio"] = float(
                found.scores[task.figures.knowledge].mean() / ensemble
            )
    if found.outputs_NMC is not None and found.outputs_NMC.shape[1] > 1:
        figures["validation_member_kl"] = task.likelihood.member_kl(found.outputs_NMC, teacher_NMC)
    return figures
