"""What workers wrote last is in the run folder when they fail, also when they are killed."""

import os
import signal
import sys

import pytest
import ray
from support import WORKERS, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.cluster.worker_logs import WORKER_LOG, keep_worker_logs, worker_logs_heard
from hydra_ray.errors import StageError
from hydra_ray.runs.run import Run
from hydra_ray.storage.folder import Folder

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("ray_session")]


def die_talking():
    for number in range(500):
        print(f"line {number}")
    print("CUDA error: an illegal memory access", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def say_nothing():
    pass


def test_last_lines_of_a_killed_process(tmp_path):
    with worker_logs_heard():
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(ray.remote(max_retries=0)(die_talking).remote())
        place = keep_worker_logs(Folder.open(str(tmp_path)))
    assert place == f"{tmp_path}/{WORKER_LOG}"
    written = (tmp_path / WORKER_LOG).read_text()
    assert "CUDA error: an illegal memory access\n" in written
    assert "line 499\n" in written
    assert "line 0\n" not in written, "the last lines, and not all"
    assert written.startswith("--- process ")


def test_nothing_is_kept_of_workers_that_wrote_nothing(tmp_path):
    with worker_logs_heard():
        ray.get(ray.remote(say_nothing).remote())
        assert keep_worker_logs(Folder.open(str(tmp_path))) is None
    assert keep_worker_logs(Folder.open(str(tmp_path))) is None, "nobody listens"
    assert not (tmp_path / WORKER_LOG).exists()


def test_a_failed_stage_names_the_file(tmp_path):
    words = ["ensemble.architecture=own_nets:telling_mlp", "cluster.max_failures=0", *WORKERS]
    with pytest.raises(StageError) as raised:
        run_stages(Run(tiny(tmp_path, *words)), ["train_ensemble"])
    assert str(raised.value).endswith(f"; what workers wrote last: {tmp_path}/tiny/{WORKER_LOG}")
    assert "the last words of a network" in (tmp_path / "tiny" / WORKER_LOG).read_text()
