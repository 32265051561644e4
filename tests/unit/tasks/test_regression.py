"""Regression through members, losses, students, figures and refusals; the closed forms are in test_gaussian.py."""

import json
import math

import numpy as np
import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.kinds import kind_of

from hydra_ray.config.load import load_config, validate
from hydra_ray.data import TEST, VALIDATION, unknown_split
from hydra_ray.errors import UserError
from hydra_ray.evaluation.metrics_json import Answers, metrics_of, row_scores
from hydra_ray.losses import regression as regression_losses
from hydra_ray.metrics import gaussian
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.files import load_model, to_safetensors_bytes
from hydra_ray.models.members import ModelSpec, Normalise, build_member
from hydra_ray.models.outputs import LOG_VARIANCE_RANGE, GaussianOutput, MeanOutput, bounded
from hydra_ray.models.student import build_student
from hydra_ray.runs.run import Run
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stacked import StackSlot, fit_stacked

SPEC = ModelSpec("member", "mlp", (3,), 2, {"hidden": [16]}, output="gaussian")
MEAN_SPEC = ModelSpec("member", "mlp", (3,), 1, {"hidden": [16]}, output="mean")
NORMALISE = Normalise(torch.zeros(3), torch.ones(3))


pytestmark = pytest.mark.usefixtures("one_thread")


def outputs(rows, members, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, members, 2, generator=generator)


# Members.


def test_log_variances_are_bounded_with_a_gradient_and_left_alone_inside():
    low, high = LOG_VARIANCE_RANGE
    raw = torch.tensor([-1e4, -200.0, 0.0, 200.0, 1e4], requires_grad=True)
    values = bounded(raw)
    assert ((values >= low) & (values <= high)).all()
    assert values[2].abs() < 1e-3
    near = torch.tensor([low - 8.0, high + 8.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(bounded(near).sum(), near)
    assert (gradient > 1e-5).all()


def test_outputs_are_in_target_units_whatever_the_unit():
    raw = torch.tensor([[0.5, -1.0], [-2.0, 0.3]])
    one, other = GaussianOutput(0.0, 1.0)(raw), GaussianOutput(1000.0, 50.0)(raw)
    torch.testing.assert_close(other[:, 0], 1000 + 50 * one[:, 0])
    torch.testing.assert_close(other[:, 1], one[:, 1] + 2 * math.log(50))


def wave(num_rows=200, shift=500.0, scale=20.0):
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(num_rows, 3, generator=generator)
    noise = torch.randn(num_rows, generator=generator) * (0.1 + 0.4 * (inputs[:, 1] > 0))
    return LabelledRows(torch.arange(num_rows), inputs, shift + scale * (inputs[:, 0] + noise))


def fitted(tmp_path, spec, **changed):
    rows = wave()
    tree = {"epochs": 25, "batch_size": 50, "learning_rate": 0.02, **changed}
    settings = validate({"name": "x", "data": {"source": "diabetes"}, "ensemble": tree}, "here").ensemble
    member_spec = MemberSpec.of(REGRESSION, spec, rows.inputs.numpy(), rows.labels.numpy())
    kept = checkpoints_in(tmp_path)
    return fit_member(0, settings, 1, member_spec, rows, rows, kept, lambda figures: None), rows, member_spec, settings


def test_a_gaussian_member_learns_the_mean_and_which_rows_are_noisy(tmp_path):
    (model, figures), rows, *_ = fitted(tmp_path, SPEC)
    said = model(rows.inputs).detach()
    assert figures["validation_rmse"] == pytest.approx(float((said[:, 0] - rows.labels).square().mean().sqrt()))
    assert figures["validation_rmse"] < 8  # the target's deviation is 20 * 1.05, that of the noise 7 at most
    noisy = rows.inputs[:, 1] > 0
    assert said[noisy, 1].mean() > said[~noisy, 1].mean() + 0.8
    assert figures["validation_nll"] == pytest.approx(
        regression_losses.gaussian_nll(said, rows.labels).mean().item(), rel=1e-5
    )


def test_a_mean_only_member_has_the_residuals_variance_everywhere_also_after_loading(tmp_path):
    (model, figures), rows, *_ = fitted(tmp_path, MEAN_SPEC)
    said = load_model(MEAN_SPEC, to_safetensors_bytes(model))(rows.inputs).detach()
    assert said.shape == (200, 2)
    assert figures["validation_rmse"] < 8
    np.testing.assert_allclose(said[:, 1].exp(), figures["validation_rmse"] ** 2, rtol=1e-5)
    best = 0.5 * math.log(2 * math.pi * math.e * figures["validation_rmse"] ** 2)
    assert figures["validation_nll"] == pytest.approx(best, rel=1e-6)


def test_an_exact_fit_leaves_a_variance_above_nothing():
    output = MeanOutput(0.0, 2.0)
    said = output.fit_residual_variance(torch.zeros(4, 2), torch.zeros(4))
    assert said[0, 1] == pytest.approx(LOG_VARIANCE_RANGE[0] + 2 * math.log(2))


@pytest.mark.parametrize("spec", [SPEC, MEAN_SPEC], ids=["gaussian", "mse"])
def test_members_fitted_as_one_network_are_what_they_are_alone(tmp_path, spec):
    (model, figures), rows, member_spec, settings = fitted(tmp_path / "alone", spec, epochs=3)
    every = torch.arange(len(rows))
    slots = [StackSlot(number, every, checkpoints_in(tmp_path / f"{number}")) for number in (0, 1)]
    (first, found), _ = fit_stacked(slots, settings, 1, member_spec, rows, rows, lambda figures: None)
    assert found == pytest.approx(figures, rel=1e-4)
    torch.testing.assert_close(first(rows.inputs), model(rows.inputs), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("stacked", [True, False])
def test_an_ensemble_keeps_each_members_own_units(stacked):
    members = [build_member(MEAN_SPEC, number, NORMALISE, MeanOutput(number, 2.0 + number)) for number in range(3)]
    inputs = torch.randn(5, 3)
    found = Ensemble(members, stacked=stacked)(inputs)
    expected = torch.stack([member(inputs) for member in members], dim=1)
    torch.testing.assert_close(found, expected)


def test_a_students_end_has_the_units_of_what_members_say():
    said = np.stack([np.full((50, 4), 7.0), np.full((50, 4), math.log(9.0))], axis=-1).astype(np.float32)
    said[::2, :, 0] += 8.0
    end = REGRESSION.likelihood.fit_student_output(said)
    assert isinstance(end, GaussianOutput)
    assert (end.mean.item(), end.std.item()) == pytest.approx((11.0, 5.0))
    spec = ModelSpec("student", "mlp", (3,), 2, {"hidden": [4]}, 6, 4, 1, "gaussian")
    student = build_student(spec, 0, NORMALISE, end)
    assert student(torch.zeros(2, 3)).shape == (2, 6, 2)
    again = load_model(spec, to_safetensors_bytes(student))
    torch.testing.assert_close(again(torch.ones(1, 3)), student(torch.ones(1, 3)))


# Losses of students.


def objective(kind, **changed):
    return kind_of(REGRESSION, kind, 3, **{"mean_phase_epochs": 1, "epochs": 2, **changed})


def loss(of, student, teacher, labels, phase=-1):
    return sum(term.mean() for term in of.loss(of.phases[phase], 0.5, student, teacher, labels))


def test_each_phase_and_kind_minimises_its_own_loss():
    teacher, student, labels = outputs(6, 3, 1), outputs(6, 3), torch.full((6,), math.nan)
    hydra = objective("hydra", correlation_weight=0.0)
    first = loss(hydra, student[:, :1], teacher, labels, phase=0)
    torch.testing.assert_close(first, regression_losses.moments_loss(student[:, 0], teacher).mean())
    torch.testing.assert_close(
        loss(hydra, student, teacher, labels), regression_losses.heads_loss(student, teacher).mean()
    )
    kd = loss(objective("kd"), student[:, :1], teacher, labels)
    torch.testing.assert_close(kd, regression_losses.moments_loss(student[:, 0], teacher).mean())
    spread = loss(objective("hydra", correlation_weight=0.0, diversity_weight=0.3), student, teacher, labels)
    expected = (
        regression_losses.heads_loss(student, teacher).mean()
        + 0.3 * regression_losses.diversity_matching_loss(student, teacher).mean()
    )
    torch.testing.assert_close(spread, expected)


def test_label_weight_adds_the_nll_of_the_mixture_of_labelled_rows():
    teacher, student = outputs(4, 3, 1), outputs(4, 3)
    labels = torch.tensor([1.0, math.nan, -2.0, math.nan])
    plain = loss(objective("hydra"), student, teacher, labels)
    found = loss(objective("hydra", label_weight=0.5), student, teacher, labels)
    torch.testing.assert_close(found - plain, 0.5 * regression_losses.mixture_nll(student[::2], labels[::2]).mean())
    nobody = loss(objective("hydra", label_weight=0.5), student, teacher, torch.full((4,), math.nan))
    torch.testing.assert_close(nobody, plain)


# Figures.


@pytest.fixture(scope="module")
def answers():
    splits = {VALIDATION: 60, TEST: 120, unknown_split("other"): 80}
    said = {name: outputs(rows, 4, seed) for seed, (name, rows) in enumerate(splits.items())}
    said[unknown_split("other")] = gaussian.rescale_means(said[unknown_split("other")], 3.0)
    noisy = {name: each + 0.2 * outputs(splits[name], 4, 9) for name, each in said.items()}
    predictions = {
        "ensemble": {name: REGRESSION.of_members(each) for name, each in said.items()},
        "hydra": {name: REGRESSION.of_members(each) for name, each in noisy.items()},
        "kd": {name: REGRESSION.of_members(each[:, :1]) for name, each in noisy.items()},
    }
    labels = {name: outputs(splits[name], 1, 5)[:, 0, 0] for name in (VALIDATION, TEST)}
    return Answers(REGRESSION, predictions, labels)


def test_metrics_have_the_schema_of_every_task_and_no_number_that_is_not_finite(answers):
    found = metrics_of(answers, {}, {}, num_samples=50, seed=1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["task"] == "regression"
    assert list(found["test"]) == ["member", "ensemble", "hydra", "kd"]
    figures = {"rmse", "nll", "crps", "coverage_95", "width_95", "data_variance", "knowledge_variance"}
    assert all(figures <= set(each) for each in found["test"].values())
    assert found["test"]["kd"]["knowledge_variance"] is None
    other = found["unknown"]["other"]
    assert other["ensemble"]["auroc_knowledge_variance"] > 0.8
    assert other["kd"]["auroc_knowledge_variance"] is None
    assert set(other["kd"]) >= {"auroc_total_variance", "aupr_total_variance", "fpr95_total_variance"}
    fidelity = found["fidelity"]["hydra"]
    assert set(fidelity["knowledge_variance_ratio"]) == {"test", "other"}
    for name, interval in fidelity["interval_95"].items():
        pairs = [(fidelity[name], interval)] if isinstance(interval, list) else [
            (fidelity[name][split], interval[split]) for split in interval
        ]  # fmt: skip
        assert all(low <= value <= high and low < high for value, (low, high) in pairs), name
    assert found["fidelity"]["kd"]["member_kl"] is None


def test_a_ratio_of_nlls_is_left_out_where_one_is_negative(answers):
    sharp = {"test": REGRESSION.of_members(torch.tensor([[[0.0, -8.0]]]))}
    labels = torch.zeros(1)
    wide = REGRESSION.of_members(torch.tensor([[[0.0, 4.0]]]))
    found = REGRESSION.figures.fidelity(wide, sharp["test"], labels, None)
    assert found["nll_ratio"] is None
    assert found["nll_difference"] == pytest.approx(6.0)
    assert "nll_ratio" not in REGRESSION.figures.fidelity_intervals(wide, sharp["test"], labels, 5, 0)


def test_one_row_of_each_split_is_enough_for_metrics():
    """Also where the ensemble is surer of the unknown row than of the known one, so that its AUROC is 0."""
    known = outputs(1, 3)
    said = {VALIDATION: known, TEST: known, unknown_split("near"): gaussian.rescale_means(known, 0.1)}
    predictions = {
        "ensemble": {name: REGRESSION.of_members(each) for name, each in said.items()},
        "hydra": {name: REGRESSION.of_members(each) for name, each in said.items()},
    }
    labels = {VALIDATION: torch.zeros(1), TEST: torch.zeros(1)}
    found = metrics_of(Answers(REGRESSION, predictions, labels), {}, {}, num_samples=20)
    assert found["unknown"]["near"]["ensemble"]["auroc_knowledge_variance"] == 0
    assert found["fidelity"]["hydra"]["auroc_ratio"] == {"near": None}
    assert found["fidelity"]["hydra"]["interval_95"]["auroc_ratio"] == {"near": [None, None]}


def test_rows_for_pictures(answers):
    test, unknown = (row_scores(answers)["ensemble"][split] for split in (TEST, unknown_split("other")))
    mixture, labels = answers.ensemble[TEST].distribution, answers.labels[TEST].double()
    assert test.error is not None
    np.testing.assert_allclose(test.error, (mixture[..., 0].mean(1) - labels).square())
    assert unknown.error is None
    assert unknown.interval_level is None
    assert test.confidence is None


# What has no meaning is refused.

RECIPE = """
data: {source: diabetes}
ensemble: {num_members: 2, options: {hidden: [8]}}
transfer: {views: [{view: identity}]}
students: [hydra, kd]
"""
SEARCH = ["tune.num_trials=2", "tune.space={head_width: [4, 8]}"]


def refused(tmp_path, *words):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    run = Run(load_config(path, [f"storage={tmp_path}", *words]))
    run.task.check(run.config)


def test_a_plain_recipe_is_accepted(tmp_path):
    refused(
        tmp_path,
        *SEARCH,
        "tune.objectives=[validation_rmse, validation_rank_correlation, macs]",
        "ensemble.likelihood=mse",
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["students=[hydra, end2]"], "students: end2 is for .*source=diabetes is a regression; use hydra or kd"),
        (["students=[proxy_end2]"], "students: proxy_end2"),
        (["distill.temperature=3"], r"distill\.temperature=3\.0: softens logits"),
        (["distill.standardise=true"], r"distill\.standardise=true: softens logits"),
        (["tune.num_trials=2", "tune.space={standardise: [true, false]}"], r"tune\.space\.standardise: softens"),
        (["tune.num_trials=2", "tune.space={temperature: [1.0, 2.0]}"], r"tune\.space\.temperature: softens"),
        (["predict.dtype=float16"], r"predict\.dtype=float16: .*leave it out"),
        (["transfer.views=[{view: ods}]"], r"transfer\.views\.0: ods moves rows by class probabilities"),
        (["evaluate.consensus=[mean, majority]"], r"evaluate\.consensus=\[mean, majority\]: is of the classes"),
        ([*SEARCH, "tune.objectives=[validation_accuracy]"], "validation_accuracy is for classification, .*use one of"),
    ],
)  # fmt: skip
def test_what_a_regression_has_no_use_for_is_one_line(tmp_path, words, line):
    with pytest.raises(UserError, match=line) as raised:
        refused(tmp_path, *words)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ensemble.likelihood=mse"], r"ensemble\.likelihood=mse: is for regression, .*digits is a classification"),
        ([*SEARCH, "tune.objectives=[validation_nll, validation_rmse]"], "validation_rmse is for regression"),
    ],
)
def test_what_a_classification_has_no_use_for_is_one_line(tmp_path, words, line):
    with pytest.raises(UserError, match=line):
        refused(tmp_path, "data.source=digits", *words)


def test_the_new_keys_make_no_older_run_stale(tmp_path):
    run = Run(load_config("configs/digits.yaml", [f"storage={tmp_path}"]))
    assert "likelihood" not in run.member(0).key["ensemble"]
    assert run.shards("test").key["predict"] == {"rows_per_shard": 2000, "dtype": "float16"}
    assert run.task is CLASSIFICATION
