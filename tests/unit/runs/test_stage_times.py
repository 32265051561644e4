"""Times of stages, counted up from a few steps: what they depend on, and how they are said."""

import math

import pytest
from helpers.finished import loaded, publish_members, publish_shards, recipe

from hydra_ray.runs import StageTime, stage_times
from hydra_ray.runs.pace import time_in_words


def seconds(run) -> dict[str, float]:
    return {each.name: each.seconds for each in stage_times(run, 2)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (0.2, "a second"),
        (59, "59 seconds"),
        (89, "89 seconds"),
        (91, "2 minutes"),
        (5399, "90 minutes"),
        (7300, "2 hours"),
        (3 * 86_400, "3 days"),
    ],
)
def test_times_are_said_as_people_say_them(words, expected):
    assert time_in_words(words) == expected


def test_only_what_is_to_be_done_is_counted(tmp_path):
    run = loaded(recipe(tmp_path))
    assert list(seconds(run)) == ["train_ensemble", "predict", "distill"]
    publish_members(run)
    run = loaded(recipe(tmp_path))
    assert list(seconds(run)) == ["predict", "distill"]
    publish_shards(run)
    assert list(seconds(loaded(recipe(tmp_path)))) == ["distill"]


def test_a_thousand_times_the_epochs_take_about_as_many_times_as_long(tmp_path):
    short = seconds(loaded(recipe(tmp_path)))
    long = seconds(loaded(recipe(tmp_path), "ensemble.epochs=1000", "distill.epochs=1000"))
    assert 100 < long["train_ensemble"] / short["train_ensemble"] < 10_000
    assert 50 < long["distill"] / short["distill"] < 10_000
    assert 0.1 < long["predict"] / short["predict"] < 10


@pytest.mark.parametrize(
    "words",
    [
        ["data.source=diabetes", "distill.batch_size=512"],
        ["transfer.views=[{view: mixup, options: {block_rows: 100}}, {view: ods}]", "predict.rows_per_shard=100"],
        ["ensemble.stack_size=2", "students=[hydra, kd, labels, end2, proxy_end2]"],
        ["ensemble.architecture=cnn", "ensemble.options={}", "cluster.num_workers=1"],
    ],
)
def test_every_kind_of_run_can_be_measured(tmp_path, words):
    found = stage_times(loaded(recipe(tmp_path), *words), 2)
    assert [each.name for each in found] == ["train_ensemble", "predict", "distill"]
    assert all(0 < each.seconds < 1000 for each in found)


def test_a_stage_costs_what_its_workers_cost():
    """Those of docs/cluster.md: twenty members of an hour each; workers without a member are paid for too."""
    for workers, hours, euros in (
        (1, 20, 50),
        (4, 5, 50),
        (8, 3, 60),
        (10, 2, 50),
        (16, 2, 80),
        (20, 1, 50),
        (32, 1, 80),
    ):
        stage = StageTime("train_ensemble", 3600 * math.ceil(20 / workers), workers, "worker")
        assert (stage.hours, stage.cost(2.5)) == (hours, euros)
    assert stage.cost_line(2.5) == "train_ensemble  1.00 hours x 32 workers x 2.5 = 80.00"
    assert StageTime("predict", 90, 1, "process").cost_line(10) == "predict         0.03 hours x 1 process x 10 = 0.25"
