"""Tasks that work on a GPU reserve it; and the search's estimate of memory is of rows as they are in memory."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.shards import synthetic, write

import hydra_ray.cluster
from hydra_ray.cluster.progress import LocalSender
from hydra_ray.config.cluster import ClusterConfig
from hydra_ray.shards import Sharing
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import CLASSIFICATION

CLUSTER = Path(hydra_ray.cluster.__file__).parent


@pytest.mark.parametrize(("use_gpu", "share"), [(False, 0.5), (True, 1.0), (True, 0.25)])
def test_a_placed_task_reserves_what_it_uses(use_gpu, share):
    from hydra_ray.cluster.worker_setup import placed, resources_of_worker

    task = SimpleNamespace(options=lambda **wanted: wanted)
    cluster = ClusterConfig(use_gpu=use_gpu, cpus_per_worker=2.0, gpu_share=share)
    assert placed(task, cluster) == {"num_cpus": 2.0, "num_gpus": share if use_gpu else 0}
    assert resources_of_worker(cluster, 1.8) == {"CPU": 1.8, **({"GPU": share} if use_gpu else {})}


STREAM_ON_A_GPU = """
import pyarrow as pa, ray
from hydra_ray.cluster.item_streams import by_actors
from hydra_ray.config import ClusterConfig

ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)

class Reserved:
    def __init__(self, work):
        self.work = work
    def __call__(self, rows):
        gpus = ray.get_runtime_context().get_assigned_resources()["GPU"]
        return pa.table({"rows": [rows.num_rows], "gpus": [gpus], "item": rows.column("item")[:1]})

def read(item):
    index = item.column("item")[0].as_py()
    return pa.table({"item": [index] * (index + 1)})

cluster = ClusterConfig(use_gpu=True, gpu_share=0.5, num_workers=2)
rows = list(by_actors([{"item": place} for place in range(5)], cluster, read, Reserved, None, lambda rows: rows))
print(sorted((row["item"], row["rows"], row["gpus"]) for row in rows))
"""


def test_actors_on_gpus_get_one_item_at_a_time():
    """Ray Data wants a size of batches beside GPUs, and would put several items together to fill one."""
    done = subprocess.run([sys.executable, "-c", STREAM_ON_A_GPU], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == [str([(place, place + 1, 0.5) for place in range(5)])], done.stderr


@pytest.mark.parametrize(("gpus", "backend"), [(0, "gloo"), (0.5, "gloo"), (0.6, "nccl"), (1, "nccl")])
@pytest.mark.parametrize("is_alone", [False, True])
def test_ranks_that_share_a_gpu_do_not_meet_by_nccl(monkeypatch, gpus, backend, is_alone):
    import ray
    from ray.train import ScalingConfig

    from hydra_ray.cluster import trainer

    monkeypatch.setattr(ray, "put", lambda value: "reference")
    monkeypatch.setattr(trainer, "is_private", lambda: is_alone)
    resources = {"CPU": 1.0, **({"GPU": gpus} if gpus else {})}
    scaling = ScalingConfig(num_workers=2, use_gpu=gpus > 0, resources_per_worker=resources)
    assert trainer.Trainer(print, "job", scaling_config=scaling).backend_config.backend == backend


@pytest.mark.parametrize(
    ("share", "mine"), [(1.0, ["hydra", "kd", "labels"]), (0.6, ["hydra", "kd", "labels"]), (0.5, ["kd"])]
)
def test_on_a_shared_gpu_a_worker_trains_students_of_its_own(monkeypatch, share, mine):
    from hydra_ray.cluster import distill
    from hydra_ray.training import DistributedContext

    fitted = []
    monkeypatch.setattr(distill, "_fit_one", lambda job, rows, kind, *rest: fitted.append((kind, rest[-2].num_ranks)))
    config = SimpleNamespace(cluster=ClusterConfig(use_gpu=True, gpu_share=share, num_workers=2))
    students = [(kind, config, SimpleNamespace(is_done=False)) for kind in ("hydra", "kd", "labels")]
    source = SimpleNamespace(rows=lambda max_bytes, sharing: None)
    job = SimpleNamespace(students=students, source=source, sender=LocalSender(lambda event: None))
    distill._fit_students(job, DistributedContext(rank=1, num_ranks=2), torch.device("cpu"))
    assert fitted == [(kind, 2 if len(mine) > 1 else 1) for kind in mine]


def test_tasks_of_stages_are_placed_in_one_place():
    """No other file makes a function remote, which would reserve one CPU and no GPU, and never work in this process."""
    of_a_stage = {
        "place_of_work": "placed(ray.remote(function), cluster)",
        "progress": "ray.remote(num_cpus=0)(Channel)",
        "shared_folder": "ray.remote(num_cpus=0, max_retries=0)(os.path.exists)",
    }
    for path in CLUSTER.glob("*.py"):
        calls = [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        made = [call for call in calls if "ray.remote(" in call]
        assert "@ray.remote" not in path.read_text()
        assert not made or any(of_a_stage[path.stem] in call for call in made), path


@pytest.mark.parametrize(("store", "fits"), [(27_000, True), (26_000, False)])
def test_rows_are_put_into_the_store_where_they_fit_uncompressed(tmp_path, store, fits):
    """100 equal rows of 16 float32 features, 3 members of 4 classes in float32 and 20 bytes more: 13,200 bytes."""
    from hydra_ray.cluster.distill import StudentInputs

    rows = synthetic(100, members=5, shape=(16,), dtype=np.float32)
    rows.inputs[:], rows.logits_NMC[:] = 1, 1
    folder = Folder.open(str(tmp_path))
    write(folder, "part-000-00000.parquet", rows)
    assert sum(folder.files().values()) < 9_000, "compressed it would fit either way"
    found = StudentInputs(CLASSIFICATION, folder, folder, [0, 1, 2], 4).rows(store, Sharing())
    assert (found.transfer is not None) == fits
    assert found.first.logits_NMC.shape == (100, 3, 4)


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
        "serve_app", "teachers", "write_transfer", "attacks", "place_of_work",
    }  # fmt: skip
    words = ("set_num_threads", 'torch.device("cuda', "get_device(")
    others = {path.stem for path in CLUSTER.glob("*.py") if any(word in path.read_text() for word in words)}
    assert others == {"worker_setup"}
