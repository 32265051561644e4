"""GPUs: when `cluster.use_gpu=auto` gives workers one each, and what a plan says of it."""

import pytest
from helpers.finished import loaded, recipe

from hydra_ray.runs import resources_in_words
from hydra_ray.runs.gpus import with_gpus_decided


@pytest.mark.parametrize(
    ("words", "gpus", "expected"),
    [
        ([], 0, "8 CPUs, 0 GPUs: enough for 2 workers with CPUs alone"),
        ([], 2, "8 CPUs, 2 GPUs: enough for 2 workers with a GPU each"),
        ([], 1, "8 CPUs, 1 GPU: enough for 2 workers with CPUs alone; 1 GPU idle: cluster.num_workers=1 would use"),
        ([], 3, "8 CPUs, 3 GPUs: enough for 2 workers with a GPU each; 1 GPU idle: cluster.num_workers=3 would use"),
        (["cluster.num_workers=1"], 1, "8 CPUs, 1 GPU: enough for 1 worker with a GPU each"),
        (["cluster.gpu_share=0.5"], 1, "8 CPUs, 1 GPU: enough for 2 workers with 0.5 of a GPU each"),
        (["cluster.gpu_share=0.6"], 1, "8 CPUs, 1 GPU: enough for 2 workers with CPUs alone; 1 GPU idle: cluster.num"),
        (
            ["cluster.gpu_share=0.1", "cluster.num_workers=7"],
            2,
            "8 CPUs, 2 GPUs: enough for 7 workers with 0.1 of a "
            "GPU each; 1 GPU idle: cluster.num_workers=20 would use every one",
        ),
        (["cluster.num_workers=[1, 8]"], 3, "8 CPUs, 3 GPUs: enough for 3 workers with a GPU each"),
        (["cluster.num_workers=[1, 2]"], 0, "8 CPUs, 0 GPUs: enough for 2 workers with CPUs alone"),
        (["cluster.num_workers=[9, 20]"], 0, "8 CPUs, 0 GPUs now: stages wait for room for their workers, 10 minutes"),
        (["cluster.use_gpu=false"], 0, "8 CPUs, 0 GPUs: enough for 2 workers with CPUs alone"),
    ],
)
def test_gpus_are_used_where_there_is_one_for_each_worker(tmp_path, words, gpus, expected):
    run = loaded(recipe(tmp_path), *words)
    run.decide_gpus(gpus)
    found = resources_in_words(run.config, 8, gpus)
    assert found.startswith(expected)
    assert ("idle" in found) == ("idle" in expected)
    assert run.config.cluster.has_gpu == ("GPU each" in expected)


def test_workers_of_trials_need_gpus_too(tmp_path):
    words = ["tune.num_trials=2", "tune.space.head_width=[2, 4]", "tune.workers_per_trial=3"]
    config = loaded(recipe(tmp_path), *words).config
    assert [with_gpus_decided(config, gpus).cluster.use_gpu for gpus in (2, 3)] == [False, True]


def test_what_is_said_is_not_decided(tmp_path):
    config = loaded(recipe(tmp_path), "cluster.use_gpu=true").config
    assert with_gpus_decided(config, 0) is config


def test_no_worker_has_a_gpu_while_nothing_is_decided(tmp_path):
    cluster = loaded(recipe(tmp_path)).config.cluster
    assert (cluster.use_gpu, cluster.has_gpu) == ("auto", False)
