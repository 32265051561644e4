"""Which stages are done without workers: by what they multiply and add, not by what is left of them, nor by a clock."""

import math

import pytest
from support import tiny
from torch import nn

from hydra_ray.cluster.pipeline import works_here
from hydra_ray.config.load import load_config
from hydra_ray.models import count_weights
from hydra_ray.runs import Run, is_small, small_work

STAGES = ("train_ensemble", "predict", "distill", "evaluate")
LONG = {
    "train_ensemble": "ensemble.epochs=400",
    "predict": "predict.rows_per_shard=1",
    "distill": "distill.epochs=600",
    "evaluate": "evaluate.latency_repeats=20000000",
}
UNKNOWN = {
    "train_ensemble": "ensemble.objective=joint",
    "evaluate": "evaluate.attacks={rows: 8}",
}


@pytest.fixture(autouse=True)
def networks_of_the_tests(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run_of(tmp_path, *words):
    return Run(tiny(tmp_path, *words))


def test_seconds_of_the_tiny_recipe_are_counted_literally(tmp_path):
    """512 rows in batches of 64, 3 epochs of 4 members 64-16-10 of 64 x 16 + 16 x 10 = 1,184 multiply-adds
    and four tensors."""
    run = run_of(tmp_path)
    training = 4 * 3 * 8 * (1e-3 + 4 * 2e-4) + 3 * 512 * 3 * 4 * 1184 / 1e10
    assert small_work._members(run) == pytest.approx(training)
    rows = sum(map(run.num_rows, run.split_names))
    files = rows / 600 + 4 + 1 + 3 + 1 + 1
    assert small_work._answers(run) == pytest.approx(rows * 64 * 1e-7 + files * 0.02 + rows * 4 * 1184 / 1e10)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_small_until_it_is_long(tmp_path, stage):
    assert is_small(run_of(tmp_path), stage)
    long = run_of(tmp_path, LONG[stage])
    assert [each for each in STAGES if not is_small(long, each)] == [stage], "each by its own work"


@pytest.mark.parametrize("stage", UNKNOWN)
def test_what_cannot_be_counted_is_not_small(tmp_path, stage):
    assert not is_small(run_of(tmp_path, UNKNOWN[stage]), stage)


def test_a_wide_network_is_long_though_its_steps_are_few(tmp_path):
    wide = run_of(tmp_path, "ensemble.architecture=mlp", "ensemble.options={hidden: [8000, 8000]}", "ensemble.epochs=1")
    assert 4 * 8 * 1e-3 < small_work.SMALL_SECONDS < small_work._members(wide) < math.inf


def test_a_large_network_for_images_is_not_built_to_be_called_large(tmp_path, monkeypatch):
    for build in ("build_member", "build_student"):
        monkeypatch.setattr(small_work, build, lambda *_: pytest.fail("built"))
    words = ["ensemble.architecture=mlp", "ensemble.options={hidden: [9000, 9000]}", "distill.body_options=null"]
    large = run_of(tmp_path, *words, "evaluate.latency_repeats=20")
    assert not any(is_small(large, stage) for stage in STAGES)


def test_weights_are_counted_without_storage():
    found = count_weights(lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5)))
    assert found == 7 * 5 + 5 + 4 * 5  # weight, bias, mean and variance of each feature
    assert count_weights(lambda: nn.Linear(10**7, 10**7)) == 10**14 + 10**7
    assert count_weights(lambda: 1 / 0) == 0


def test_work_that_is_done_already_counts(tmp_path, monkeypatch):
    """A run that goes on works where it began: two workers add up in another order than one."""
    run = run_of(tmp_path)
    monkeypatch.setattr(run, "members", lambda: pytest.fail("asked what is done"))
    assert is_small(run, "train_ensemble")


@pytest.mark.parametrize(
    ("wish", "address", "gpus", "here"),
    [
        ("auto", None, False, True),
        ("auto", "10.0.0.1:6379", False, False),
        ("auto", None, True, False),
        (False, None, False, False),
        (True, "10.0.0.1:6379", False, True),
        (True, None, True, True),
    ],
)
def test_who_works_here(tmp_path, monkeypatch, wish, address, gpus, here):
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    run = run_of(tmp_path, f"cluster.use_gpu={str(gpus).lower()}", f"cluster.local={str(wish).lower()}")
    assert works_here(run, "distill") == here
    assert not works_here(run, "tune"), "trials are Ray Tune's"


def test_the_demo_needs_workers_for_its_search_alone():
    run = Run(load_config("configs/digits.yaml", ["distill.use_best_trial=false"]))
    assert all(is_small(run, stage) for stage in STAGES)
