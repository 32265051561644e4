"""Classification, as a `Task`: logits, cross-entropy, probabilities, mutual information.

What the methods are for stands in `base.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from hydra_ray.config import Config
from hydra_ray.errors import UserError
from hydra_ray.losses import Summed, hydra_loss, mean_loss
from hydra_ray.metrics import (
    ALL_MEMBERS,
    PAIRWISE_KL,
    SCORES,
    Figures,
    Members,
    Outputs,
    RowScores,
    Scores,
    accuracy,
    calibrated_nll,
    classification_figures,
    compare_scores,
    disagreement,
    disagreement_scale,
    fit_temperature,
    member_agreement,
    member_kl,
    mixture_log_probs,
    nll,
    predictive_figures,
    ratio_interval,
    ratio_of_means,
    rescale_disagreement,
    scores,
)
from hydra_ray.metrics.classification import by_label, log_odds, roc_auc, row_nll
from hydra_ray.metrics.intervals import auroc_difference_interval
from hydra_ray.metrics.uncertainty import uncertainty
from hydra_ray.models import Member, OutputKind
from hydra_ray.tasks.base import (
    Likelihood,
    MemberLoss,
    Prediction,
    Softening,
    Task,
    TaskFigures,
    TaskWords,
    check_students,
)

_OF_REGRESSION = ("validation_rmse", "validation_knowledge_variance_ratio")


@final
class ClassificationLikelihood(Likelihood):
    """Logits of C classes."""

    shard_dtype = "float16"
    student_output: ClassVar[OutputKind] = "logits"

    def member_output(self, config: Config, num_outputs: int) -> tuple[OutputKind, int]:
        """See `Likelihood.member_output`."""
        return "logits", num_outputs

    def fit_output(self, kind: OutputKind, labels_N: np.ndarray) -> nn.Module:
        """See `Likelihood.fit_output`: logits have no unit."""
        return nn.Identity()

    def fit_student_output(self, outputs_NMC: np.ndarray, mask_NM: np.ndarray | None = None) -> nn.Module:
        """See `Likelihood.fit_student_output`."""
        return nn.Identity()

    def member_loss(self, member: Member) -> MemberLoss:
        """Cross-entropy."""
        return _cross_entropy

    def fit_residual_variance(self, member: Member, outputs_NC: Tensor, labels_N: Tensor) -> Tensor:
        """See `Likelihood.fit_residual_variance`: all of a member is weights."""
        return outputs_NC

    def heads_loss(
        self, student_BMC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """See `losses.hydra_loss`."""
        return hydra_loss(student_BMC, teacher_BMC, softening.temperature, mask_BM, standardise=softening.standardise)

    def mean_loss(
        self, student_BC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """See `losses.mean_loss`."""
        return mean_loss(student_BC, teacher_BMC, softening.temperature, mask_BM, standardise=softening.standardise)

    def distribution(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """Log of the mean of probabilities, float64 [N, C]."""
        return mixture_log_probs(outputs_NMC, members)

    def each_distribution(self, outputs_NMC: Tensor) -> Tensor:
        """Probabilities."""
        return outputs_NMC.double().softmax(dim=-1)

    def knowledge_of(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """Mutual information, nats."""
        return uncertainty(outputs_NMC, members).knowledge

    def as_one_output(self, distribution: Tensor) -> Tensor:
        """Log-probabilities are logits."""
        return distribution

    def rescale_disagreement(self, outputs_NMC: Tensor, scale: float | Tensor) -> Tensor:
        """Log-probabilities stretched about their mean; see `metrics.rescale_disagreement`."""
        return rescale_disagreement(outputs_NMC, scale)

    def disagreement_scale(self, outputs_NMC: Tensor, knowledge_N: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """See `metrics.disagreement_scale`."""
        return disagreement_scale(outputs_NMC, knowledge_N, members)

    def member_kl(self, heads_NMC: Tensor, members_NMC: Tensor) -> float:
        """See `Likelihood.member_kl`."""
        return member_kl(heads_NMC, members_NMC)


@final
class ClassificationFigures(TaskFigures):
    """Probabilities, and entropies in nats."""

    outputs: ClassVar[Outputs] = "logits"
    knowledge = "mutual_information"
    total = "entropy"
    data = "data_uncertainty"
    quality = "accuracy"

    def scores(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Scores:
        """See `uncertainty.scores`."""
        return scores(outputs_NMC, members)

    def disagreement(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> dict[str, Tensor]:
        """See `TaskFigures.disagreement`: mutual information (nats) and share of pairs that name different classes."""
        return {
            "mutual_information": uncertainty(outputs_NMC, members).knowledge,
            "disagreement": disagreement(outputs_NMC, members),
        }

    def member_figures(self, outputs_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
        """See `TaskFigures.member_figures`."""
        return _quality(F.log_softmax(outputs_NC.double(), dim=-1), labels_N)

    def validation_figures(self, found: Prediction, labels_N: Tensor) -> dict[str, float]:
        """See `TaskFigures.validation_figures`."""
        return _quality(found.distribution, labels_N)

    def test_figures(
        self, test: Prediction, labels_N: Tensor, validation: Prediction, validation_labels: Tensor
    ) -> Figures:
        """See `TaskFigures.test_figures`; the NLL also after a temperature fitted on validation rows."""
        temperature = fit_temperature(validation.distribution, validation_labels)
        figures = predictive_figures(test.distribution, labels_N, test.scores)
        return {**figures, "calibrated_nll": calibrated_nll(test.distribution, labels_N, temperature)}

    def single_figures(self, outputs_NC1: Tensor, labels_N: Tensor) -> Figures:
        """See `TaskFigures.single_figures`."""
        return classification_figures(outputs_NC1, labels_N)

    def fidelity(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, paired: Sequence[Tensor] | None
    ) -> dict[str, float | None]:
        """See `TaskFigures.fidelity`."""
        return {
            "nll_ratio": ratio_of_means(
                row_nll(student.distribution, labels_N), row_nll(ensemble.distribution, labels_N)
            ),
            "member_agreement": member_agreement(*paired) if paired else None,
            "member_kl": member_kl(*paired) if paired else None,
            "pairwise_kl_ratio": compare_scores(ratio_of_means, student.scores, ensemble.scores, PAIRWISE_KL),
            **_roc_auc_difference(student, ensemble, labels_N),
        }

    def fidelity_intervals(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, num_samples: int, seed: int
    ) -> dict[str, tuple[float, float]]:
        """See `TaskFigures.fidelity_intervals`."""
        pair = (row_nll(student.distribution, labels_N), row_nll(ensemble.distribution, labels_N))
        found = {"nll_ratio": ratio_interval(*pair, seed, num_samples)}
        if _roc_auc_difference(student, ensemble, labels_N):
            each = [by_label(log_odds(one.distribution), labels_N) for one in (student, ensemble)]
            found["roc_auc_difference"] = auroc_difference_interval(each[0], each[1], seed, num_samples)
        return found

    def row_scores(self, found: Prediction, labels_N: Tensor | None) -> RowScores:
        """See `TaskFigures.row_scores`."""
        confidence_N, predicted_N = found.distribution.exp().max(dim=1)
        knowledge = found.scores.get(self.knowledge)
        return RowScores(
            total=found.scores[self.total].numpy(),
            data=found.scores[self.data].numpy(),
            knowledge=None if knowledge is None else knowledge.numpy(),
            error=None if labels_N is None else (predicted_N != labels_N).double().numpy(),
            confidence=confidence_N.numpy(),
        )

    def quality_of(self, mean_error: np.ndarray) -> np.ndarray:
        """Accuracy, of shares of rows that are wrong."""
        return 1 - mean_error

    def grid_answers(self, found: Prediction) -> np.ndarray:
        """Probabilities of each member or head; of a Dirichlet its mean."""
        if found.outputs_NMC is None:
            return found.distribution.exp().unsqueeze(1).numpy()
        return found.outputs_NMC.double().softmax(dim=-1).numpy()


@final
class ClassificationWords(TaskWords):
    """Mutual information, accuracy."""

    knowledge_short = SCORES["mutual_information"].short
    total_short = SCORES["entropy"].short
    knowledge_axis = "mutual information (nats)"
    has_unit = True
    better = "rise"
    compared = MappingProxyType(
        {"nll": "NLL", "accuracy": "accuracy", "roc_auc": "ROC AUC", "mutual_information": "MI"}
    )
    published = MappingProxyType({"nll": "NLL", "accuracy": "accuracy", "ece": "ECE"})
    comparison_note = (
        "NLL and mean MI are of the test rows, in nats. MI, mutual information, is the knowledge "
        "uncertainty: how much the members or heads disagree; one head has none. AUROC says how well a score tells "
        "unknown rows from test rows: 1 always, 0.5 by chance. MACs are the multiply-adds of one row."
    )
    fidelity_note = "Rank correlation is Spearman's, of the rows' MI; names after the comma are sets of rows."

    def quality(self, figures: Mapping[str, Any]) -> str:
        """See `TaskWords.quality`."""
        return f"validation NLL {figures['validation_nll']:.4f}, accuracy {figures['validation_accuracy']:.4f}"

    def disagreement(self, facts: Mapping[str, float], train_labels: np.ndarray) -> str:
        """See `TaskWords.disagreement`."""
        return f"members' MI {facts['mutual_information']:.4f} nats, disagreement {facts['disagreement']:.4f}"


def refuse_what_is_of_regression(config: Config) -> None:
    """See `Task.check`."""
    check_students("classification", config)
    if config.ensemble.likelihood is not None:
        raise UserError(
            f"ensemble.likelihood={config.ensemble.likelihood}: is for regression, and data.source="
            f"{config.data.source} is a classification; leave it out"
        )
    unknown = [name for name in config.tune.objectives if name in _OF_REGRESSION]
    if config.tune.num_trials and unknown:
        raise UserError(
            f"tune.objectives: {unknown[0]} is for regression, and data.source={config.data.source} is a "
            "classification; use validation_nll, validation_accuracy or validation_member_kl"
        )


def _quality(log_probs_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
    return {
        "validation_nll": nll(log_probs_NC, labels_N),
        "validation_accuracy": accuracy(log_probs_NC, labels_N),
    }


def _roc_auc_difference(student: Prediction, ensemble: Prediction, labels_N: Tensor) -> dict[str, float]:
    """The student's area under the ROC curve less the ensemble's; nothing but of two classes that both have rows."""
    if student.distribution.shape[1] != 2:
        return {}
    own, others = (roc_auc(each.distribution, labels_N) for each in (student, ensemble))
    return {} if own is None or others is None else {"roc_auc_difference": own - others}


def _cross_entropy(logits_BC: Tensor, labels_B: Tensor) -> Summed:
    return Summed(F.cross_entropy(logits_BC, labels_B, reduction="sum"), len(labels_B))


CLASSIFICATION = Task(
    "classification",
    ClassificationLikelihood(),
    ClassificationFigures(),
    ClassificationWords(),
    check=refuse_what_is_of_regression,
)
