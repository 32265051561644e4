"""What the last layer's numbers mean: logits as they are, or a Gaussian of the target in the target's own unit.

It is: the conversion of standardised outputs to target units, with a bounded variance; so that whatever leaves a
network is in target units, and nothing is standardised twice. And the one answer of a network of k submodels.
It is not: the network (`networks.py`), nor a loss (`tasks/`).

Shapes: [..., K] raw numbers of the last layer -> [..., C] logits, or [..., 2] = mean, LOG variance.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

OutputKind = Literal["logits", "gaussian", "mean"]

LOG_VARIANCE_RANGE = (-16.0, 8.0)
"""Of standardised targets: deviations from 3e-4 to 55 of the target's own."""


class Standardised(nn.Module):
    """Mean and standard deviation of the targets, as buffers; a deviation of 0 counts as 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std if std > 0 else 1.0, dtype=torch.float32))

    @classmethod
    def fit(cls, targets_N: NDArray[Any]) -> Self:
        """From the training rows' targets, in float64."""
        targets_N = targets_N.astype(np.float64)
        return cls(float(targets_N.mean()), float(targets_N.std()))

    def in_target_units(self, raw: Tensor) -> Tensor:
        """Standardised means as means of the target; bfloat16 would keep two digits of them."""
        return self.mean + self.std * raw.to(torch.promote_types(raw.dtype, self.mean.dtype))


class GaussianOutput(Standardised):
    """A heteroscedastic Gaussian: [..., 2] standardised mean and log variance -> the same in target units.

    The log variance is bounded smoothly at both ends, as a softplus does it (Chua et al. 2018, PETS, app. A.1): without
    bounds one row that is fitted exactly sends the likelihood to infinity. Around 0 it is left as it is to 4e-4.
    """

    def forward(self, raw: Tensor) -> Tensor:
        """See the class."""
        log_variance = bounded(raw[..., 1].to(self.mean.dtype)) + 2 * self.std.log()
        return torch.stack([self.in_target_units(raw[..., 0]), log_variance], dim=-1)


class MeanOutput(Standardised):
    """A mean alone: [..., 1] -> [..., 2] in target units, with one variance for all inputs.

    The variance is no weight of the network: `fit_residual_variance` takes it from residuals.
    """

    log_variance: Tensor

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__(mean, std)
        self.register_buffer("log_variance", torch.tensor(2 * math.log(float(self.std)), dtype=torch.float32))

    def forward(self, raw: Tensor) -> Tensor:
        """See the class."""
        mean = self.in_target_units(raw[..., 0])
        return torch.stack([mean, self.log_variance.expand_as(mean)], dim=-1)

    def fit_residual_variance(self, outputs_N2: Tensor, targets_N: Tensor) -> Tensor:
        """Set the variance to that of maximum likelihood on these rows, their mean squared residual, within the bounds.

        Returns:
            The outputs with that variance.
        """
        residual = (targets_N.double() - outputs_N2[..., 0].double()).square().mean()
        low, high = (bound + 2 * float(self.std.log()) for bound in LOG_VARIANCE_RANGE)
        self.log_variance.copy_(residual.log().clamp(low, high))
        return torch.stack([outputs_N2[..., 0], self.log_variance.expand_as(outputs_N2[..., 0])], dim=-1)


def bounded(log_variance: Tensor) -> Tensor:
    """Log variances within `LOG_VARIANCE_RANGE`, with a gradient everywhere."""
    low, high = LOG_VARIANCE_RANGE
    log_variance = high - F.softplus(high - log_variance)
    return low + F.softplus(log_variance - low)


def combined(kind: OutputKind, outputs: Tensor, is_training: bool) -> Tensor:
    """Outputs as a member gives them: [B, C]; those of k submodels one by one, [B, k, C], while they learn."""
    return outputs if is_training or outputs.ndim == 2 else mean_of_submodels(kind, outputs)


def mean_of_submodels(kind: OutputKind, outputs_BkC: Tensor) -> Tensor:
    """The one answer of k submodels: [B, k, C] -> [B, C], as TabM has it (Gorishniy et al. 2025, arXiv 2410.24210).

    Classification: the mean of their probabilities; its logarithms are the logits, so that softmax gives it back.
    Regression: the mean of their means. Of Gaussians the variance is that of their mixture, the mean of the variances
    plus the variance of the means; a mean alone keeps the one variance it has.
    """
    if kind == "logits":
        log_probs_BkC = torch.log_softmax(outputs_BkC, dim=-1)
        return torch.logsumexp(log_probs_BkC, dim=1) - math.log(outputs_BkC.shape[1])
    mean_Bk, log_variance_Bk = outputs_BkC.unbind(-1)
    log_variance_B = log_variance_Bk[:, 0]
    if kind == "gaussian":
        log_variance_B = (log_variance_Bk.exp().mean(1) + mean_Bk.var(1, correction=0)).log()
    return torch.stack([mean_Bk.mean(1), log_variance_B], dim=-1)


def build_output(kind: OutputKind) -> nn.Module:
    """The output of that kind, for standardised targets; a file to be loaded brings the units."""
    return {"logits": nn.Identity, "gaussian": GaussianOutput, "mean": MeanOutput}[kind]()
