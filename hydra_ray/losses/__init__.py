"""Losses of distillation: outputs of student and members in, a sum over rows and their number out; and of groups.

Pure functions of tensors.
"""

from hydra_ray.losses.classification import hydra_loss, mean_loss
from hydra_ray.losses.dirichlet import dirichlet_nll, prior_network_loss, proxy_dirichlet_rkl
from hydra_ray.losses.group_objectives import gradient_cosine, group_loss, log_volume
from hydra_ray.losses.own_objectives import diverse_loss, squared_weights
from hydra_ray.losses.own_term import check_own_term, own_term, own_term_code
from hydra_ray.losses.regression import gaussian_nll, heads_loss, mixture_nll, moments_loss
from hydra_ray.losses.sums import Correlated, Summed, share_of_mean, sum_rows
from hydra_ray.losses.terms import LABELS, Term, terms_of

__all__ = [
    "LABELS",
    "Correlated",
    "Summed",
    "Term",
    "check_own_term",
    "dirichlet_nll",
    "diverse_loss",
    "gaussian_nll",
    "gradient_cosine",
    "group_loss",
    "heads_loss",
    "hydra_loss",
    "log_volume",
    "mean_loss",
    "mixture_nll",
    "moments_loss",
    "own_term",
    "own_term_code",
    "prior_network_loss",
    "proxy_dirichlet_rkl",
    "share_of_mean",
    "squared_weights",
    "sum_rows",
    "terms_of",
]
