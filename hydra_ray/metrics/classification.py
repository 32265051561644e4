"""Quality of predictions and detection of unknown inputs: tensors in, plain floats out.

Pure functions. Not here: measures of one row (`uncertainty.py`), student against ensemble (`fidelity.py`).

Shapes: N rows, K unknown rows, M members or heads, C classes. Predictions come as log-probabilities
`log_probs_NC` (of an ensemble: `uncertainty.mixture_log_probs`, the mean of probabilities) with integer
labels `labels_N`. All work is in float64, logarithms are natural. Every uncertainty score is "higher = more
uncertain", and for detection the unknown rows are the positives. Rows of equal confidence share their errors
equally, so that no figure depends on the order of the rows.

Raises, throughout: ValueError where there are no rows, the shapes are not [N, C] and [N], or a detection
score is not finite.

Why little of torchmetrics 1.9 is used: it falls to float32. Measured on 5,000 rows in float64, its errors
were 8e-8 for the calibration error, 3e-9 for accuracy and 4e-8 for AUROC; and as it applies a sigmoid to
scores outside [0, 1], scores that saturate become ties: 5e-4 for AUROC, 8e-3 for average precision.
scikit-learn is exact; it is imported where it is called, as that takes 0.8 s and every worker imports this module.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.metrics.registry import Scores, detectors, mean_scores
from hydra_ray.metrics.uncertainty import mixture_log_probs, scores

Figures = dict[str, float | None]

NUM_BINS = 15
"""Bins of the calibration errors (Guo et al. 2017)."""

CAUGHT = 0.95
"""Share of unknown rows that must be caught where FPR95 is read."""

TEMPERATURE_RANGE = (0.01, 100.0)
"""Fitted temperatures lie in it; rows that are all right, or all wrong, have no best temperature."""


# Quality.


def row_nll(log_probs_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Negative log-likelihood of every row's label, -ln p_y: float64 [N], nats."""
    _check_rows(log_probs_NC, labels_N)
    return -log_probs_NC.double().gather(1, labels_N.long().unsqueeze(1)).squeeze(1)


def nll(log_probs_NC: Tensor, labels_N: Tensor) -> float:
    """Mean of `row_nll`, nats."""
    return row_nll(log_probs_NC, labels_N).mean().item()


def brier(log_probs_NC: Tensor, labels_N: Tensor) -> float:
    """Mean over rows of sum_c (p_c - 1[y = c])^2, in [0, 2]. The Hydra paper's figures are this minus 1."""
    _check_rows(log_probs_NC, labels_N)
    targets_NC = F.one_hot(labels_N.long(), log_probs_NC.shape[1])
    return (log_probs_NC.double().exp() - targets_NC).square().sum(dim=-1).mean().item()


def accuracy(log_probs_NC: Tensor, labels_N: Tensor) -> float:
    """Share of rows whose most probable class is the label."""
    _check_rows(log_probs_NC, labels_N)
    return (log_probs_NC.argmax(dim=-1) == labels_N).double().mean().item()


def ece(log_probs_NC: Tensor, labels_N: Tensor, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error of the top label (Guo et al. 2017, eq. 3), in [0, 1].

    Sum over equal-width bins ((i - 1) / num_bins, i / num_bins] of the bin's share of rows times |accuracy -
    mean confidence|. (torchmetrics closes the bins on the left, which gives confidence 1 a bin of its own.)
    """
    confidence_N, errors_N = _by_confidence(log_probs_NC, labels_N)
    inner_edges = torch.arange(1, num_bins, dtype=torch.float64, device=confidence_N.device) / num_bins
    bins_N = torch.bucketize(confidence_N, inner_edges)
    gaps = confidence_N.new_zeros(num_bins).index_add_(0, bins_N, 1 - errors_N - confidence_N)
    return gaps.abs().sum().item() / len(confidence_N)


def equal_mass_ece(log_probs_NC: Tensor, labels_N: Tensor, num_bins: int = NUM_BINS) -> float:
    """`ece` over bins of equally many rows (give or take one), cut from the rows sorted by confidence."""
    confidence_N, errors_N = _by_confidence(log_probs_NC, labels_N)
    gaps = (1 - errors_N - confidence_N).tensor_split(num_bins)
    return sum(gap.sum().abs().item() for gap in gaps) / len(confidence_N)


def log_odds(log_probs_N2: Tensor) -> Tensor:
    """ln p_1 - ln p_0, the score of two classes: float64 [N]; probabilities near 1 would be ties."""
    log_probs_N2 = log_probs_N2.double()
    return log_probs_N2[:, 1] - log_probs_N2[:, 0]


def roc_auc(log_probs_N2: Tensor, labels_N: Tensor) -> float | None:
    """Area under the ROC curve of two classes: P(log odds of a row of class 1 > of class 0) + P(equal) / 2.

    The same for either class as the positive one. None where all rows are of one class.
    """
    _check_rows(log_probs_N2, labels_N)
    if len(labels_N.unique()) < 2:
        return None
    return auroc(*by_label(log_odds(log_probs_N2), labels_N))


def by_label(scores_N: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Scores of the rows of class 0 and of class 1."""
    is_second_N = labels_N == 1
    return scores_N[~is_second_N], scores_N[is_second_N]


# Selective prediction.


def aurc(log_probs_NC: Tensor, labels_N: Tensor) -> float:
    """Area under the risk-coverage curve (Geifman & El-Yaniv 2017), in [0, 1].

    Mean over k = 1..N of the error rate of the k rows with the highest top probability. (TorchUncertainty
    divides by 1 - 1/N.)
    """
    return _area_under_risk(_by_confidence(log_probs_NC, labels_N)[1])


def e_aurc(log_probs_NC: Tensor, labels_N: Tensor) -> float:
    """Excess AURC (Geifman et al. 2019): `aurc` minus that of the best order, right before wrong rows."""
    best_N = _errors(log_probs_NC, labels_N).sort().values
    return aurc(log_probs_NC, labels_N) - _area_under_risk(best_N)


def prr(log_probs_NC: Tensor, labels_N: Tensor, uncertainty_N: Tensor | None = None) -> float | None:
    """Prediction rejection ratio (Malinin et al. 2020), a share: 1 = oracle, 0 = random, below 0 = worse.

    (A_random - A_model) / (A_random - A_oracle), where A is the area under the error that remains over ALL
    rows as the least certain are handed to an oracle. None where no row, or every row, is wrong: any order
    is as good.

    Args:
        log_probs_NC: what is predicted.
        labels_N: labels.
        uncertainty_N: by which rows are handed over, the highest first; None for the top probability, the lowest first.
    """
    if uncertainty_N is None:
        errors_N = _by_confidence(log_probs_NC, labels_N)[1]
    else:
        errors_N = _by_certainty(-uncertainty_N, _errors(log_probs_NC, labels_N))[1]
    remaining = F.pad(errors_N.cumsum(dim=0), (1, 0)) / len(errors_N)
    num_errors = _errors(log_probs_NC, labels_N).sum().item()
    if num_errors in (0, len(errors_N)):
        return None
    error = num_errors / len(errors_N)
    area = torch.trapezoid(remaining).item() / len(errors_N)
    return (error / 2 - area) / (error / 2 - error**2 / 2)


# Calibration by temperature.


def fit_temperature(logits_NC: Tensor, labels_N: Tensor) -> float:
    """Temperature that minimises the NLL of log_softmax(logits / T) (Guo et al. 2017).

    The NLL has one minimum in T. Brent's method looks for it in ln T between the neighbours of the best of a few, as
    far away it is flat.

    Args:
        logits_NC: logits or log-probabilities of VALIDATION rows; of an ensemble, the mixture's
            log-probabilities.
        labels_N: their labels.

    Returns:
        T, within `TEMPERATURE_RANGE`.
    """
    from scipy.optimize import minimize_scalar

    _check_rows(logits_NC, labels_N)
    logits_NC = logits_NC.detach().double()
    labels_N = labels_N.long()

    def loss(log_temperature: float) -> float:
        return F.cross_entropy(logits_NC / math.exp(log_temperature), labels_N).item()

    low, high = (math.log(bound) for bound in TEMPERATURE_RANGE)
    grid = np.linspace(low, high, 25).tolist()
    best = min(range(len(grid)), key=lambda place: loss(grid[place]))
    around = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found: Any = minimize_scalar(loss, bounds=around, method="bounded", options={"xatol": 1e-9})
    return math.exp(min(grid[best], found.x, key=loss))


def calibrated_nll(log_probs_NC: Tensor, labels_N: Tensor, temperature: float) -> float:
    """NLL after division by a temperature fitted on other rows (Ashukha et al. 2020), nats."""
    return nll(F.log_softmax(log_probs_NC.double() / temperature, dim=-1), labels_N)


# Detection of unknown rows.


def auroc(known_N: Tensor, unknown_K: Tensor) -> float:
    """Area under the ROC curve: P(unknown score > known score) + P(equal) / 2."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(*_labelled(known_N, unknown_K)))


def aupr(known_N: Tensor, unknown_K: Tensor) -> float:
    """Average precision, unknown rows as positives. No ROC area: it depends on the share of unknown rows."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(*_labelled(known_N, unknown_K)))


def aupr_in(known_N: Tensor, unknown_K: Tensor) -> float:
    """Average precision with the known rows as positives and the score negated."""
    return aupr(-unknown_K, -known_N)


def fpr95(known_N: Tensor, unknown_K: Tensor) -> float:
    """Share of known rows flagged at the first threshold that catches 95 % of the unknown rows (as OpenOOD).

    Unknown rows are the positives; papers that take known rows as positives report another number.
    """
    from sklearn.metrics import roc_curve

    flagged, caught, _ = roc_curve(*_labelled(known_N, unknown_K), drop_intermediate=False)
    return float(flagged[np.argmax(caught >= CAUGHT)])


# Groups of figures, by their names in metrics.json.


def quality_figures(log_probs_NC: Tensor, labels_N: Tensor) -> Figures:
    """Quality, calibration and selective prediction of one predictive distribution; of two classes `roc_auc` too."""
    is_binary = log_probs_NC.ndim == 2 and log_probs_NC.shape[1] == 2
    return {
        "nll": nll(log_probs_NC, labels_N),
        "brier": brier(log_probs_NC, labels_N),
        "accuracy": accuracy(log_probs_NC, labels_N),
        "ece": ece(log_probs_NC, labels_N),
        "ece_equal_mass": equal_mass_ece(log_probs_NC, labels_N),
        "aurc": aurc(log_probs_NC, labels_N),
        "e_aurc": e_aurc(log_probs_NC, labels_N),
        "prr": prr(log_probs_NC, labels_N),
        **({"roc_auc": roc_auc(log_probs_NC, labels_N)} if is_binary else {}),
    }


def predictive_figures(log_probs_NC: Tensor, labels_N: Tensor, row_scores: Scores) -> Figures:
    """`quality_figures`, the mean of every registered score, and `prr_<score>` of those that detect; None for those
    that are not there.

    Args:
        log_probs_NC: of the mixture, or `uncertainty.dirichlet_log_probs`.
        labels_N: labels.
        row_scores: `uncertainty.scores` or `uncertainty.dirichlet_scores` of the same rows.
    """
    rejection = {
        f"prr_{name}": prr(log_probs_NC, labels_N, row_scores[name]) if name in row_scores else None
        for name in detectors("logits")
    }
    return quality_figures(log_probs_NC, labels_N) | rejection | mean_scores(row_scores, "logits")


def classification_figures(logits_NMC: Tensor, labels_N: Tensor) -> Figures:
    """All figures of a predictor with M members or heads on labelled rows; its prediction is the mixture.

    Returns:
        nll, brier, accuracy, ece, ece_equal_mass, aurc, e_aurc, prr and prr_<score> (None where all or no rows are
        wrong), of two classes roc_auc, and the means of all registered scores, those of disagreement None for M = 1.

    Raises:
        ValueError: no rows, or the shapes are not [N, M, C] and [N].
    """
    return predictive_figures(mixture_log_probs(logits_NMC), labels_N, scores(logits_NMC))


def detection_figures(test_scores: Mapping[str, Tensor], unknown_scores: Mapping[str, Tensor]) -> dict[str, float]:
    """How well each score tells unknown rows from test rows.

    Args:
        test_scores: score name -> [N].
        unknown_scores: the same names -> [K].

    Returns:
        auroc_<score>, aupr_<score>, aupr_in_<score>, fpr95_<score> for every score.

    Raises:
        ValueError: the names differ, there are no rows, or a score is not finite.
    """
    if test_scores.keys() != unknown_scores.keys():
        raise ValueError(f"scores differ: test has {sorted(test_scores)}, unknown has {sorted(unknown_scores)}")
    measures = {"auroc": auroc, "aupr": aupr, "aupr_in": aupr_in, "fpr95": fpr95}
    return {
        f"{measure}_{name}": function(test_scores[name], unknown_scores[name])
        for name in test_scores
        for measure, function in measures.items()
    }


def _check_rows(log_probs_NC: Tensor, labels_N: Tensor) -> None:
    if log_probs_NC.ndim != 2 or labels_N.shape != log_probs_NC.shape[:1] or len(labels_N) == 0:
        raise ValueError(
            f"needs log-probabilities [N, C] and labels [N] of at least one row, got shapes "
            f"{list(log_probs_NC.shape)} and {list(labels_N.shape)}"
        )


def _errors(log_probs_NC: Tensor, labels_N: Tensor) -> Tensor:
    """1 where the most probable class is not the label, else 0: float64 [N]."""
    _check_rows(log_probs_NC, labels_N)
    return (log_probs_NC.argmax(dim=-1) != labels_N).double()


def _by_confidence(log_probs_NC: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """Top probability [N], falling, and errors [N]; rows of equal confidence get their mean error."""
    confidence_N, errors_N = _by_certainty(log_probs_NC.double().amax(dim=-1), _errors(log_probs_NC, labels_N))
    return confidence_N.exp(), errors_N


def _by_certainty(certainty_N: Tensor, errors_N: Tensor) -> tuple[Tensor, Tensor]:
    """Certainty [N], falling, and errors [N] in that order; rows of equal certainty get their mean error."""
    falling_N, order_N = certainty_N.sort(descending=True)
    _, group_N, counts = torch.unique_consecutive(falling_N, return_inverse=True, return_counts=True)
    sums = errors_N.new_zeros(len(counts)).index_add_(0, group_N, errors_N[order_N])
    return falling_N, (sums / counts)[group_N]


def _area_under_risk(errors_N: Tensor) -> float:
    coverage_N = torch.arange(1, len(errors_N) + 1, dtype=torch.float64, device=errors_N.device)
    return (errors_N.cumsum(dim=0) / coverage_N).mean().item()


def _labelled(known_N: Tensor, unknown_K: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row is unknown, and its score, as scikit-learn wants them."""
    if 0 in (known_N.numel(), unknown_K.numel()):
        raise ValueError(f"needs known and unknown rows, got {known_N.numel()} and {unknown_K.numel()}")
    all_scores = torch.cat([known_N.detach(), unknown_K.detach()]).double().cpu().numpy()
    return np.repeat([0, 1], [len(known_N), len(unknown_K)]), all_scores
