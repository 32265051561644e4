"""What other ways to make one answer of the members' are worth, beside the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra_ray.data import TEST, VALIDATION, SplitId
from hydra_ray.metrics.consensus import Voters, consensus_figures

if TYPE_CHECKING:
    from hydra_ray.evaluation.metrics_json import Answers


def consensus_of(answers: Answers, rules: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """The entry "consensus" of metrics.json: rule -> its figures on test rows; fitted on validation rows.

    Of the rows that all members answered.
    """
    validation, test = (_voters(answers, split) for split in (VALIDATION, TEST))
    return {rule: consensus_figures(rule, validation, test) for rule in rules}


def _voters(answers: Answers, split: SplitId) -> Voters:
    found = answers.ensemble[split]
    assert found.outputs_NMC is not None
    rows_N = ... if found.answered_by_all is None else found.answered_by_all
    return Voters(found.outputs_NMC[rows_N], found.distribution[rows_N], answers.labels[split][rows_N])
