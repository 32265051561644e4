"""Lines of events.jsonl say whose they are: of which run folder, which command, and which Ray job."""

import json

import pytest
from helpers.records import config, lines

from hydra_ray.cluster.session import submitted_as
from hydra_ray.runs.tracking import Tracker
from hydra_ray.storage.folder import Folder


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder.open(str(tmp_path / "run") if request.param == "local" else f"memory://{tmp_path.name}/run")


def command(folder, attempt, **facts):
    tracker = Tracker(folder, config())
    tracker.sign(attempt, **facts)
    with tracker.stage("predict"):
        pass


def test_the_run_stays_and_attempts_change(folder):
    Tracker(folder, config()).record("predict", "skipped")  # by an older version
    command(folder, "first", job="raysubmit_1")
    command(folder, "second")
    found = [(line.get("run"), line.get("attempt"), line.get("job")) for line in lines(folder)]
    first = ("first", "first", "raysubmit_1")
    assert found == [(None, None, None), first, first, ("first", "second", None), ("first", "second", None)]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, {}),
        ({"RAY_JOB_SUBMISSION_ID": "of-kuberay"}, {"job": "of-kuberay"}),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"metadata": {"job_submission_id": "r1"}})}, {"job": "r1"}),
        ({"RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}, {}),
    ],
)
def test_the_job_of_a_command(variables, expected, monkeypatch):
    for name in ("RAY_JOB_SUBMISSION_ID", "RAY_JOB_CONFIG_JSON_ENV_VAR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert submitted_as() == expected
