"""How much of an ensemble a student kept: its predictions, its members, its disagreement.

Pure functions. Not here: intervals (`intervals.py`), the measures of a row (`uncertainty.py`,
`regression.py`) and the quality of one predictor (`classification.py`). What is about scores of rows alone serves
every task; what is about logits, classification.

Shapes: N rows, H heads, M members, C classes; `student_NHC` and `ensemble_NMC` are logits of the same rows. Head m is
paired with member m and H <= M; measures of the whole predictor compare H heads with all M members. Logarithms are
natural and all work is in float64. A student with one head has no disagreement and no member of its own: what needs
either is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from hydra_ray.metrics.classification import auroc
from hydra_ray.metrics.registry import Scores
from hydra_ray.metrics.uncertainty import map_rows

TEST = "test"
MUTUAL_INFORMATION = "mutual_information"
PAIRWISE_KL = "expected_pairwise_kl"


def row_member_kl(student_NHC: Tensor, ensemble_NMC: Tensor) -> Tensor:
    """Mean over heads of KL(member m || head m) at temperature 1, for every row: float64 [N], nats.

    Raises:
        ValueError: rows or classes differ, or the student has more heads than the ensemble has members.
    """
    _check_pairing(student_NHC, ensemble_NMC)
    return map_rows(_member_kl, student_NHC, ensemble_NMC[:, : student_NHC.shape[1]])


def member_kl(student_NHC: Tensor, ensemble_NMC: Tensor) -> float:
    """Mean over rows of `row_member_kl`: the Hydra loss at T = 1 (Tran et al. 2020), nats."""
    return row_member_kl(student_NHC, ensemble_NMC).mean().item()


def row_member_agreement(student_NHC: Tensor, ensemble_NMC: Tensor) -> Tensor:
    """Share of heads whose most probable class is their member's, for every row: float64 [N].

    Raises:
        ValueError: rows or classes differ, or the student has more heads than the ensemble has members.
    """
    _check_pairing(student_NHC, ensemble_NMC)
    members_NH = ensemble_NMC[:, : student_NHC.shape[1]].argmax(dim=-1)
    return (student_NHC.argmax(dim=-1) == members_NH).double().mean(dim=1)


def member_agreement(student_NHC: Tensor, ensemble_NMC: Tensor) -> float | None:
    """Mean over rows of `row_member_agreement`; None for a student with one head."""
    agreement = row_member_agreement(student_NHC, ensemble_NMC).mean().item()
    return agreement if student_NHC.shape[1] > 1 else None


def ratio_of_means(student_N: Tensor, ensemble_N: Tensor) -> float | None:
    """Student's mean over the ensemble's, of any measure of rows; None where the ensemble's is 0."""
    ensemble_mean = ensemble_N.double().mean().item()
    return student_N.double().mean().item() / ensemble_mean if ensemble_mean != 0 else None


def spearman(student_N: Tensor, ensemble_N: Tensor) -> float | None:
    """Spearman's rank correlation of a score over the same rows; None where either is constant."""
    if any(len(score_N) < 2 or bool((score_N == score_N[0]).all()) for score_N in (student_N, ensemble_N)):
        return None
    from scipy.stats import spearmanr

    # torchmetrics' is float32 inside: 7e-9 off on 5,000 float64 rows.
    result: Any = spearmanr(student_N.detach().cpu().numpy(), ensemble_N.detach().cpu().numpy())
    return float(result.statistic)


def auroc_ratio(
    student_test_N: Tensor, student_unknown_K: Tensor, ensemble_test_N: Tensor, ensemble_unknown_K: Tensor
) -> float | None:
    """AUROC of the student's score over that of the ensemble's; None where the ensemble's is 0."""
    ensemble_auroc = auroc(ensemble_test_N, ensemble_unknown_K)
    return auroc(student_test_N, student_unknown_K) / ensemble_auroc if ensemble_auroc != 0 else None


def score_fidelity(
    student: Mapping[str, Scores],
    ensemble: Mapping[str, Scores],
    unknown: Sequence[str],
    knowledge: str = MUTUAL_INFORMATION,
) -> dict[str, dict[str, float | None]]:
    """Fidelity of the student's knowledge uncertainty, for any student that has that score (a Dirichlet one too).

    Args:
        student: set -> `uncertainty.scores` (or `dirichlet_scores`) of its rows, for "test" and every unknown
            set.
        ensemble: the same sets -> the ensemble's scores of the same rows.
        unknown: names of the unknown sets.
        knowledge: name of the score.

    Returns:
        auroc_ratio (of that score) by unknown set; spearman_<score> and <score>_ratio by set, "test" first. None
        where student or ensemble lacks the score.

    Raises:
        KeyError: a set is missing.
    """
    sets = (TEST, *unknown)
    return {
        "auroc_ratio": {name: _auroc_ratio(student, ensemble, name, knowledge) for name in unknown},
        f"spearman_{knowledge}": {
            name: compare_scores(spearman, student[name], ensemble[name], knowledge) for name in sets
        },
        f"{knowledge}_ratio": {
            name: compare_scores(ratio_of_means, student[name], ensemble[name], knowledge) for name in sets
        },
    }


def _check_pairing(student_NHC: Tensor, ensemble_NMC: Tensor) -> None:
    if student_NHC.ndim != 3 or ensemble_NMC.ndim != 3 or student_NHC.shape[::2] != ensemble_NMC.shape[::2]:
        raise ValueError(
            f"needs logits of the same rows and classes, got student {list(student_NHC.shape)} and ensemble "
            f"{list(ensemble_NMC.shape)}"
        )
    if student_NHC.shape[1] > ensemble_NMC.shape[1]:
        raise ValueError(f"{student_NHC.shape[1]} heads, but only {ensemble_NMC.shape[1]} members to pair them with")


def _member_kl(student_NHC: Tensor, members_NHC: Tensor) -> Tensor:
    head_log_probs_NHC = F.log_softmax(student_NHC.double(), dim=-1)
    member_log_probs_NHC = F.log_softmax(members_NHC.double(), dim=-1)
    kl_NHC = F.kl_div(head_log_probs_NHC, member_log_probs_NHC, reduction="none", log_target=True)
    return kl_NHC.sum(dim=-1).mean(dim=1)


def compare_scores(
    compare: Callable[[Tensor, Tensor], float | None], student: Scores, ensemble: Scores, score: str
) -> float | None:
    """`compare` of one score of the same rows; None where either lacks it."""
    if score not in student or score not in ensemble:
        return None
    return compare(student[score], ensemble[score])


def _auroc_ratio(
    student: Mapping[str, Scores], ensemble: Mapping[str, Scores], name: str, knowledge: str
) -> float | None:
    per_set = (student[TEST], student[name], ensemble[TEST], ensemble[name])
    if any(knowledge not in each for each in per_set):
        return None
    return auroc_ratio(*(each[knowledge] for each in per_set))
