"""Metrics of a run, read where Prometheus reads them: at the endpoint of Ray's agent on the machine."""

import re
import shutil
import urllib.request

import pytest
import ray
from support import WORKERS, events, tiny, wait_for

from hydra_ray.cluster.metrics import BYTES, MEMBERS, RESTARTS, ROWS, STEPS
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
SAMPLE = re.compile(r"^ray_(hydra_\w+)_total{(.*)} (\S+)$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="([^"]*)"')
EXPORT_SECONDS = 60  # Ray's agent is told every ten seconds


def exported(run: str) -> dict[tuple[str, str], float]:
    """Name and stage -> what Prometheus would be told of a run."""
    (node,) = ray.nodes()
    place = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    page = urllib.request.urlopen(place, timeout=10).read().decode()
    found = [(name, dict(LABEL.findall(labels)), value) for name, labels, value in SAMPLE.findall(page)]
    return {(name, labels["stage"]): float(value) for name, labels, value in found if labels["run"] == run}


def test_work_of_a_run_is_exported(small_run, tmp_path):
    """One more member, its predictions, and the student that learns from all of them."""
    folder = shutil.copytree(small_run, tmp_path / "measured")
    before = len(events(folder))
    run_stages(
        Run(tiny(tmp_path, "name=measured", "ensemble.num_members=5", *WORKERS)),
        ["train_ensemble", "predict", "distill"],
    )
    made = events(folder)[before:]
    shards = [each for each in made if each["event"] == "shard"]
    (member,) = [each for each in made if each["event"] == "member"]
    (student,) = [each for each in made if each["event"] == "student"]
    num_steps = max(each["step"] for each in made if each["event"] == "epoch" and each["stage"] == "distill")
    expected = {
        (ROWS, "predict"): sum(each["rows"] for each in shards),
        (BYTES, "predict"): sum(each["bytes"] for each in shards),
        (MEMBERS, "train_ensemble"): 1,
        (BYTES, "train_ensemble"): member["bytes"],
        (BYTES, "distill"): student["bytes"],
        (STEPS, "distill"): num_steps,
    }
    wait_for(lambda: expected.items() <= exported("measured").items(), EXPORT_SECONDS, f"{expected}")
    found = exported("measured")
    assert set(found) == {*expected, (STEPS, "train_ensemble")}
    published = sum(path.stat().st_size for path in folder.glob("predictions/*/*.parquet"))
    assert found[BYTES, "predict"] == published
    assert found[BYTES, "train_ensemble"] == (folder / "ensemble/member-004/model.safetensors").stat().st_size


def test_restarts_are_exported(extended_run):
    wait_for(lambda: exported("tiny").get((RESTARTS, "train_ensemble"), 0) >= 1, EXPORT_SECONDS, "a restart")
