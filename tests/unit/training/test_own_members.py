"""A student depends on its own members, the first H of the shards, and on no other: what its fingerprint says."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, publish_student, recipe
from helpers.shards import synthetic

from hydra_ray.config.load import validate
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training import student_figures as distillation
from hydra_ray.training.student import InputOutputScaling, plan_of
from hydra_ray.training.student_figures import HeldOut, facts_of, validation_figures

pytestmark = pytest.mark.usefixtures("one_thread")
REGRESSION_RECIPE = RECIPE.replace("{source: digits, max_train_rows: 200}", "{source: diabetes}")
HISTORIES = {
    "hydra of 3": ("hydra", ["ensemble.num_members=3"], ["ensemble.num_members=5", "students.hydra.num_heads=3"]),
    "kd": ("kd", ["students=[kd]", "ensemble.num_members=3"], ["students=[kd]", "ensemble.num_members=5"]),
}


@pytest.mark.parametrize("text", [RECIPE, REGRESSION_RECIPE], ids=["classification", "regression"])
@pytest.mark.parametrize("story", HISTORIES)
def test_two_histories_of_one_key_give_one_student(tmp_path, text, story):
    """Shards of its members alone; and shards of more, in which it takes the first."""
    kind, few, more = HISTORIES[story]
    found = []
    for number, shards_of in enumerate((few, more)):
        (tmp_path / str(number)).mkdir()
        path = recipe(tmp_path / str(number), text)
        publish_members(loaded(path, *shards_of))
        publish_shards(loaded(path, *shards_of))
        # a `kd` learns from all members of its configuration, of which the shards may hold more
        run = loaded(path, *(few if kind == "kd" else shards_of))
        found.append(publish_student(run, kind))
    assert found[0].fingerprint == found[1].fingerprint
    assert content(found[0]) == content(found[1])


def content(student):
    """The published files' bytes, the time of publishing left out."""
    manifest = json.loads(student.folder.read("config.json"))
    del manifest["created"], manifest["checksum"]
    return json.dumps(manifest), student.folder.read("model.safetensors")


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_a_perfect_copy_of_four_of_eight_members_keeps_all_of_their_disagreement(monkeypatch, task):
    rows, plan = eight_members(task)
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: torch.tensor(rows.logits_NMC[:, :4]))
    figures = validation_figures(plan, None, HeldOut(rows))
    assert figures[f"validation_{task.figures.knowledge}_ratio"] == pytest.approx(1, rel=1e-9)
    assert figures["validation_member_kl"] == pytest.approx(0, abs=1e-9)
    found = facts_of(plan, None, HeldOut(rows))["calibration"]
    assert found["calibrated"] == pytest.approx(found["own"], rel=1e-6)


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_beside_all_eight_members_half_of_them_are_not_free(monkeypatch, task, is_masked):
    """As the search compares: a member without a head is answered by the heads' mixture."""
    rows, plan = eight_members(task)
    logits = torch.tensor(rows.logits_NMC).double()
    mask_NM = np.ones((50, 8), bool)
    if is_masked:
        mask_NM[::2, [1, 6]] = False
        rows = replace(rows, mask_NM=mask_NM)
    plan = replace(plan, compared_with=8)
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: logits[:, :4])
    figures = validation_figures(plan, None, HeldOut(rows))
    assert figures["validation_rank_correlation"] < 0.95
    assert figures[f"validation_{task.figures.knowledge}_ratio"] != pytest.approx(1, rel=1e-3)

    if task is CLASSIFICATION:
        mixture_N1C = logits[:, :4].softmax(-1).mean(1, keepdim=True).log()
        kl_NM = (logits.softmax(-1) * (logits.log_softmax(-1) - mixture_N1C)).sum(-1)
    else:
        means_NH, variances_NH = logits[:, :4, 0], logits[:, :4, 1].exp()
        variance_N1 = variances_NH.mean(1, keepdim=True) + means_NH.var(1, correction=0, keepdim=True)
        apart_NM = logits[..., 0] - means_NH.mean(1, keepdim=True)
        log_NM = variance_N1.log() - logits[..., 1]
        kl_NM = (log_NM + (logits[..., 1].exp() + apart_NM**2) / variance_N1 - 1) / 2
    kl_NM[:, :4] = 0  # perfect copies
    weights_NM = torch.tensor(mask_NM / mask_NM.sum(1, keepdims=True))
    expected = float((kl_NM * weights_NM).sum(1).mean())
    assert figures["validation_member_kl"] == pytest.approx(expected, rel=1e-5)
    assert expected > 0.01


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_beside_its_own_members_a_perfect_copy_orders_rows_as_they_do(monkeypatch, task):
    rows, plan = eight_members(task)
    for heads, compared_with in ((4, None), (8, 8)):
        monkeypatch.setattr(
            distillation, "predict", lambda student, inputs, heads=heads: torch.tensor(rows.logits_NMC[:, :heads])
        )
        figures = validation_figures(replace(plan, compared_with=compared_with), None, HeldOut(rows))
        assert figures["validation_rank_correlation"] == pytest.approx(1)
        assert figures["validation_member_kl"] == pytest.approx(0, abs=1e-9)


def test_ranks_are_of_the_rows_that_two_members_answered(monkeypatch):
    rows, plan = eight_members(CLASSIFICATION)
    mask_NM = np.ones((50, 8), bool)
    mask_NM[:20, 1:] = False
    logits = rows.logits_NMC.copy()
    logits[:20] = np.roll(logits[:20], 3, axis=0)  # a student that is wrong on rows that do not count
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: torch.tensor(logits[:, :4]))
    found = validation_figures(plan, None, HeldOut(replace(rows, mask_NM=mask_NM)))
    assert found["validation_rank_correlation"] == pytest.approx(1)
    assert validation_figures(plan, None, HeldOut(rows))["validation_rank_correlation"] < 0.99


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_figures_of_disagreement_are_means_over_validation_rows_and_views_of_them(monkeypatch, task):
    rows, plan = eight_members(task)
    views = replace(rows, inputs=rows.inputs[::-1].copy(), logits_NMC=1.5 * rows.logits_NMC[::-1])
    answer = torch.tensor(rows.logits_NMC[:, :4]) * 0.8
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: answer)
    alone = [validation_figures(plan, None, HeldOut(each)) for each in (rows, views)]
    both = validation_figures(plan, None, HeldOut(rows, views))
    of_disagreement = ["validation_member_kl", "validation_rank_correlation"]
    of_disagreement.append(f"validation_{task.figures.knowledge}_ratio")
    for name in of_disagreement:
        assert alone[0][name] != alone[1][name]
        assert both[name] == pytest.approx((alone[0][name] + alone[1][name]) / 2)
    assert both["validation_nll"] == alone[0]["validation_nll"]


def test_the_units_of_a_regressions_outputs_are_those_of_its_members():
    rows, _ = eight_members(REGRESSION)
    far = replace(rows, logits_NMC=np.concatenate([rows.logits_NMC[:, :4], 9 + 5 * rows.logits_NMC[:, 4:]], axis=1))
    own = InputOutputScaling.of(REGRESSION, rows.of_first(4), 4).output
    assert InputOutputScaling.of(REGRESSION, far, 4).output.state_dict() == own.state_dict()
    assert InputOutputScaling.of(REGRESSION, far, 8).output.state_dict() != own.state_dict()


def eight_members(task):
    """Rows with eight members' outputs, and the plan of a student of four of them."""
    classes = 4 if task is CLASSIFICATION else 2
    rows = synthetic(50, members=8, classes=classes, dtype=np.float32)
    if task is REGRESSION:
        rows = replace(rows, labels=rows.logits_NMC[:, 0, 0])
    config = validate(
        {
            "name": "x",
            "data": {"source": "x"},
            "ensemble": {"num_members": 8},
            "students": [{"kind": "hydra", "num_heads": 4}],
        },
        "here",
    )
    return rows, plan_of(config, task, "hydra", num_members=8, input_shape=(4, 4, 1), num_outputs=classes)


def test_a_spread_at_its_bound_stands_in_model_json(monkeypatch):
    rows, plan = eight_members(CLASSIFICATION)
    alike = rows.logits_NMC[:, :4].mean(1, keepdims=True) + 1e-3 * rows.logits_NMC[:, :4]
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: torch.tensor(alike))
    facts = facts_of(plan, None, HeldOut(rows))
    assert facts["calibration_caveat"].startswith("calibration does not reach it, where")
    monkeypatch.setattr(distillation, "predict", lambda student, inputs: torch.tensor(rows.logits_NMC[:, :4]))
    assert "calibration_caveat" not in facts_of(plan, None, HeldOut(rows))
