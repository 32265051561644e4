"""Uncertainty of one network that has a temperature for each row: how far its prediction must be sharpened.

It is: the closed form of what a student of kind `kd_temperature` says. It is not: its loss (`losses/`).

The softmax of C logits does not depend on their level, the mean over classes, so the level is free to be a further
output: the temperature tau = 1 + exp(level). The prediction is softmax(z), z the logits less their level, and
softmax(tau z) is a sharper one that stands for a single member. What tau is follows from entropies: members are on
average surer than their mean, mean_m H[p_m] <= H[p], and the entropy of softmax(tau z) falls steadily as tau grows from
1, where it is H[softmax(z)], so that one tau has H[softmax(tau z)] = mean_m H[p_m].

Shapes: N rows, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hydra_ray.metrics.registry import Scores
from hydra_ray.metrics.uncertainty import Uncertainty

MAX_LEVEL = 10.0
"""At a temperature of 22,000 a row's sharper prediction is one class."""


def row_temperature(logits_NC: Tensor) -> Tensor:
    """tau of each row, float64 [N], above 1; it does not depend on what the logits predict."""
    return 1 + logits_NC.double().mean(dim=-1).clamp(max=MAX_LEVEL).exp()


def sharpened_uncertainty(logits_NC: Tensor, temperature_N: Tensor) -> Uncertainty:
    """Total, data and knowledge uncertainty of a prediction and its temperature, each float64 [N], nats.

    total = H[softmax(z)], data = H[softmax(tau z)], knowledge their difference, which is never below 0.
    """
    log_probs_NC = torch.log_softmax(logits_NC.double(), dim=-1)
    total_N = _entropy(log_probs_NC)
    data_N = _entropy(torch.log_softmax(temperature_N.unsqueeze(-1) * log_probs_NC, dim=-1))
    return Uncertainty(total_N, data_N, (total_N - data_N).clamp(min=0))


def row_temperature_scores(logits_NC: Tensor) -> Scores:
    """The measures of `scores` that such a network has, by the same names, each float64 [N], nats."""
    found = sharpened_uncertainty(logits_NC, row_temperature(logits_NC))
    return {"entropy": found.total, "data_uncertainty": found.data, "mutual_information": found.knowledge}


def _entropy(log_probs_NC: Tensor) -> Tensor:
    return -(log_probs_NC.exp() * log_probs_NC).sum(dim=-1)
