"""Stages of little work in the command's own process: what they publish is what one worker publishes, to the bit."""

import os
import shutil
import subprocess
import sys

import pyarrow as pa
import pytest
from helpers.bits import assert_same_bits
from safetensors.torch import load_file
from support import REPO, TESTS, TINY, WORKERS, copied, events, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.cluster.place_of_work import progress, shared, stream, submit
from hydra_ray.config.cluster import ClusterConfig
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
WITHOUT_RAY = """
import sys
import hydra_ray
hydra_ray.run(sys.argv[1], [f"storage={sys.argv[2]}", "tune.num_trials=0"])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""


def test_a_run_without_a_search_never_imports_ray(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY, str(TINY), str(tmp_path)],
        cwd=TESTS, env={"PYTHONPATH": f"{REPO}:{TESTS}", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "torch" in done.stdout.split()
    assert "ray" not in done.stdout.split()
    assert (tmp_path / "tiny" / "report" / "report.html").exists()


def put(items):
    return items.append_column("pid", pa.array([os.getpid()] * items.num_rows))


def add(first, second):
    return first + second + [os.getpid()]


@pytest.mark.usefixtures("ray_session")
@pytest.mark.parametrize("here", [True, False])
def test_the_same_functions_are_called_in_another_process(here):
    cluster = ClusterConfig(local=here)
    numbers = shared([1], cluster)
    pending = [submit(add, cluster, numbers, [place]) for place in (2, 3)]
    found = [answer() for answer in pending]
    assert [each[:2] for each in found] == [[1, 2], [1, 3]]
    rows = list(stream([{"item": place} for place in range(3)], cluster, put))
    assert sorted(row["item"] for row in rows) == [0, 1, 2]
    assert ({each[2] for each in found} | {row["pid"] for row in rows} == {os.getpid()}) == here
    seen = []
    with progress(seen.append, cluster) as sender:
        submit(tell, cluster, sender)()
    assert seen == [{"event": "told"}]


def tell(sender):
    sender.send({"event": "told"}, wait=True)


def test_students_are_those_of_one_worker(ray_session, chain, project, tmp_path):
    chain.require_success()
    ours = project / "runs" / "tiny"
    folder = copied(ours, tmp_path)
    shutil.rmtree(folder / "students")
    run_stages(Run(tiny(tmp_path, *WORKERS)), ["distill"])
    places = [(each["stage"], each["local"]) for each in events(folder, event="place")]
    assert places == [
        ("train_ensemble", True), ("predict", True), ("tune", False), ("distill", True), ("evaluate", True),
        ("distill", False),
    ]  # fmt: skip
    for kind in ("hydra", "kd"):
        assert_same_bits(*(load_file(each / "students" / kind / "model.safetensors") for each in (ours, folder)))
