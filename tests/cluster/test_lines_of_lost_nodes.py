"""What a worker wrote last is in the run folder though its machine is gone, with all of its log files."""

import subprocess
import sys

from support import wait_for

from hydra_ray.cluster.worker_logs import WORKER_LOG

DRIVER = """
import sys, time
from pathlib import Path
from hydra_ray.cluster.session import session
from hydra_ray.cluster.worker_logs import keep_worker_logs
from hydra_ray.config import ClusterConfig
from hydra_ray.storage import Folder

def talk(folder):
    print("the last words of a machine", flush=True)
    time.sleep(2)  # Ray publishes a line within a fraction of a second
    (Path(folder) / "said").touch()
    time.sleep(600)

with session(ClusterConfig()):
    import ray
    try:
        ray.get(ray.remote(num_cpus=1, max_retries=0)(talk).remote(sys.argv[1]))
    except ray.exceptions.RayError:
        print(keep_worker_logs(Folder.open(sys.argv[1])))
"""


def test_last_lines_of_a_machine_that_is_gone(start_nodes, tmp_path):
    nodes = start_nodes(head_cpus=0)
    added = nodes.add()
    words = [sys.executable, "-c", DRIVER, str(tmp_path)]
    driver = subprocess.Popen(words, env=nodes.environment | nodes.for_commands, stdout=subprocess.PIPE, text=True)
    wait_for((tmp_path / "said").exists, 120, "the worker's words")
    nodes.kill(added)
    out, _ = driver.communicate(timeout=200)
    assert f"{tmp_path}/{WORKER_LOG}\n" in out
    assert "the last words of a machine\n" in (tmp_path / WORKER_LOG).read_text()
