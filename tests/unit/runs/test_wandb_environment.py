"""W&B's own variables: those that name one run are not for a chain of stages, the others are heard."""

import os

import pytest
from helpers.records import config
from helpers.wandb_files import offline_runs

from hydra_ray.config.sections import TrackingConfig
from hydra_ray.runs.tracking import Tracker
from hydra_ray.runs.wandb_runs import _mode
from hydra_ray.storage.folder import Folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    return Folder.open(str(tmp_path / "run"))


def test_variables_that_name_one_run_do_not_make_all_stages_one(folder, monkeypatch, tmp_path):
    one = {
        "WANDB_RUN_ID": "sameid",
        "WANDB_RESUME": "must",
        "WANDB_NAME": "samename",
        "WANDB_JOB_TYPE": "samejob",
        "WANDB_RUN_GROUP": "samegroup",
        "WANDB_SWEEP_ID": "samesweep",
    }
    for name, value in one.items():
        monkeypatch.setenv(name, value)
    tracker = Tracker(folder, config("offline"))
    for stage in ("predict", "distill"):
        with tracker.stage(stage):
            pass
    runs = offline_runs(tmp_path / "run")
    assert set(runs) == {"predict", "distill"}
    assert {(run.group, run.job_type) for run in runs.values()} == {("run", "predict"), ("run", "distill")}
    assert not [run.folder for run in runs.values() if "sameid" in run.folder.name]
    assert {name: os.environ[name] for name in one} == one, "they stay what they were"


@pytest.mark.parametrize(
    ("given", "variable", "expected"),
    [(None, None, "hydra-ray"), (None, "", "hydra-ray"), (None, "theirs", "theirs"), ("ours", "theirs", "ours")],
)
def test_the_project_is_the_recipes_then_the_environments_then_ours(
    folder, monkeypatch, tmp_path, given, variable, expected
):
    if variable is not None:
        monkeypatch.setenv("WANDB_PROJECT", variable)
    settings = config("offline")
    tracking = settings.tracking.model_copy(update={"project": given})
    with Tracker(folder, settings.model_copy(update={"tracking": tracking})).stage("predict"):
        pass
    assert offline_runs(tmp_path / "run")["predict"].project == expected


@pytest.mark.parametrize(
    ("wandb", "variable", "expected"),
    [
        ("online", "", "online"),
        ("online", "offline", "offline"),
        ("online", "dryrun", "offline"),
        ("online", "disabled", "disabled"),
        ("offline", "online", "offline"),
        ("offline", "disabled", "disabled"),
        ("offline", "", "offline"),
    ],
)
def test_the_environment_may_send_less_and_never_more(monkeypatch, wandb, variable, expected):
    monkeypatch.setenv("WANDB_MODE", variable)
    assert _mode(TrackingConfig(wandb=wandb)) == expected
