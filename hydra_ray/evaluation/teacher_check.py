"""What teachers are worth on a few labelled rows, and what is odd about them, before anything is distilled from them.

N rows, M members, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hydra_ray.metrics import Members
from hydra_ray.tasks import Task

_SAME = 1e-6
_SURE = 3.0  # standard errors below chance


@dataclass(frozen=True)
class TeacherCheck:
    """Figures of teachers on labelled rows.

    Attributes:
        members: of each member, by name: two figures of quality and the share of rows on which it names another class
            than the ensemble (in a regression its distance from the ensemble's mean, in the target's deviations).
        ensemble: of all together: quality, knowledge uncertainty and the task's figures of disagreement, means of rows.
        odd: one line for each thing that is odd.
    """

    members: list[dict[str, float]]
    ensemble: dict[str, float]
    odd: list[str]


def check_outputs(task: Task, outputs_NMC: Tensor, labels_N: Tensor, mask_NM: Tensor | None) -> TeacherCheck:
    """Look at what teachers say of labelled rows.

    Args:
        task: what was asked.
        outputs_NMC: logits, or means and log variances.
        labels_N: of all rows.
        mask_NM: which member has an answer, or how much each counts; None for all alike.
    """
    members = Members.of(mask_NM)
    found = task.of_members(outputs_NMC, members)
    quality = task.figures.validation_figures(found, labels_N)
    disagreement = {
        name: float(values.mean()) for name, values in task.figures.disagreement(outputs_NMC, members).items()
    }
    each = [_member(task, outputs_NMC, labels_N, members, number) for number in range(outputs_NMC.shape[1])]
    return TeacherCheck(each, {**_short(quality), **disagreement}, _odd(task, outputs_NMC, labels_N, members))


def _answered(members: Members, number: int, num_rows: int) -> Tensor:
    if members.weights_BM is None:
        return torch.ones(num_rows, dtype=torch.bool)
    return members.weights_BM[:, number] > 0


def _member(task: Task, outputs_NMC: Tensor, labels_N: Tensor, members: Members, number: int) -> dict[str, float]:
    rows_N = _answered(members, number, len(labels_N))
    if not rows_N.any():
        return {"rows": 0.0}
    own_NC = outputs_NMC[rows_N, number]
    figures = _short(task.figures.member_figures(own_NC, labels_N[rows_N]))
    return {
        "rows": float(rows_N.sum()),
        **figures,
        "apart": _apart(task, outputs_NMC, labels_N, members, number, rows_N),
    }


def _apart(task: Task, outputs_NMC: Tensor, labels_N: Tensor, members: Members, number: int, rows_N: Tensor) -> float:
    """How far a member is from the ensemble, on the rows that it answered."""
    if task.name == "classification":
        mixture_NC = task.likelihood.distribution(outputs_NMC, members)
        return float((outputs_NMC[rows_N, number].argmax(1) != mixture_NC[rows_N].argmax(1)).double().mean())
    mean_N = members.mean(outputs_NMC[..., 0].double())
    apart_N = outputs_NMC[rows_N, number, 0].double() - mean_N[rows_N]
    return float(apart_N.square().mean().sqrt() / labels_N.double().std().clamp(min=_SAME))


def _short(figures: dict[str, Any]) -> dict[str, float]:
    return {name.removeprefix("validation_"): float(value) for name, value in figures.items()}


def _odd(task: Task, outputs_NMC: Tensor, labels_N: Tensor, members: Members) -> list[str]:
    lines = []
    num_members = outputs_NMC.shape[1]
    answered = [_answered(members, number, len(labels_N)) for number in range(num_members)]
    for number, rows_N in enumerate(answered):
        own_NC = outputs_NMC[rows_N, number].double()
        if not len(own_NC):
            lines.append(f"member {number} answers none of these rows")
        elif float((own_NC - own_NC[0]).abs().max()) < _SAME and len(own_NC) > 1:
            lines.append(f"member {number} gives every row the same answer")
        else:
            lines += _odd_quality(task, own_NC, labels_N[rows_N], number)
    return lines + _equal_members(outputs_NMC, answered)


def _odd_quality(task: Task, own_NC: Tensor, labels_N: Tensor, number: int) -> list[str]:
    if task.name == "regression":
        rmse = float((own_NC[:, 0] - labels_N).square().mean().sqrt())
        deviation = float(labels_N.double().std())
        if rmse <= deviation:
            return []
        return [f"member {number} has an RMSE of {rmse:.3g}, worse than the targets' mean ({deviation:.3g})"]
    lines = []
    num_classes = own_NC.shape[1]
    sums_N = own_NC.sum(dim=1)
    if float(own_NC.min()) >= 0 and float((sums_N - 1).abs().max()) < 1e-3:
        lines.append(f"member {number} gives logits that add up to 1: are they probabilities (outputs: probabilities)?")
    right = float((own_NC.argmax(dim=1) == labels_N).double().mean())
    chance = 1 / num_classes
    if right < chance - _SURE * math.sqrt(chance * (1 - chance) / len(labels_N)):
        lines.append(
            f"member {number} agrees with {right:.1%} of the labels, less than by chance ({chance:.1%}): are its "
            f"classes in another order?{_other_order(own_NC, labels_N)}"
        )
    return lines


def _other_order(logits_NC: Tensor, labels_N: Tensor) -> str:
    """Which of the teacher's outputs goes with each class, where one goes with most of a class's rows."""
    num_classes = logits_NC.shape[1]
    votes = torch.zeros(num_classes, num_classes)
    votes.index_put_((labels_N, logits_NC.argmax(dim=1)), torch.ones(len(labels_N)), accumulate=True)
    best = votes.argmax(dim=1)
    if len(set(best.tolist())) < num_classes:
        return ""
    pairs = ", ".join(f"{label} is its {output}" for label, output in enumerate(best.tolist()[:5]))
    return f" (class {pairs}{', ...' if num_classes > 5 else ''})"


def _equal_members(outputs_NMC: Tensor, answered: list[Tensor]) -> list[str]:
    """Each member that says what an earlier one says."""
    lines = []
    for number in range(1, outputs_NMC.shape[1]):
        for earlier in range(number):
            rows_N = answered[number] & answered[earlier]
            apart = (outputs_NMC[rows_N, number] - outputs_NMC[rows_N, earlier]).abs()
            if rows_N.sum() > 1 and float(apart.max()) < _SAME:
                lines.append(f"members {earlier} and {number} say the same")
                break
    return lines
