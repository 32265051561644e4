"""Figures of predictions: quality, uncertainty, diversity, fidelity, and intervals of them.

Pure functions of tensors and arrays.
"""

from hydra_ray.metrics import diversity as diversity  # its measures are registered by that
from hydra_ray.metrics.attacks import LogProbs, adversarial, gradient_by_pixels
from hydra_ray.metrics.classification import (
    Figures,
    accuracy,
    calibrated_nll,
    classification_figures,
    detection_figures,
    fit_temperature,
    nll,
    predictive_figures,
)
from hydra_ray.metrics.disagreement_size import SCALE_RANGE, disagreement_scale, rescale_disagreement
from hydra_ray.metrics.fidelity import (
    PAIRWISE_KL,
    compare_scores,
    member_agreement,
    member_kl,
    ratio_of_means,
    score_fidelity,
    spearman,
)
from hydra_ray.metrics.gaussian import (
    components_of,
    gaussian_kl,
    means_scale,
    mixture_moments,
    moments_of,
    rescale_means,
    row_mixture_nll,
    with_weights,
)
from hydra_ray.metrics.intervals import Interval, auroc_ratio_interval, ratio_interval, spearman_interval
from hydra_ray.metrics.member_weights import ALL_MEMBERS, Members
from hydra_ray.metrics.registry import MEASURES, SCORES, Outputs, Scores, detectors, diversity_figures
from hydra_ray.metrics.regression import (
    DATA_VARIANCE,
    KNOWLEDGE_VARIANCE,
    TOTAL_VARIANCE,
    central_interval,
    regression_figures,
    row_interval_level,
    row_squared_error,
    variance_scores,
)
from hydra_ray.metrics.row_scores import RowScores
from hydra_ray.metrics.row_temperature import row_temperature, row_temperature_scores, sharpened_uncertainty
from hydra_ray.metrics.selective import (
    Selection,
    adaptive_scores,
    conformal_quantile,
    least_ambiguous_scores,
    select,
    selection_at,
)
from hydra_ray.metrics.uncertainty import (
    dirichlet_log_probs,
    dirichlet_scores,
    disagreement,
    mixture_log_probs,
    scores,
)

__all__ = [
    "ALL_MEMBERS",
    "DATA_VARIANCE",
    "KNOWLEDGE_VARIANCE",
    "MEASURES",
    "PAIRWISE_KL",
    "SCALE_RANGE",
    "SCORES",
    "TOTAL_VARIANCE",
    "Figures",
    "Interval",
    "LogProbs",
    "Members",
    "Outputs",
    "RowScores",
    "Scores",
    "Selection",
    "accuracy",
    "adaptive_scores",
    "adversarial",
    "auroc_ratio_interval",
    "calibrated_nll",
    "central_interval",
    "classification_figures",
    "compare_scores",
    "components_of",
    "conformal_quantile",
    "detection_figures",
    "detectors",
    "dirichlet_log_probs",
    "dirichlet_scores",
    "disagreement",
    "disagreement_scale",
    "diversity_figures",
    "fit_temperature",
    "gaussian_kl",
    "gradient_by_pixels",
    "least_ambiguous_scores",
    "means_scale",
    "member_agreement",
    "member_kl",
    "mixture_log_probs",
    "mixture_moments",
    "moments_of",
    "nll",
    "predictive_figures",
    "ratio_interval",
    "ratio_of_means",
    "regression_figures",
    "rescale_disagreement",
    "rescale_means",
    "row_interval_level",
    "row_mixture_nll",
    "row_squared_error",
    "row_temperature",
    "row_temperature_scores",
    "score_fidelity",
    "scores",
    "select",
    "selection_at",
    "sharpened_uncertainty",
    "spearman",
    "spearman_interval",
    "variance_scores",
    "with_weights",
]
