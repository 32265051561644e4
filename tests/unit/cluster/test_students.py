"""What finished students say, and calibration of disagreement."""

import pytest
import torch

from hydra_ray.metrics.uncertainty import dirichlet_log_probs, mixture_log_probs, uncertainty
from hydra_ray.models.student import rescale_disagreement
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.calibration import CALIBRATION_RANGE, fit_calibration
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


@pytest.mark.parametrize("shrunk", [0.4, 1.7])
def test_fitted_spread_gives_the_ensembles_mean_disagreement(shrunk):
    ensemble = _logits(500, 6, 4, scale=2.0)
    student = rescale_disagreement(ensemble.double(), shrunk)
    scale, caveat = fit_calibration(CLASSIFICATION, student, ensemble)
    assert caveat is None
    assert scale == pytest.approx(1 / shrunk, rel=1e-6)
    calibrated = (
        kind_named("hydra").prediction(CLASSIFICATION, student, scale=scale).scores["mutual_information"].mean()
    )
    assert float(calibrated) == pytest.approx(float(uncertainty(ensemble).knowledge.mean()), rel=1e-9)


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
@pytest.mark.parametrize(("stretched", "bound"), [(1e-4, 1), (1e3, 0)])
def test_a_spread_that_ends_at_its_bound_says_so(task, stretched, bound):
    ensemble = _logits(20, 4, 2)
    student = task.likelihood.rescale_disagreement(ensemble.double(), stretched)
    scale, caveat = fit_calibration(task, student, task.likelihood.rescale_disagreement(ensemble.double(), 1.5))
    assert scale == CALIBRATION_RANGE[bound]
    kept = (
        task.likelihood.knowledge_of(task.likelihood.rescale_disagreement(student, scale)).mean()
        / task.likelihood.knowledge_of(ensemble).mean()
    )
    assert f"bound {scale:g}, where the heads' {task.figures.knowledge.replace('_', ' ')} is " in caveat
    assert (kept < 1) == bool(bound)


def test_heads_that_do_not_differ_are_left_alone_and_say_so():
    same = _logits(20, 1, 3).expand(20, 4, 3)
    scale, caveat = fit_calibration(CLASSIFICATION, same, _logits(20, 4, 3, seed=1))
    assert scale == 1.0
    assert "the heads do not differ" in caveat
