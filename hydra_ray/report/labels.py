"""What the report calls things in a classification and in a regression: names of scores, headings, notes.

Words only; what is computed is not decided here (`tasks/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TaskWords:
    """Words of one task.

    Attributes:
        knowledge: score in metrics.json that measures knowledge uncertainty.
        knowledge_short: what it is called beside numbers.
        knowledge_axis: what it is called on an axis, with its unit where it has one of its own.
        total: score that measures total uncertainty.
        total_short: what it is called.
        comparison_note: below the first table.
        fidelity_note: below the second.
        what_they_are: predictor -> what it is.
    """

    knowledge: str
    knowledge_short: str
    knowledge_axis: str
    total: str
    total_short: str
    comparison_note: str
    fidelity_note: str
    what_they_are: Mapping[str, str]


_OF_BOTH = {
    "member": "one network, mean over members",
    "ensemble": "all members",
    "hydra": "one network, a head for each member",
}
_CLASSIFICATION = TaskWords(
    knowledge="mutual_information",
    knowledge_short="MI",
    knowledge_axis="mutual information (nats)",
    total="entropy",
    total_short="entropy",
    comparison_note="NLL and mean MI are of the test rows, in nats. MI, mutual information, is the knowledge "
    "uncertainty: how much the members or heads disagree; one head has none. AUROC says how well a score tells unknown "
    "rows from test rows: 1 always, 0.5 by chance. MACs are the multiply-adds of one row.",
    fidelity_note="Rank correlation is Spearman's, of the rows' MI; names after the comma are sets of rows.",
    what_they_are={
        **_OF_BOTH,
        "kd": "one network taught the members' mean",
        "end2": "one network that gives a Dirichlet distribution",
        "proxy_end2": "one network that gives a Dirichlet distribution, by its proxy",
    },
)
_REGRESSION = TaskWords(
    knowledge="knowledge_variance",
    knowledge_short="knowledge variance",
    knowledge_axis="knowledge variance",
    total="total_variance",
    total_short="total variance",
    comparison_note="All of the test rows; RMSE and CRPS in units of the target, NLL in nats of density: less is "
    "better, and it may be negative. Coverage is the share of targets inside the 95 % interval. Knowledge variance is "
    "the variance of the members' or heads' means, in squared units of the target; one head has none. AUROC says how "
    "well a variance tells unknown rows from test rows: 1 always, 0.5 by chance. MACs are multiply-adds of one row.",
    fidelity_note="Rank correlation is Spearman's, of the rows' knowledge variance; names after the comma are sets of "
    "rows. A ratio of NLLs is there only where both are above 0.",
    what_they_are={**_OF_BOTH, "kd": "one network taught the mean and variance of the members' mixture"},
)


def words_of(metrics: Mapping[str, Any]) -> TaskWords:
    """The words for the task of a metrics.json."""
    return _REGRESSION if metrics.get("task") == "regression" else _CLASSIFICATION
