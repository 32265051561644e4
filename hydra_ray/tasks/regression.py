"""Regression, as a `Task`: Gaussians in target units, their mixtures, variances.

A student of kind `end2` or `proxy_end2` is a Dirichlet over classes and does not exist here; nor does a temperature,
as there are no logits to soften: the KL between Gaussians sees their difference on every scale. What the methods are
for stands in `base.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, final

import numpy as np
import torch
from torch import Tensor, nn

from hydra_ray.config import Config, DistillConfig
from hydra_ray.errors import UserError
from hydra_ray.losses import Summed, gaussian_nll, heads_loss, moments_loss, sum_rows
from hydra_ray.metrics import (
    ALL_MEMBERS,
    DATA_VARIANCE,
    KNOWLEDGE_VARIANCE,
    SCORES,
    TOTAL_VARIANCE,
    Figures,
    Members,
    Outputs,
    RowScores,
    Scores,
    components_of,
    gaussian_kl,
    means_scale,
    mixture_moments,
    moments_of,
    ratio_interval,
    ratio_of_means,
    regression_figures,
    rescale_means,
    row_interval_level,
    row_squared_error,
    variance_scores,
    with_weights,
)
from hydra_ray.metrics.regression import row_nll
from hydra_ray.models import GaussianOutput, MeanOutput, Member, OutputKind
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

OBJECTIVES = (
    "validation_nll",
    "validation_rmse",
    "validation_member_kl",
    "validation_rank_correlation",
    "validation_knowledge_variance_ratio",
    "macs",
)
_GRADIENT_VIEWS = ("ods", "conf_ods")


@final
class RegressionLikelihood(Likelihood):
    """Gaussians of one target."""

    shard_dtype = "float32"
    student_output: ClassVar[OutputKind] = "gaussian"

    def member_output(self, config: Config, num_outputs: int) -> tuple[OutputKind, int]:
        """Mean and log variance, or with `ensemble.likelihood=mse` the mean alone."""
        return ("mean", 1) if config.ensemble.likelihood == "mse" else ("gaussian", num_outputs)

    def fit_output(self, kind: OutputKind, labels_N: np.ndarray) -> nn.Module:
        """See `Likelihood.fit_output`."""
        return (MeanOutput if kind == "mean" else GaussianOutput).fit(labels_N)

    def fit_student_output(self, outputs_NMC: np.ndarray, mask_NM: np.ndarray | None = None) -> nn.Module:
        """Mean and variance of the target as the members have them: those of their means, and the median data variance.

        The median, as the variance of members far outside of their data may be anything.
        """
        members = Members.of(None if mask_NM is None else torch.as_tensor(mask_NM))
        moments = mixture_moments(torch.as_tensor(outputs_NMC).double(), members)
        variance = moments.mean.var(correction=0) + moments.data_variance.median()
        return GaussianOutput(float(moments.mean.mean()), math.sqrt(float(variance)))

    def member_loss(self, member: Member) -> MemberLoss:
        """Gaussian NLL; of a mean alone the squared error in standardised units."""
        output = member.output
        if not isinstance(output, MeanOutput):
            return gaussian_nll

        def squared_error(outputs_B2: Tensor, targets_B: Tensor) -> Summed:
            return sum_rows(((targets_B - outputs_B2[..., 0]) / output.std).square())

        return squared_error

    def fit_residual_variance(self, member: Member, outputs_NC: Tensor, labels_N: Tensor) -> Tensor:
        """See `Likelihood.fit_residual_variance`: the one variance of a member that has a mean alone."""
        return (
            member.output.fit_residual_variance(outputs_NC, labels_N)
            if isinstance(member.output, MeanOutput)
            else outputs_NC
        )

    def heads_loss(
        self, student_BMC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """See `losses.regression.heads_loss`; nothing is softened."""
        return heads_loss(student_BMC, teacher_BMC, mask_BM)

    def mean_loss(
        self, student_BC: Tensor, teacher_BMC: Tensor, softening: Softening, mask_BM: Tensor | None
    ) -> Summed:
        """See `losses.regression.moments_loss`; nothing is softened."""
        return moments_loss(student_BC, teacher_BMC, mask_BM)

    def distribution(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """The outputs themselves, float64 [N, M, 2], or [N, M, 3] with the logarithms of weights."""
        return with_weights(outputs_NMC.double(), members)

    def each_distribution(self, outputs_NMC: Tensor) -> Tensor:
        """The outputs themselves: means and log variances."""
        return outputs_NMC.double()

    def knowledge_of(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """Variance of means, squared target units."""
        return mixture_moments(outputs_NMC.double(), members).knowledge_variance

    def as_one_output(self, distribution: Tensor) -> Tensor:
        """The Gaussian of the mixture's mean and variance, of all Gaussians the nearest to it in KL(mixture || .)."""
        moments = moments_of(distribution)
        return torch.stack([moments.mean, moments.total_variance.log()], dim=-1)

    def rescale_disagreement(self, outputs_NMC: Tensor, scale: float | Tensor) -> Tensor:
        """Means stretched about their mean; see `gaussian.rescale_means`."""
        return rescale_means(outputs_NMC, scale)

    def disagreement_scale(self, outputs_NMC: Tensor, knowledge_N: Tensor, members: Members = ALL_MEMBERS) -> Tensor:
        """In closed form; see `gaussian.means_scale`."""
        return means_scale(outputs_NMC, knowledge_N, members)

    def member_kl(self, heads_NMC: Tensor, members_NMC: Tensor) -> float:
        """See `Likelihood.member_kl`; fewer heads than members imitate the first ones."""
        return _member_kl(heads_NMC, members_NMC)


@final
class RegressionFigures(TaskFigures):
    """Errors in target units, and variances."""

    outputs: ClassVar[Outputs] = "gaussian"
    knowledge = KNOWLEDGE_VARIANCE
    total = TOTAL_VARIANCE
    data = DATA_VARIANCE
    quality = "rmse"

    def scores(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> Scores:
        """See `regression_metrics.variance_scores`."""
        return variance_scores(outputs_NMC, members)

    def disagreement(self, outputs_NMC: Tensor, members: Members = ALL_MEMBERS) -> dict[str, Tensor]:
        """See `TaskFigures.disagreement`: knowledge variance and data variance, squared target units."""
        moments = mixture_moments(outputs_NMC.double(), members)
        return {KNOWLEDGE_VARIANCE: moments.knowledge_variance, DATA_VARIANCE: moments.data_variance}

    def member_figures(self, outputs_NC: Tensor, labels_N: Tensor) -> dict[str, float]:
        """See `TaskFigures.member_figures`."""
        return _quality(outputs_NC.unsqueeze(1), labels_N)

    def validation_figures(self, found: Prediction, labels_N: Tensor) -> dict[str, float]:
        """See `TaskFigures.validation_figures`."""
        return _quality(found.distribution, labels_N)

    def test_figures(
        self, test: Prediction, labels_N: Tensor, validation: Prediction, validation_labels: Tensor
    ) -> Figures:
        """See `TaskFigures.test_figures`."""
        return regression_figures(test.distribution, labels_N, test.scores)

    def single_figures(self, outputs_NC1: Tensor, labels_N: Tensor) -> Figures:
        """See `TaskFigures.single_figures`."""
        return regression_figures(outputs_NC1.double(), labels_N, variance_scores(outputs_NC1))

    def fidelity(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, paired: Sequence[Tensor] | None
    ) -> dict[str, float | None]:
        """See `TaskFigures.fidelity`; no ratio of NLLs of densities where one is negative."""
        own_N = row_nll(student.distribution, labels_N)
        others_N = row_nll(ensemble.distribution, labels_N)
        errors = ratio_of_means(*_squared_errors(student, ensemble, labels_N))
        is_positive = float(own_N.mean()) > 0 and float(others_N.mean()) > 0
        return {
            "nll_ratio": ratio_of_means(own_N, others_N) if is_positive else None,
            "nll_difference": float((own_N - others_N).mean()),
            "rmse_ratio": None if errors is None else math.sqrt(errors),
            "member_kl": _member_kl(*paired) if paired else None,
        }

    def fidelity_intervals(
        self, student: Prediction, ensemble: Prediction, labels_N: Tensor, num_samples: int, seed: int
    ) -> dict[str, tuple[float, float]]:
        """See `TaskFigures.fidelity_intervals`."""
        own_N = row_nll(student.distribution, labels_N)
        others_N = row_nll(ensemble.distribution, labels_N)
        errors = ratio_interval(*_squared_errors(student, ensemble, labels_N), seed, num_samples)
        difference = ratio_interval(own_N - others_N, torch.ones_like(own_N), seed, num_samples)
        found = {"nll_difference": difference, "rmse_ratio": (math.sqrt(errors[0]), math.sqrt(errors[1]))}
        if float(own_N.mean()) > 0 and float(others_N.mean()) > 0:
            found["nll_ratio"] = ratio_interval(own_N, others_N, seed, num_samples)
        return found

    def row_scores(self, found: Prediction, labels_N: Tensor | None) -> RowScores:
        """See `TaskFigures.row_scores`."""
        knowledge = found.scores.get(self.knowledge)
        mixture_NK2 = found.distribution
        has_labels = labels_N is not None
        return RowScores(
            total=found.scores[self.total].numpy(),
            data=found.scores[self.data].numpy(),
            knowledge=None if knowledge is None else knowledge.numpy(),
            error=row_squared_error(mixture_NK2, labels_N).numpy() if has_labels else None,
            interval_level=row_interval_level(mixture_NK2, labels_N).numpy() if has_labels else None,
        )

    def quality_of(self, mean_error: np.ndarray) -> np.ndarray:
        """RMSE, of means of squared errors."""
        return np.sqrt(mean_error)

    def grid_answers(self, found: Prediction) -> np.ndarray:
        """The Gaussians of the mixture."""
        return components_of(found.distribution)[0].numpy()


@final
class RegressionWords(TaskWords):
    """Variances, RMSE."""

    knowledge_short = SCORES[KNOWLEDGE_VARIANCE].short
    total_short = SCORES[TOTAL_VARIANCE].short
    knowledge_axis = "knowledge variance"
    has_unit = False
    better = "fall"
    compared = MappingProxyType(
        {"rmse": "RMSE", "nll": "NLL", "crps": "CRPS", "coverage_95": "coverage\nof 95 %",
         KNOWLEDGE_VARIANCE: "knowledge\nvariance"}
    )  # fmt: skip
    published = MappingProxyType({"rmse": "RMSE", "nll": "NLL", "crps": "CRPS", "coverage_95": "coverage of 95 %"})
    comparison_note = (
        "All of the test rows; RMSE and CRPS in units of the target, NLL in nats of density: less is better, and it "
        "may be negative. Coverage is the share of targets inside the 95 % interval. Knowledge variance is the "
        "variance of the members' or heads' means, in squared units of the target; one head has none. AUROC says how "
        "well a variance tells unknown rows from test rows: 1 always, 0.5 by chance. MACs are multiply-adds of one row."
    )
    fidelity_note = (
        "Rank correlation is Spearman's, of the rows' knowledge variance; names after the comma are sets of rows. A "
        "ratio of NLLs is there only where both are above 0."
    )

    def quality(self, figures: Mapping[str, Any]) -> str:
        """See `TaskWords.quality`."""
        return f"validation NLL {figures['validation_nll']:.4f}, RMSE {figures['validation_rmse']:.4g}"

    def disagreement(self, facts: Mapping[str, float], train_labels: np.ndarray) -> str:
        """See `TaskWords.disagreement`: variances as shares of the target's own."""
        target = float(train_labels.astype(np.float64).var())
        shares = {name: facts[name] / target for name in (KNOWLEDGE_VARIANCE, DATA_VARIANCE)}
        return (
            f"members' knowledge variance {shares[KNOWLEDGE_VARIANCE]:.4f}, data variance {shares[DATA_VARIANCE]:.4f} "
            "of the target's"
        )


def refuse_what_is_of_classification(config: Config) -> None:
    """See `Task.check`."""
    is_one = f"data.source={config.data.source} is a regression"
    check_students("regression", config)
    if config.predict.dtype == "float16":
        raise UserError(
            f"predict.dtype=float16: keeps three digits of a mean, and {is_one}; leave it out (it is float32)"
        )
    if config.evaluate.consensus:
        rules = ", ".join(config.evaluate.consensus)
        raise UserError(f"evaluate.consensus=[{rules}]: is of the classes that members say, and {is_one}; leave it out")
    _check_softening(config, is_one)
    for place, view in enumerate(config.transfer.views or ()):
        if view.view in _GRADIENT_VIEWS:
            raise UserError(
                f"transfer.views.{place}: {view.view} moves rows by class probabilities, and {is_one}; use "
                "gaussian_noise, mixup, uniform_box or resample"
            )
    unknown = [name for name in config.tune.objectives if name not in OBJECTIVES]
    if config.tune.num_trials and unknown:
        raise UserError(
            f"tune.objectives: {unknown[0]} is for classification, and {is_one}; use one of {', '.join(OBJECTIVES)}"
        )


def _check_softening(config: Config, is_one: str) -> None:
    """Keys that soften logits; a Gaussian has none."""
    searched = config.tune.space if config.tune.num_trials else {}
    for key in ("temperature", "standardise"):
        value = getattr(config.distill, key)
        if value != DistillConfig.model_fields[key].default:
            named = f"distill.{key}={str(value).lower()}"
        elif key in searched:
            named = f"tune.space.{key}"
        else:
            continue
        raise UserError(f"{named}: softens logits, of which there are none, as {is_one}; leave it out")


def _member_kl(heads_NMC: Tensor, members_NMC: Tensor) -> float:
    return gaussian_kl(members_NMC[:, : heads_NMC.shape[1]].double(), heads_NMC.double()).mean().item()


def _squared_errors(student: Prediction, ensemble: Prediction, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    return row_squared_error(student.distribution, labels_N), row_squared_error(ensemble.distribution, labels_N)


def _quality(mixture_NK2: Tensor, labels_N: Tensor) -> dict[str, float]:
    return {
        "validation_nll": float(row_nll(mixture_NK2, labels_N).mean()),
        "validation_rmse": float(row_squared_error(mixture_NK2, labels_N).mean().sqrt()),
    }


REGRESSION = Task(
    "regression",
    RegressionLikelihood(),
    RegressionFigures(),
    RegressionWords(),
    check=refuse_what_is_of_classification,
)
