"""Tasks that work on a GPU reserve it; and the search's estimate of memory is of rows as they are in memory."""

import ast
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.shards import synthetic, write

import hydra_ray.cluster
from hydra_ray.config.sections import ClusterConfig
from hydra_ray.storage.folder import Folder

CLUSTER = Path(hydra_ray.cluster.__file__).parent


@pytest.mark.parametrize("use_gpu", [False, True])
def test_a_placed_task_reserves_what_it_uses(use_gpu):
    from hydra_ray.cluster.worker_setup import placed

    task = SimpleNamespace(options=lambda **wanted: wanted)
    cluster = ClusterConfig(use_gpu=use_gpu, cpus_per_worker=2.0)
    assert placed(task, cluster) == {"num_cpus": 2.0, "num_gpus": int(use_gpu)}


def test_every_remote_function_of_a_stage_is_placed():
    """None is called by `name.remote(...)` directly, which would reserve one CPU and no GPU."""
    trees = [ast.parse(path.read_text()) for path in CLUSTER.glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    remote = {
        each.name
        for each in nodes
        if isinstance(each, ast.FunctionDef) and any("remote" in ast.unparse(one) for one in each.decorator_list)
    }
    calls = [ast.unparse(each.func) for each in nodes if isinstance(each, ast.Call)]
    assert not {f"{name}.remote" for name in remote} & set(calls)
    placed = {ast.unparse(each.args[0]) for each in nodes if is_placing(each)}
    assert {"ask_student", "measure_cost"} <= remote <= placed


def is_placing(node):
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "placed"


@pytest.mark.parametrize(("store", "fits"), [(27_000, True), (26_000, False)])
def test_rows_are_put_into_the_store_where_they_fit_uncompressed(tmp_path, monkeypatch, store, fits):
    """100 equal rows of 16 float32 features, 3 members of 4 classes in float32 and 20 bytes more: 13,200 bytes."""
    from hydra_ray.cluster import tune as search

    rows = synthetic(100, members=5, shape=(16,), dtype=np.float32)
    rows.inputs[:], rows.logits_NMC[:] = 1, 1
    folder = Folder.open(str(tmp_path))
    write(folder, "part-000-00000.parquet", rows)
    assert sum(folder.files().values()) < 9_000, "compressed it would fit either way"
    monkeypatch.setattr(search.ray, "cluster_resources", lambda: {"object_store_memory": store})
    found = search._rows_that_fit(SimpleNamespace(transfer=folder, members=[0, 1, 2], num_members=3))
    assert (found is not None) == fits
    assert found is None or found.logits_NMC.shape == (100, 3, 4)


@pytest.mark.parametrize(("cpus", "threads"), [(0.5, 1), (1.0, 1), (2.9, 2)])
def test_a_worker_has_the_threads_it_reserved_and_its_own_gpu(monkeypatch, one_thread, cpus, threads):
    from hydra_ray.cluster.worker_setup import set_up_worker

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert set_up_worker(ClusterConfig(cpus_per_worker=cpus)) == torch.device("cpu")
    assert torch.get_num_threads() == threads
    assert set_up_worker(ClusterConfig(cpus_per_worker=cpus, use_gpu=True)) == torch.device("cuda:3")


def test_workers_are_set_up_in_one_place():
    users = {path.stem for path in CLUSTER.glob("*.py") if "set_up_worker(" in path.read_text()}
    assert users == {
        "worker_setup", "workers", "trial_jobs", "predict_steps", "evaluate_tasks", "input_grid", "apply_steps",
        "serve_app", "teachers", "write_transfer", "attacks",
    }  # fmt: skip
    words = ("set_num_threads", 'torch.device("cuda', "get_device(")
    others = {path.stem for path in CLUSTER.glob("*.py") if any(word in path.read_text() for word in words)}
    assert others == {"worker_setup"}
