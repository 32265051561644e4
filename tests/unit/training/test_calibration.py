"""Calibration of disagreement: one scale for all rows, and the curve that gives each row its own."""

import math

import pytest
import torch

from hydra_ray.metrics import SCALE_RANGE, Members, disagreement_scale, rescale_disagreement
from hydra_ray.metrics.uncertainty import uncertainty
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.calibration import Answered, Curve, Scale, calibration_from_json, fit_curve, fit_scale
from hydra_ray.training.kinds import kind_named

TASKS = pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)


def _logits(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def _bent(task, num_rows=2000, seed=0):
    """Members, and heads that differ the less, beside them, the more the members do; rows in random order."""
    generator = torch.Generator().manual_seed(seed)
    size_N11 = torch.empty(num_rows, 1, 1, dtype=torch.float64).uniform_(-3, 0.5, generator=generator).exp()
    apart_NMC = torch.randn(num_rows, 6, 4 if task is CLASSIFICATION else 2, generator=generator, dtype=torch.float64)
    members = size_N11 * apart_NMC
    if task is REGRESSION:
        members[..., 1] = 0
    return Answered(task.likelihood.rescale_disagreement(members, 0.5 * size_N11.flatten() ** -0.3), members)


def _knowledge(task, outputs_NMC, calibration=None):
    if calibration is not None:
        outputs_NMC = calibration.applied(task, outputs_NMC)
    return task.likelihood.knowledge_of(outputs_NMC)


@pytest.mark.parametrize("shrunk", [0.4, 1.7])
def test_fitted_spread_gives_the_ensembles_mean_disagreement(shrunk):
    ensemble = _logits(500, 6, 4, scale=2.0)
    student = rescale_disagreement(ensemble.double(), shrunk)
    found, caveat = fit_scale(CLASSIFICATION, Answered(student, ensemble))
    assert caveat is None
    assert found.scale == pytest.approx(1 / shrunk, rel=1e-6)
    calibrated = kind_named("hydra").prediction(CLASSIFICATION, student, found).scores["mutual_information"].mean()
    assert float(calibrated) == pytest.approx(float(uncertainty(ensemble).knowledge.mean()), rel=1e-9)


@TASKS
@pytest.mark.parametrize(("stretched", "bound"), [(1e-4, 1), (1e3, 0)])
def test_a_spread_that_ends_at_its_bound_says_so(task, stretched, bound):
    ensemble = _logits(20, 4, 2)
    student = task.likelihood.rescale_disagreement(ensemble.double(), stretched)
    members = task.likelihood.rescale_disagreement(ensemble.double(), 1.5)
    found, caveat = fit_scale(task, Answered(student, members))
    scale = found.scale
    assert scale == SCALE_RANGE[bound]
    kept = (
        task.likelihood.knowledge_of(task.likelihood.rescale_disagreement(student, scale)).mean()
        / task.likelihood.knowledge_of(ensemble).mean()
    )
    assert f"bound {scale:g}, where the heads' {task.figures.knowledge.replace('_', ' ')} is " in caveat
    assert (kept < 1) == bool(bound)


def test_heads_that_do_not_differ_are_left_alone_and_say_so():
    same = _logits(20, 1, 3).expand(20, 4, 3)
    for fit in (fit_scale, fit_curve):
        found, caveat = fit(CLASSIFICATION, Answered(same, _logits(20, 4, 3, seed=1)))
        assert found.scale == 1.0
        assert "the heads do not differ" in caveat


@TASKS
def test_the_curve_gives_rows_of_every_size_their_disagreement_where_one_scale_cannot(task):
    fitted = _bent(task)
    fresh = _bent(task, seed=1)
    members = _knowledge(task, fresh.members_NMC)
    order = members.argsort()
    ratios = {}
    for fit in (fit_scale, fit_curve):
        found = fit(task, fitted).calibration
        own = _knowledge(task, fresh.heads_NMC, found)
        ratios[fit] = [float(own[part].mean() / members[part].mean()) for part in order.tensor_split(5)]
    assert max(abs(math.log(each)) for each in ratios[fit_curve]) < 0.15
    assert max(abs(math.log(each)) for each in ratios[fit_scale]) > 0.4


@TASKS
def test_validation_rows_keep_the_mean_and_all_rows_their_order(task):
    validation = _bent(task, 800)
    views = _bent(task, 1600, seed=2)
    views = Answered(views.heads_NMC, task.likelihood.rescale_disagreement(views.members_NMC, 0.7))
    curve = fit_curve(task, validation, views).calibration
    assert isinstance(curve, Curve)
    assert list(curve.own) == sorted(set(curve.own))
    assert list(curve.calibrated) == sorted(set(curve.calibrated))
    own = _knowledge(task, validation.heads_NMC, curve)
    assert float(own.mean()) == pytest.approx(float(_knowledge(task, validation.members_NMC).mean()), rel=2e-3)
    assert torch.equal(own.argsort(), _knowledge(task, validation.heads_NMC).argsort())
    assert curve != fit_curve(task, validation).calibration, "views are looked at"


@TASKS
def test_a_curve_rises_even_where_members_agree_most_on_rows_that_heads_agree_least_on(task):
    bent = _bent(task)
    against = task.likelihood.rescale_disagreement(bent.members_NMC, 1.0)
    size_N = _knowledge(task, bent.members_NMC)
    against = task.likelihood.rescale_disagreement(against, (size_N.mean() / size_N).clamp(0.1, 10))
    curve = fit_curve(task, Answered(bent.heads_NMC, against)).calibration
    assert (torch.tensor(curve.calibrated).diff() > 0).all()


@TASKS
def test_few_rows_make_few_knots(task):
    bent = _bent(task, 27)
    curve = fit_curve(task, bent).calibration
    assert len(curve.own) == 1
    own = _knowledge(task, bent.heads_NMC)
    wanted = own * _knowledge(task, bent.members_NMC).mean() / own.mean()
    assert torch.allclose(_knowledge(task, bent.heads_NMC, curve), wanted, rtol=1e-6)


@TASKS
def test_a_scale_of_a_row_leads_to_the_knowledge_that_is_wanted(task):
    outputs = _logits(400, 5, 6 if task is CLASSIFICATION else 2, scale=2.0).double()
    chosen = torch.empty(400, dtype=torch.float64).uniform_(0.3, 3, generator=torch.Generator().manual_seed(3))
    weights = Members.weighted([1, 2, 3, 4, 5], outputs)
    for heads in (Members(None, None), weights):
        wanted = task.likelihood.knowledge_of(task.likelihood.rescale_disagreement(outputs, chosen), heads)
        found = task.likelihood.disagreement_scale(outputs, wanted, heads)
        again = task.likelihood.knowledge_of(task.likelihood.rescale_disagreement(outputs, found), heads)
        assert torch.allclose(again, wanted, rtol=1e-6)


def test_rows_that_are_all_but_certain_and_rows_without_disagreement_stay_finite():
    extreme = torch.tensor([[[900.0, -900.0], [-900.0, 900.0]], [[3.0, 1.0], [3.0, 1.0]]], dtype=torch.float64)
    for wanted in (1e-12, 0.3):
        scale_B = disagreement_scale(extreme, torch.full((2,), wanted, dtype=torch.float64))
        assert ((scale_B >= SCALE_RANGE[0]) & (scale_B <= SCALE_RANGE[1])).all()
        assert rescale_disagreement(extreme, scale_B).isfinite().all()


@TASKS
def test_a_curve_beyond_reach_says_so(task):
    ensemble = _logits(200, 4, 2)
    student = task.likelihood.rescale_disagreement(ensemble.double(), 1e-3)
    found, caveat = fit_curve(task, Answered(student, ensemble))
    assert "calibration does not reach it, where the heads' " in caveat
    assert isinstance(found, Curve)


def test_members_that_never_differ_are_asked_for_as_one_scale():
    same = _logits(60, 1, 3).expand(60, 4, 3)
    found, caveat = fit_curve(CLASSIFICATION, Answered(_logits(60, 4, 3), same))
    assert found == Scale(SCALE_RANGE[0])
    assert "above the members', which is 0" in caveat


@pytest.mark.parametrize("calibration", [Scale(2.5), Curve((0.1, 0.2), (0.3, 0.9)), Curve((0.1,), (0.4,))])
def test_what_stands_in_config_json_comes_back(calibration):
    assert calibration_from_json(calibration.to_json()) == calibration
    assert (
        str(calibration)
        == {0: "2.5 times", 1: "2 times", 2: "1.73 to 2.12 times"}[
            0 if isinstance(calibration, Scale) else len(calibration.own)
        ]
    )
