"""What members minimise that are trained as a group: how well each predicts, and how they differ.

Every objective is a function of the group's outputs on the same rows and gives one loss a row, nats; the mean over rows
is minimised. The group's members are the first dimension, as a stack of them has it (`models/ensemble.py`).

Shapes: K members of the group, B batch, C classes; `logits_KBC`, `labels_B` int64. Of a regression C is 2: mean and log
variance; `labels_B` float32. Inputs may have any floating type: the work is done in float32 at least.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hydra_ray.config import AdpConfig, JointConfig, NegativeCorrelationConfig, ObjectiveConfig, TrsConfig
from hydra_ray.data import TaskName

Forward = Callable[[Tensor], Tensor]
"""Normalised inputs, each member's own copy [K, B, ...] -> outputs_KBC."""
GroupLoss = Callable[[Forward, Tensor, Tensor, float], tuple[Tensor, Tensor]]
"""forward, normalised_KB, labels_B, share of the training that is done -> what the group minimises, [B], and each
member's own loss, [K, B], which is reported."""

_ON_THE_DIAGONAL = 1e-6
"""Added to a Gram matrix, as the authors of ADP do, so that members that agree have a finite logarithm."""


def group_loss(objective: ObjectiveConfig, task: TaskName) -> GroupLoss:
    """What a group minimises.

    Raises:
        ValueError: the objective is none of groups, or not for the task.
    """
    if isinstance(objective, TrsConfig):
        return _trs(objective)
    each = each_cross_entropy if task == "classification" else each_gaussian_nll
    of_outputs = _of_outputs(objective, task)

    def loss(forward: Forward, normalised_KB: Tensor, labels_B: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        outputs_KBC = forward(normalised_KB)
        return of_outputs(outputs_KBC, labels_B), each(outputs_KBC, labels_B)

    return loss


def _of_outputs(objective: ObjectiveConfig, task: TaskName) -> Callable[[Tensor, Tensor], Tensor]:
    match objective, task:
        case JointConfig(), "classification":
            return joint_loss
        case JointConfig(), "regression":
            return joint_gaussian_loss
        case NegativeCorrelationConfig(weight=weight), "classification":
            return partial(negative_correlation_loss, weight=weight)
        case NegativeCorrelationConfig(weight=weight), "regression":
            return partial(negative_correlation_gaussian_loss, weight=weight)
        case AdpConfig(entropy_weight=entropy_weight, volume_weight=volume_weight), "classification":
            return partial(adp_loss, entropy_weight=entropy_weight, volume_weight=volume_weight)
    raise ValueError(f"{objective.kind} is no objective of groups for a {task}")


def _trs(settings: TrsConfig) -> GroupLoss:
    def loss(forward: Forward, normalised_KB: Tensor, labels_B: Tensor, progress: float) -> tuple[Tensor, Tensor]:
        def each_loss(inputs_KB: Tensor) -> Tensor:
            return each_cross_entropy(forward(inputs_KB), labels_B)

        radius = settings.first_radius + progress * (settings.last_radius - settings.first_radius)
        weights = (settings.scale, settings.cosine_weight, settings.smoothness_weight, settings.num_steps)
        return trs_loss(each_loss, normalised_KB, radius, *weights)

    return loss


def each_cross_entropy(logits_KBC: Tensor, labels_B: Tensor) -> Tensor:
    """-ln p_k(y): [K, B]."""
    log_p_KBC = _log_softmax(logits_KBC)
    return -log_p_KBC.gather(-1, labels_B.expand(len(log_p_KBC), -1).unsqueeze(-1)).squeeze(-1)


def joint_loss(logits_KBC: Tensor, labels_B: Tensor) -> Tensor:
    """Cross-entropy of the members' mean probabilities: [B]."""
    return -_log_mean(_log_softmax(logits_KBC)).gather(-1, labels_B.unsqueeze(-1)).squeeze(-1)


def joint_gaussian_loss(outputs_KBC: Tensor, targets_B: Tensor) -> Tensor:
    """Negative log likelihood of the uniform mixture of the members' Gaussians: [B]."""
    return -_log_mean(-each_gaussian_nll(outputs_KBC, targets_B).unsqueeze(-1)).squeeze(-1)


def adp_loss(logits_KBC: Tensor, labels_B: Tensor, entropy_weight: float, volume_weight: float) -> Tensor:
    """Adaptive diversity promoting training (Pang et al. 2019, arXiv 1901.08846, eq. 9): [B].

    sum_k CE_k - entropy_weight * H(mean_k p_k) - volume_weight * ln det of the non-maximal predictions.

    Args:
        logits_KBC: of at least 2 members, and fewer than there are classes.
        labels_B: true classes.
        entropy_weight: alpha, 2 in the paper.
        volume_weight: beta, 0.5 in the paper.
    """
    each = each_cross_entropy(logits_KBC, labels_B).sum(0)
    regulariser = entropy_weight * mean_entropy(logits_KBC) + volume_weight * log_volume(logits_KBC, labels_B)
    return each - regulariser


def mean_entropy(logits_KBC: Tensor) -> Tensor:
    """Entropy of the members' mean probabilities, nats: [B]."""
    log_p_BC = _log_mean(_log_softmax(logits_KBC))
    return -(log_p_BC.exp() * log_p_BC).sum(-1)


def log_volume(logits_KBC: Tensor, labels_B: Tensor) -> Tensor:
    """ln det of the Gram matrix of the members' non-maximal predictions, each of length 1 (ADP, eq. 6): [B].

    A member's non-maximal prediction are its probabilities of the classes that are not the label. They are normalised
    as softmax of the other logits, so that a member that is sure of the label keeps its direction.
    0 where the members' are orthogonal; never above it but for what is added to the diagonal. Float64.
    """
    is_label_BC = F.one_hot(labels_B, logits_KBC.shape[-1]).bool()
    others_KBC = logits_KBC.double().masked_fill(is_label_BC, -torch.inf).softmax(-1)
    directions_BKC = F.normalize(others_KBC, dim=-1).transpose(0, 1)
    gram_BKK = directions_BKC @ directions_BKC.mT
    offset_KK = _ON_THE_DIAGONAL * torch.eye(gram_BKK.shape[-1], dtype=gram_BKK.dtype, device=gram_BKK.device)
    return torch.logdet(gram_BKK + offset_KK)


def negative_correlation_loss(logits_KBC: Tensor, labels_B: Tensor, weight: float) -> Tensor:
    """Negative correlation learning (Liu & Yao 1999), of probabilities: [B].

    sum_k (CE_k - weight * ||p_k - mean_j p_j||^2), as the correlation penalty (p_k - mean) . sum_{j != k} (p_j - mean)
    is minus the squared distance.
    """
    p_KBC = _log_softmax(logits_KBC).exp()
    distance_KB = (p_KBC - p_KBC.mean(0)).square().sum(-1)
    return (each_cross_entropy(logits_KBC, labels_B) - weight * distance_KB).sum(0)


def each_gaussian_nll(outputs_KBC: Tensor, targets_B: Tensor) -> Tensor:
    """-ln N(y; mu_k, sigma_k^2): [K, B]."""
    mean_KB, log_variance_KB = _at_least_float32(outputs_KBC).unbind(-1)
    squares_KB = (targets_B - mean_KB).square() * (-log_variance_KB).exp()
    return 0.5 * (squares_KB + log_variance_KB + math.log(2 * math.pi))


def negative_correlation_gaussian_loss(outputs_KBC: Tensor, targets_B: Tensor, weight: float) -> Tensor:
    """Negative correlation learning of means, in units of each member's own variance: [B].

    sum_k (NLL_k - weight * (mu_k - mean_j mu_j)^2 / (2 sigma_k^2)), the variance without a gradient: with weight 1 and
    one variance the squared errors are K times that of the members' mean (Krogh & Vedelsby 1995, eq. 6).
    """
    mean_KB, log_variance_KB = _at_least_float32(outputs_KBC).unbind(-1)
    distance_KB = (mean_KB - mean_KB.mean(0)).square() * (-log_variance_KB.detach()).exp() / 2
    return (each_gaussian_nll(outputs_KBC, targets_B) - weight * distance_KB).sum(0)


EachLoss = Callable[[Tensor], Tensor]
"""Inputs, each member's own copy [K, B, ...], float -> its loss on them [K, B]."""


def trs_loss(
    each_loss: EachLoss,
    inputs_KB: Tensor,
    radius: float,
    scale: float,
    cosine_weight: float,
    smoothness_weight: float,
    num_steps: int = 6,
) -> tuple[Tensor, Tensor]:
    """Transferability reduced smooth training (Yang et al. 2021, arXiv 2104.00671): [B], and each member's loss [K, B].

    sum_k l_k + scale * (cosine_weight * mean over pairs of |cos(grad_x l_i, grad_x l_j)|
                         + smoothness_weight * mean_k 2 ||grad_x l_k||^2 at points nearby),

    where each member's point nearby is reached by `num_steps` steps of radius / 3 up its gradient's norm.

    Args:
        each_loss: of the members; must be differentiable twice.
        inputs_KB: the rows, the same for each member: [K, B, ...].
        radius: largest distance of a point nearby in any input, in the inputs' units.
        scale: of both regularisers.
        cosine_weight: of the gradients' alignment.
        smoothness_weight: of their size.
        num_steps: of the ascent.
    """
    inputs_KB = inputs_KB.detach().requires_grad_()
    loss_KB = each_loss(inputs_KB)
    cosine_B = gradient_cosine(_gradient(loss_KB, inputs_KB, create_graph=True))
    nearby_KB = steepest_nearby(each_loss, inputs_KB, radius, num_steps).requires_grad_()
    slope_KB = _gradient(each_loss(nearby_KB), nearby_KB, create_graph=True).flatten(2).square().sum(-1)
    regulariser = cosine_weight * cosine_B + smoothness_weight * 2 * slope_KB.mean(0)
    return loss_KB.sum(0) + scale * regulariser, loss_KB


def gradient_cosine(gradients_KB: Tensor) -> Tensor:
    """Mean over pairs of members of |cos| of their loss's gradients by the inputs: [K, B, ...] -> [B].

    A gradient of 0 is at a right angle to every other.
    """
    directions_BKD = F.normalize(gradients_KB.flatten(2), dim=-1).transpose(0, 1)
    num_members = directions_BKD.shape[1]
    first, second = torch.triu_indices(num_members, num_members, 1, device=directions_BKD.device)
    return (directions_BKD @ directions_BKD.mT).abs()[:, first, second].mean(-1)


def steepest_nearby(each_loss: EachLoss, inputs_KB: Tensor, radius: float, num_steps: int) -> Tensor:
    """For each member, points at most `radius` away in any input where its loss is steep: [K, B, ...], detached."""
    start_KB = inputs_KB.detach()
    nearby_KB = start_KB
    for _ in range(num_steps):
        nearby_KB = nearby_KB.detach().requires_grad_()
        slope_KB = _gradient(each_loss(nearby_KB), nearby_KB, create_graph=True).flatten(2).square().sum(-1)
        uphill_KB = torch.autograd.grad(slope_KB.sum(), nearby_KB)[0].sign()
        nearby_KB = (nearby_KB + radius / 3 * uphill_KB).detach()
        nearby_KB = torch.clamp(nearby_KB, start_KB - radius, start_KB + radius)
    return nearby_KB.detach()


def _gradient(loss_KB: Tensor, inputs_KB: Tensor, *, create_graph: bool) -> Tensor:
    """Of each member's loss by each row; with batch normalisation, of what the row does to the others' losses too."""
    return torch.autograd.grad(loss_KB.sum(), inputs_KB, create_graph=create_graph)[0]


def _log_softmax(logits_KBC: Tensor) -> Tensor:
    return F.log_softmax(_at_least_float32(logits_KBC), dim=-1)


def _log_mean(log_p_KBC: Tensor) -> Tensor:
    """ln of the mean over members: [B, C]."""
    return torch.logsumexp(log_p_KBC, 0) - math.log(len(log_p_KBC))


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
