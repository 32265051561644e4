"""What a student says of rows, and the figures that it is known by: while it trains, and when it is finished.

N rows, M members, H heads, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hydra_ray.metrics import Members, spearman
from hydra_ray.models import HydraStudent, to_device
from hydra_ray.shards import ShardRows, is_labelled
from hydra_ray.tasks import Prediction, Softening, Task
from hydra_ray.training.calibration import Answered, fit_curve, fit_scale

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


class HeldOut(NamedTuple):
    """Rows that students do not learn from, with their members' outputs."""

    rows: ShardRows
    """Validation rows; figures of quality are of them."""
    views: ShardRows | None = None
    """Views of them, on which members disagree more."""


def facts_of(plan: Distillation, student: HydraStudent, held_out: HeldOut) -> dict[str, Any]:
    """What `config.json` says of a finished student beside architecture and data: figures and the fitted calibration.

    Of the members in the rows the student's own are looked at, as its fingerprint holds no others: a student of 4
    heads is the same beside 4 members and beside 8. How it compares with all of them, the report says.
    """
    facts = {
        "kind": plan.objective.kind,
        "seed": plan.seed,
        "figures": validation_figures(plan, student, held_out),
    }
    if plan.weights is not None:
        facts["member_weights"] = list(plan.weights)
    answered = _answered(plan, student, held_out.rows)
    if answered is not None:
        views = None if held_out.views is None else _answered(plan, student, held_out.views)
        facts |= _calibration(plan, answered, views)
    return facts


def _answered(plan: Distillation, student: HydraStudent, rows: ShardRows) -> Answered | None:
    """What heads and their members say of the rows that two members or more answered; None without heads."""
    heads_NMC = plan.prediction(predict(student, rows.inputs)).outputs_NMC
    if heads_NMC is None or heads_NMC.shape[1] == 1:
        return None
    of_first = rows.of_first(plan.num_members)
    members_NMC = torch.tensor(of_first.logits_NMC)
    return Answered.of_counted(heads_NMC, members_NMC, _members_of(of_first, least=2))


def _calibration(plan: Distillation, validation: Answered, views: Answered | None) -> dict[str, Any]:
    """The fitted calibration; none where no validation row has two members' answers."""
    if not len(validation.heads_NMC):
        return {"calibration_caveat": "no validation row has two members' answers, so nothing is calibrated"}
    if plan.settings.calibration == "scale":
        found = fit_scale(plan.task, validation, plan.weights)
    else:
        found = fit_curve(
            plan.task, validation, views if views is not None and len(views.heads_NMC) else None, plan.weights
        )
    facts: dict[str, Any] = {"calibration": found.calibration.to_json()}
    return facts if found.caveat is None else {**facts, "calibration_caveat": found.caveat}


def _members_of(rows: ShardRows, least: int = 1) -> Members:
    """Which members answered each row; rows with fewer than `least` do not count."""
    return Members.of(None if rows.mask_NM is None else torch.tensor(rows.mask_NM), least)


def validation_figures(plan: Distillation, student: HydraStudent, held_out: HeldOut) -> dict[str, float]:
    """Figures of a student in training: quality of its predictions, and how much of the disagreement it keeps.

    Quality is of the validation rows that have a label; where none has, there is no such figure. What is of
    disagreement is the mean over the two sets, validation rows and views of them.
    The disagreement is that of the members that the plan compares with. Where these are the student's own, a perfect
    copy of 4 of 8 members has a ratio of 1, a rank correlation of 1 and a KL of 0; where they are all 8, it has not.
    """
    labels = held_out.rows.labels
    outputs_NHC = predict(student, held_out.rows.inputs)
    figures = {}
    has_label_N = torch.tensor(is_labelled(labels))
    if has_label_N.any():
        labelled = plan.prediction(outputs_NHC[has_label_N])
        figures = plan.task.figures.validation_figures(labelled, torch.tensor(labels)[has_label_N])
    found = [_fidelity(plan, outputs_NHC, held_out.rows)]
    if held_out.views is not None:
        found.append(_fidelity(plan, predict(student, held_out.views.inputs), held_out.views))
    names = [name for name in found[0] if all(name in each for each in found)]
    return {**figures, **{name: sum(each[name] for each in found) / len(found) for name in names}}


def _fidelity(plan: Distillation, outputs_NHC: Tensor, rows: ShardRows) -> dict[str, float]:
    """How near to the members' a student's disagreement is, as far as it has any."""
    task = plan.task
    found = plan.prediction(outputs_NHC)
    figures: dict[str, float] = {}
    compared = rows.of_first(plan.compared_with or plan.num_members)
    teacher_NMC = torch.tensor(compared.logits_NMC).double()
    if task.figures.knowledge in found.scores:
        figures |= _disagreement(task, found, teacher_NMC, _members_of(compared, least=2))
    if found.outputs_NMC is not None and found.outputs_NMC.shape[1] > 1:
        figures["validation_member_kl"] = _member_kl(task, found, teacher_NMC, compared)
    return figures


def _disagreement(task: Task, found: Prediction, teacher_NMC: Tensor, members: Members) -> dict[str, float]:
    """Mean of knowledge uncertainty over the ensemble's, and the rank correlation of the two.

    The ensemble's is of the rows that two members or more answered. Members that never disagree leave no ratio, and
    what is the same in all rows has no ranks.
    """
    name = task.figures.knowledge
    student_N = found.scores[name]
    ensemble_N = task.likelihood.knowledge_of(teacher_NMC, members)
    counts_N = torch.ones(len(ensemble_N), dtype=torch.bool) if members.counts_B is None else members.counts_B
    figures = {}
    if counts_N.any() and float(ensemble_N[counts_N].mean()) > 0:
        figures[f"validation_{name}_ratio"] = float(student_N.mean() / ensemble_N[counts_N].mean())
    correlation = spearman(student_N[counts_N], ensemble_N[counts_N])
    return figures if correlation is None else {**figures, "validation_rank_correlation": correlation}


def disagreement_of(task: Task, rows: ShardRows) -> np.ndarray:
    """Knowledge uncertainty of rows, float64 [N]: NaN where fewer than two members answered."""
    members = _members_of(rows, least=2)
    parts = (each.split(_BATCH_WITHOUT_GRADIENT) for each in (torch.tensor(rows.logits_NMC), members))
    knowledge_N = torch.cat([task.likelihood.knowledge_of(*part) for part in zip(*parts, strict=False)]).numpy()
    return knowledge_N if members.counts_B is None else np.where(members.counts_B.numpy(), knowledge_N, np.nan)


def _member_kl(task: Task, found: Prediction, teacher_NMC: Tensor, rows: ShardRows) -> float:
    """Mean KL(member m || head m), of the members that answered a row: the loss of heads at temperature 1.

    A member that has no head is answered by the student's mean: KL(member m || heads' mixture), which is 0 only where
    the heads agree with each other and with it. So fewer heads than members cost something, and as many heads as
    members have the usual figure.
    """
    heads_NMC = found.outputs_NMC
    assert heads_NMC is not None
    heads_NMC = heads_NMC.double()
    without = teacher_NMC.shape[1] - heads_NMC.shape[1]
    if without:
        mean_NC = task.likelihood.as_one_output(found.distribution)
        heads_NMC = torch.cat([heads_NMC, mean_NC.unsqueeze(1).expand(-1, without, -1)], dim=1)
    if rows.mask_NM is None:
        return task.likelihood.member_kl(heads_NMC, teacher_NMC)
    loss = task.likelihood.heads_loss(heads_NMC, teacher_NMC, Softening(), torch.tensor(rows.mask_NM))
    return float(loss.mean())
