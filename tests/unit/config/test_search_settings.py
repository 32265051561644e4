"""The search's space: what a trial may draw, and what is refused before one does."""

import pytest
from helpers.recipes import refusal

from hydra_ray.config.load import load_config


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("{head_width: 8}", "tune.space.head_width=8: must be a list of choices, or {low: ..., high: ..., log: true}"),
        ("{head_width: []}", "tune.space.head_width=[]: must be a list"),
        ("{head_width: {low: 2}}", "must be a list of choices, or {low"),
        ("{head_width: {low: 2, high: 9, step: 2}}", "must be a list of choices, or {low"),
        ("{head_width: {low: 9, high: 2}}", "tune.space.head_width: low=9, high=2: must be numbers, low below high"),
        ("{head_width: {low: 2, high: 2}}", "low below high"),
        ("{temperature: {low: a, high: 2}}", "low=a, high=2"),
        ("{temperature: {low: 1, high: 2, log: yes}}", "log=yes"),
        ("{learning_rate: {low: 0, high: 1, log: true}}", "true for low above 0 only"),
        ("{head_width: {low: 2.5, high: 8}}", "tune.space.head_width: distill.head_width=2.5: must be a valid integer"),
        ("{head_width: [8, 0]}", "tune.space.head_width: distill.head_width=0: must be greater than or equal to 1"),
        ("{temperature: [1, 0]}", "tune.space.temperature: distill.temperature=0: must be greater than 0"),
        ("{temperature: {low: 0, high: 3}}", "tune.space.temperature: distill.temperature=0.0: must be greater than 0"),
        ("{optimizer: [adamw, adam]}", "tune.space.optimizer: distill.optimizer=\"adam\": must be 'adamw' or 'sgd'"),
        ("{num_heads: [3, 6]}", "tune.space.num_heads: students.hydra.num_heads=6, but ensemble.num_m"),
        ("{num_heads: {low: 2, high: 6}}", "tune.space.num_heads: students.hydra.num_heads=6, but ensemble.num_m"),
        ("{batch_size: [64, 1]}", "tune.space.batch_size: distill.batch_size=1, but cluster.num_workers=2: some w"),
        ("{head_widht: [8]}", "tune.space.head_widht: not a key of students that can be searched; nearest: head_width"),
        ("{kind: [kd]}", "tune.space.kind: not a key of students that can be searched"),
        ("{}", "tune.num_trials=3, but tune.space is empty"),
    ],
)  # fmt: skip
def test_spaces_that_would_fail_in_a_trial(digits, space, expected):
    assert expected in refusal(digits, f"tune.space={space}", "cluster.num_workers=2")


@pytest.mark.parametrize("size", [7, 64])
def test_batches_need_not_divide_by_the_workers(digits, size):
    words = [f"distill.batch_size={size}", "cluster.num_workers=3", "tune.workers_per_trial=5", "tune.num_trials=2"]
    assert load_config(digits, [*words, f"tune.space={{batch_size: [{size}]}}"]).distill.batch_size == size


def test_spaces_that_are_searched(digits):
    space = "{temperature: {low: 1, high: 3}, head_width: {low: 4, high: 64, log: true}, body: [null, cnn]}"
    config = load_config(digits, [f"tune.space={space}", "tune.space.num_heads=[2, null]"])
    assert config.tune.space["temperature"] == {"low": 1.0, "high": 3.0}
    assert type(config.tune.space["temperature"]["low"]) is float, "whole ends would search whole temperatures alone"
    assert type(config.tune.space["head_width"]["low"]) is int
    assert config.tune.space["head_width"]["log"] is True


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["tune.objectives=[validation_member_kl]", "tune.space.num_heads=[1, 2]"], "a trial may have num_heads=1"),
        (["tune.objectives=[macs, validation_nll]"], "put macs behind a figure of validation rows"),
        (["tune.objectives=[validation_nll, macs, macs]"], "macs stands there more than once"),
        (["tune.objectives=[]"], "tune.objectives=[]: List should have at least 1 item"),
        (["tune.objectives=[validation_kl]"], "tune.objectives.0=\"validation_kl\": must be 'validation_nll', "),
        (["tune.budget.macs_ratio=0"], "tune.budget.macs_ratio=0: must be greater than 0"),
        (["tune.budget.mac_ratio=1"], "tune.budget.mac_ratio=1: unknown key; nearest: tune.budget.macs_ratio"),
        (["tune.objective=validation_nll"], "is called tune.objectives, a list, now"),
        (["tune.mode=max"], 'tune.mode="max": is no key any more: leave it out, as an objective says which way'),
        (["distill.use_best_trial=true", "tune.num_trials=0"], "distill.use_best_trial=true, but tune.num_trials=0"),
    ],
)
def test_searches_that_could_not_find_anything(digits, overrides, expected):
    assert expected in refusal(digits, *overrides)


def test_an_objective_of_several_heads_is_fine_with_several(digits):
    load_config(digits, ["tune.objectives=[validation_member_kl, macs]", "tune.space.num_heads=[2, 5]"])
    load_config(digits, ["tune.objectives=[validation_accuracy]"])


def test_a_budget_needs_members_that_have_a_cost(digits):
    teachers = ["ensemble.teachers={kind: sklearn, files: [forest.skops]}", "tune.objectives=[validation_nll, macs]"]
    load_config(digits, teachers)
    line = refusal(digits, *teachers, "tune.budget.macs_ratio=1.2")
    assert "tune.budget.macs_ratio=1.2: no member is trained here, so what one costs is not known; leave" in line
