"""The record of a run in W&B: on request, readable offline, and its failures nobody else's."""

import io
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers.records import config, lines, names
from helpers.wandb_files import offline_runs
from PIL import Image

import hydra_ray.runs.wandb_runs
from hydra_ray.errors import UserError
from hydra_ray.runs.tracking import Tracker
from hydra_ray.runs.wandb_runs import WandbSink
from hydra_ray.storage.folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "run"))


def png(size=(4, 3)):
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """No key, no settings of the machine's owner, no network."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / "netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "home" / "config"))


def test_offline_and_without_a_key_runs_are_written_and_can_be_read_back(folder, no_account, tmp_path):
    tracker = Tracker(folder, config("offline", seed=7))
    with tracker.stage("train_ensemble", detail="0/2") as stage:
        for epoch in range(3):
            stage.figures("epoch", epoch=epoch, loss=1 / (epoch + 1), phase="mean", accuracy=np.float32(0.5))
        stage.picture("reliability", png())
    with tracker.stage("tune") as search:
        trial = search.trial_sink("t1", {"head_width": 8})
        trial.log({"validation_nll": 0.25})
        trial.close()

    runs = offline_runs(tmp_path / "run")
    assert set(runs) == {"train_ensemble", "tune", "tune/t1"}
    stage, trial = runs["train_ensemble"], runs["tune/t1"]
    assert (stage.group, stage.job_type, stage.project, stage.exit_code) == ("run", "train_ensemble", "hydra-ray", 0)
    assert (stage.config["seed"], stage.config["data.source"], stage.config["tracking.wandb"]) == (
        7,
        "digits",
        "offline",
    )
    rows = [row for row in stage.history if "loss" in row]
    assert [row["loss"] for row in rows] == [1, 1 / 2, 1 / 3]
    assert [(row["epoch"], row["accuracy"]) for row in rows] == [(0, 0.5), (1, 0.5), (2, 0.5)]
    assert stage.summary["loss"] == 1 / 3
    pictures = [row for row in stage.history if "reliability.path" in row]
    assert (pictures[0]["reliability.width"], pictures[0]["reliability.height"]) == (4, 3)
    assert (stage.folder / "files" / pictures[0]["reliability.path"]).read_bytes()[:4] == b"\x89PNG"
    assert (trial.group, trial.job_type, trial.config["head_width"]) == ("run", "tune", 8)
    assert trial.history[0]["validation_nll"] == 0.25


def test_all_runs_of_a_sweep_are_one_group(folder, no_account, tmp_path):
    with Tracker(folder, config("offline"), group="mnist").stage("predict"):
        pass
    ((name, run),) = offline_runs(tmp_path / "run").items()
    assert (name, run.group, run.job_type) == ("run/predict", "mnist", "predict")


def test_a_failed_stage_is_a_failed_run(folder, no_account, tmp_path):
    def fail():
        with Tracker(folder, config("offline")).stage("tune"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert offline_runs(tmp_path / "run")["tune"].exit_code == 1


def test_wandb_s_files_are_here_and_at_the_end_in_the_remote_run_folder(no_account, tmp_path, monkeypatch):
    """The machine that wrote them may go with its job."""
    remote = Folder.open(f"memory://{uuid.uuid4().hex}/run")
    monkeypatch.chdir(tmp_path)
    with Tracker(remote, config("offline")).stage("evaluate") as stage:
        stage.picture("reliability", png())
    run = offline_runs(tmp_path / "runs" / "run")["evaluate"]
    files = [path for path in run.folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".png" for path in files)
    for path in files:
        kept = remote / "wandb" / str(path.parent.relative_to(run.folder.parent))
        assert kept.read(path.name) == path.read_bytes()


def test_off_is_off(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Tracker(folder, config("off"))
    with tracker.stage("tune") as stage:
        stage.figures("epoch", loss=1.0)
        assert stage.trial_sink("t1", {}) is None
    assert not (Path(folder.path) / "wandb").exists()


class BrokenRun:
    """A W&B run that has lost its service."""

    def log(self, figures):
        raise ConnectionError("lost\nthe service")

    def finish(self, exit_code):
        raise ConnectionError("still lost")


def test_wandb_that_fails_later_is_noted_once_and_stops_nothing(folder, monkeypatch, capsys):
    import wandb

    monkeypatch.setattr(wandb, "init", lambda **options: BrokenRun())
    with Tracker(folder, config("offline")).stage("tune") as stage:
        stage.figures("epoch", loss=1.0)
        stage.figures("epoch", loss=0.5)
        stage.picture("reliability", png())
    assert names(lines(folder)) == [("tune", "start"), ("tune", "epoch"), ("tune", "epoch"), ("tune", "done")]
    assert capsys.readouterr().err == "  W&B failed, the run goes on without it: lost the service\n"


def test_a_picture_that_is_none_stops_nothing(folder, no_account, capsys):
    with Tracker(folder, config("offline")).stage("evaluate") as stage:
        stage.picture("reliability", b"not a picture")
    assert "W&B failed, the run goes on without it" in capsys.readouterr().err


def test_wandb_that_starts_for_the_stage_and_not_for_a_trial_stops_nothing(folder, monkeypatch, capsys):
    import wandb

    def fail(**options):
        raise wandb.errors.CommError("no network any more")

    with Tracker(folder, config("offline")).stage("tune") as stage:
        monkeypatch.setattr(wandb, "init", fail)
        assert stage.trial_sink("t1", {"head_width": 8}) is None
    assert "W&B failed, the run goes on without it: tracking.wandb=offline" in capsys.readouterr().err


def refusal(folder) -> tuple[str, float]:
    began = time.monotonic()
    with pytest.raises(UserError) as raised, Tracker(folder, config("online")).stage("tune"):
        pass
    assert "\n" not in str(raised.value)
    return str(raised.value), time.monotonic() - began


class Terminal(io.StringIO):
    """Somebody sits there, and is not to be asked."""

    def isatty(self):
        return True

    def readline(self, *_):
        raise AssertionError("asked a question")


def test_online_without_a_key_is_an_error_at_once_that_names_the_key_to_change(folder, no_account, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", Terminal())
    text, seconds = refusal(folder)
    assert text.startswith("tracking.wandb=online: W&B does not start (")
    assert text.endswith("log in with `wandb login`, or set tracking.wandb=offline or off")
    assert seconds < 60, "W&B's own minute and a half is not waited for"
    assert not (Path(folder.path) / "events.jsonl").exists(), "the stage has not begun"
    assert isinstance(sys.stdin, Terminal)


def test_online_without_a_network_is_an_error_soon(folder, no_account, monkeypatch):
    """A port of this machine where nobody listens; as long as W&B tries, so long is `init_timeout`."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(hydra_ray.runs.wandb_runs._WANDB_ONLINE, "init_timeout", 2)
    text, seconds = refusal(folder)
    assert text.startswith("tracking.wandb=online: W&B does not start (")
    assert seconds < 60, "W&B's own minute and a half is not waited for"


def test_wandb_is_given_little_time():
    assert hydra_ray.runs.wandb_runs._WANDB_ONLINE["init_timeout"] < 20


def test_a_sink_closes_once_more_without_harm(folder, no_account):
    sink = WandbSink(
        config("offline").tracking, folder=folder, group="g", name="tune/x", job_type="tune", wandb_run="x", config={}
    )
    sink.close()
    sink.close()
