"""What finished students say."""

import torch

from hydra_ray.metrics.uncertainty import dirichlet_log_probs, mixture_log_probs, uncertainty
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.kinds import kind_named


def _logits(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def test_hydra_is_the_mixture_of_its_heads():
    logits = _logits(9, 4, 5)
    found = kind_named("hydra").prediction(CLASSIFICATION, logits)
    assert torch.equal(found.distribution, mixture_log_probs(logits))
    assert torch.equal(found.scores["mutual_information"], uncertainty(logits).knowledge)
    assert torch.equal(found.scores["entropy"], CLASSIFICATION.of_members(logits).scores["entropy"])


def test_dirichlet_students_have_closed_forms_and_no_heads():
    logits = _logits(6, 1, 4)
    found = kind_named("end2").prediction(CLASSIFICATION, logits)
    assert found.outputs_NMC is None
    assert torch.equal(found.distribution, dirichlet_log_probs(logits[:, 0]))
    assert (found.scores["mutual_information"] > 0).all()
    assert "mutual_information" not in kind_named("kd").prediction(CLASSIFICATION, logits).scores
