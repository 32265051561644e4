"""Terms that can be added to what a student minimises, each with a weight in the configuration.

A term is one object: its key, its form for classification and its form for regression. A kind of student takes every
term whose key it has. A user's own is a function that `terms` names by its import path.

B batch, H heads of the student, M members it learns from, C classes (in a regression 2: mean and log variance).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hydra_ray.data import TaskName
from hydra_ray.losses import classification, dirichlet, regression
from hydra_ray.losses.sums import Correlated, Summed

TermLoss = Callable[[Tensor, Tensor, Tensor, Tensor | None], Summed | Correlated]
"""student_BHC, members_BMC, labels_B, mask_BM (None: all members) -> sums over the rows that count."""
HeadsLoss = Callable[[Tensor, Tensor, Tensor | None], Summed | Correlated]
"""As `TermLoss`, of one that needs no labels and several heads."""


@dataclass(frozen=True)
class Term:
    """One term.

    Attributes:
        key: of its weight, in `distill` or in the section of a kind.
        classification: its form where outputs are logits and labels int64, -1 for none.
        regression: its form where outputs are means and log variances and labels float32, NaN for none.
        needs_heads: whether it compares heads, so that a phase of one head leaves it out.
    """

    key: str
    classification: TermLoss
    regression: TermLoss
    needs_heads: bool = False

    def form(self, task: TaskName) -> TermLoss:
        """Its form for a task."""
        forms: dict[TaskName, TermLoss] = {"classification": self.classification, "regression": self.regression}
        return forms[task]


def _of_heads(key: str, of_classes: HeadsLoss, of_numbers: HeadsLoss) -> Term:
    return Term(
        key,
        classification=lambda student, members, labels, mask: of_classes(student, members, mask),
        regression=lambda student, members, labels, mask: of_numbers(student, members, mask),
        needs_heads=True,
    )


def _not_of_regression(student: Tensor, members: Tensor, labels: Tensor, mask: Tensor | None) -> Summed:
    raise ValueError("a regression has neither temperature nor Dirichlet")


DIVERSITY = _of_heads("diversity_weight", classification.diversity_matching_loss, regression.diversity_matching_loss)
"""The size of the heads' disagreement is that of the members', row by row."""
CORRELATION = _of_heads("correlation_weight", classification.correlation_loss, regression.correlation_loss)
"""The heads' disagreement orders the rows as the members' does, whatever its size."""
DEVIATION = _of_heads("deviation_weight", classification.deviation_loss, regression.deviation_loss)
"""Each head deviates from the heads' mean as its member does from the members'."""
LABELS = Term(
    key="label_weight",
    classification=lambda student, members, labels, mask: classification.mixture_nll(student, labels),
    regression=lambda student, members, labels, mask: regression.mixture_nll(student, labels),
)
"""Negative log likelihood of the heads' mixture, on the rows that have a label."""
TEMPERATURE = Term(
    key="temperature_weight",
    classification=lambda student, members, labels, mask: classification.row_temperature_loss(
        student[:, 0], members, mask
    ),
    regression=_not_of_regression,
)
"""A row's temperature says how much the members disagree."""
UNKNOWN = Term(
    key="unknown_weight",
    classification=lambda student, members, labels, mask: dirichlet.flat_dirichlet_loss(student[:, 0], labels),
    regression=_not_of_regression,
)
"""On the rows that have no label, a Dirichlet is flat."""
TERMS = (DIVERSITY, CORRELATION, DEVIATION, LABELS, TEMPERATURE, UNKNOWN)


def terms_of(settings: Mapping[str, Any]) -> list[tuple[Term, float]]:
    """Terms and their weights, of those that have one above 0."""
    return [(term, settings[term.key]) for term in TERMS if settings.get(term.key)]
