"""`hydra-ray results` of sweeps: over seeds each run counts as one, over standard splits the sweep's own figures."""

import json

import pytest
from helpers.finished import four_runs

from hydra_ray.runs import summarise
from hydra_ray.storage import Artifact, sealed

METRICS = {
    "schema": 1,
    "task": "classification",
    "num_members": 5,
    "test": {"member": {"nll": 0.5}, "ensemble": {"nll": 0.4}},
    "cost": {"member": {"macs": 100.0}, "ensemble": {"macs": 500.0}},
}


@pytest.fixture
def swept(tmp_path):
    """The folder of a sweep over two seeds and two temperatures, with reports that were not computed."""
    sweep, runs = four_runs(tmp_path)
    for run in runs:
        report = Artifact(run.folder / "report", {})
        report.attempt.write("config.json", run.config.model_dump_json().encode())
        report.attempt.write("metrics.json", json.dumps(METRICS).encode())
        report.publish({})
    folder = runs[0].folder.parent
    folder.write_json("sweep.json", sealed(summarise(sweep, [METRICS] * len(runs))))
    return folder.path


def test_a_sweep_over_seeds_is_a_group_for_each_setting(swept, call):
    code, page, errors = call("results", swept)
    assert (code, errors) == (0, "")
    for temperature in (1, 2):
        assert f"Runs: seed=0,temperature={temperature} (seed 0), seed=1,temperature={temperature} (seed 1)." in page
    assert "With `distill.temperature=2.0`." in page


def test_a_run_of_it_stands_for_itself(swept, call):
    page = call("results", f"{swept}/seed=1,temperature=2")[1]
    assert "Runs: seed=1,temperature=2 (seed 1)." in page
