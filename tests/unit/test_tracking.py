"""The record of a run: events.jsonl always, W&B on request, and W&B's failures nobody else's."""

import io
import json
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers.wandb_files import offline_runs
from PIL import Image

import hydra_ray.events
from hydra_ray.config import validate
from hydra_ray.errors import UserError
from hydra_ray.storage import Folder
from hydra_ray.tracking import Tracker, WandbSink


def config(wandb="off", **more):
    return validate({"name": "run", "data": {"source": "digits"}, "tracking": {"wandb": wandb}, **more}, "here")


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "run"))


@pytest.fixture
def remote():
    return Folder.open(f"memory://{uuid.uuid4().hex}/run")


def lines(folder):
    """The file, read as strict JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in folder.read("events.jsonl").splitlines()]


def names(events):
    return [(event["stage"], event["event"]) for event in events]


# events.jsonl


def test_a_stage_is_recorded_from_start_to_done(folder, capsys):
    began = time.time()
    tracker = Tracker(folder, config())
    with tracker.stage("predict", detail="0/4 done") as stage:
        stage.figures("shard", rows=3, split="test")
        stage.event("view", name="affine")
        stage.picture("reliability", b"")
        stage.say("two lines")
    tracker.record("distill", "skipped", detail="2/2 done")
    found = lines(folder)
    assert names(found) == [("predict", name) for name in ("start", "shard", "view", "done")] + [("distill", "skipped")]
    assert found[0]["detail"] == "0/4 done"
    assert (found[1]["rows"], found[1]["split"]) == (3, "test")
    assert 0 <= found[3]["seconds"] < 5
    assert all(began - 1 < event["time"] < time.time() + 1 for event in found)
    assert tracker.events() == found
    assert capsys.readouterr().out == "  two lines\n"


@pytest.mark.parametrize("error", [ValueError("no\nmore rows"), KeyboardInterrupt()])
def test_a_stage_that_fails_says_so(folder, error):
    def fail():
        with Tracker(folder, config()).stage("tune"):
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(lines(folder)) == [("tune", "start"), ("tune", "failed")]
    assert lines(folder)[1]["error"].startswith(type(error).__name__)


def test_events_of_earlier_commands_stay(folder):
    Tracker(folder, config()).record("predict", "skipped")
    second = Tracker(folder, config())
    second.record("tune", "skipped")
    assert names(second.events()) == [("predict", "skipped"), ("tune", "skipped")]


@pytest.mark.parametrize("half", [b'{"stage": "tune", "ev', b'{"stage": "tune", "parameters": {"a": 1}', b"3", b"[]"])
@pytest.mark.parametrize("place", ["folder", "remote"])
def test_half_a_line_of_a_killed_driver_is_left_out_and_costs_no_other(place, half, request):
    folder = request.getfixturevalue(place)
    whole = b'{"stage": "predict", "event": "done"}\n'
    folder.write("events.jsonl", whole + half)
    tracker = Tracker(folder, config())
    assert names(tracker.events()) == [("predict", "done")]
    tracker.record("tune", "skipped")
    assert names(Tracker(folder, config()).events()) == [("predict", "done"), ("tune", "skipped")]
    assert folder.read("events.jsonl").startswith(whole + half + b"\n")


def test_no_events_yet(folder, remote):
    assert Tracker(folder, config()).events() == []
    assert Tracker(remote, config()).events() == []


def test_figures_are_strict_json(folder):
    tracker = Tracker(folder, config())
    numbers = {"nan": float("nan"), "infinite": -np.inf, "half": np.float32(0.5), "count": np.int64(3)}
    others = {"flag": np.bool_(True), "array": np.arange(2), "zero": np.array(1.5), "place": Path("a/b")}
    nested = {"x": [np.float16(1), float("inf")], 3: (1, None)}
    tracker.record("tune", "trial", **numbers, **others, nested=nested)
    found = lines(folder)[0]
    assert {key: found[key] for key in numbers} == {"nan": None, "infinite": None, "half": 0.5, "count": 3}
    assert {key: found[key] for key in others} == {"flag": True, "array": [0, 1], "zero": 1.5, "place": "a/b"}
    assert found["nested"] == {"x": [1.0, None], "3": [1, None]}


# an object store, which cannot append


@pytest.fixture
def clock(monkeypatch):
    """Time as the event file sees it."""

    class Clock:
        now = 1000.0
        monotonic = staticmethod(lambda: Clock.now)
        time = staticmethod(lambda: Clock.now)

    monkeypatch.setattr(hydra_ray.events, "time", Clock)
    return Clock


@pytest.fixture
def writes(monkeypatch):
    """Sizes of what is written."""
    sizes = []
    write = Folder.write

    def counted(self, name, data):
        sizes.append(len(data))
        write(self, name, data)

    monkeypatch.setattr(Folder, "write", counted)
    return sizes


def test_a_busy_stage_rewrites_the_remote_file_at_its_ends_and_every_few_seconds(remote, clock, writes):
    tracker = Tracker(remote, config())
    with tracker.stage("train_ensemble") as stage:
        for step in range(1000):
            clock.now += 0.02  # 20 s in all
            stage.figures("epoch", epoch=step)
        assert len(tracker.events()) == 1001, "what has not been written yet is there, too"
        assert len(writes) <= 1 + 4
    assert names(lines(remote)) == [
        ("train_ensemble", "start"),
        *[("train_ensemble", "epoch")] * 1000,
        ("train_ensemble", "done"),
    ]
    assert len(writes) <= 2 + 4


def test_remote_events_are_written_at_once_where_a_stage_begins_fails_or_is_skipped(remote, clock):
    tracker = Tracker(remote, config())
    tracker.record("predict", "skipped")
    assert len(lines(remote)) == 1

    def fail():
        with tracker.stage("tune") as stage:
            assert len(lines(remote)) == 2
            stage.event("trial")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [event["event"] for event in lines(remote)] == ["skipped", "start", "trial", "failed"]


def test_a_remote_file_is_read_once(remote, clock, monkeypatch):
    Tracker(remote, config()).record("predict", "skipped")
    reads = []
    read = Folder.read
    monkeypatch.setattr(Folder, "read", lambda self, name: (reads.append(name), read(self, name))[1])
    tracker = Tracker(remote, config())
    for _ in range(5):
        tracker.record("tune", "skipped")
    assert len(tracker.events()) == 6
    assert reads == ["events.jsonl"]


# W&B


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
    trial = tracker.trial_sink("t1", {"head_width": 8})
    trial.log({"validation_nll": 0.25})
    trial.close()

    runs = offline_runs(tmp_path / "run")
    assert set(runs) == {"train_ensemble", "tune/t1"}
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


def test_a_failed_stage_is_a_failed_run(folder, no_account, tmp_path):
    def fail():
        with Tracker(folder, config("offline")).stage("tune"):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert offline_runs(tmp_path / "run")["tune"].exit_code == 1


def test_remote_run_folders_keep_wandb_s_files_here(remote, no_account, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Tracker(remote, config("offline")).stage("tune"):
        pass
    assert set(offline_runs(tmp_path / "runs" / "run")) == {"tune"}


def test_off_is_off(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    tracker = Tracker(folder, config("off"))
    with tracker.stage("tune") as stage:
        stage.figures("epoch", loss=1.0)
    assert tracker.trial_sink("t1", {}) is None
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

    monkeypatch.setattr(wandb, "init", fail)
    assert Tracker(folder, config("online")).trial_sink("t1", {"head_width": 8}) is None
    assert "W&B failed, the run goes on without it: tracking.wandb=online" in capsys.readouterr().err


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
    assert seconds < 10
    assert not (Path(folder.path) / "events.jsonl").exists(), "the stage has not begun"
    assert isinstance(sys.stdin, Terminal)


def test_online_without_a_network_is_an_error_soon(folder, no_account, monkeypatch):
    """A port of this machine where nobody listens; as long as W&B tries, so long is `init_timeout`."""
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(hydra_ray.tracking._WANDB_ONLINE, "init_timeout", 2)
    text, seconds = refusal(folder)
    assert text.startswith("tracking.wandb=online: W&B does not start (")
    assert seconds < 12


def test_wandb_is_given_little_time():
    assert hydra_ray.tracking._WANDB_ONLINE["init_timeout"] < 20


def test_a_sink_closes_once_more_without_harm(folder, no_account):
    sink = WandbSink(config("offline").tracking, folder=folder.path, group="g", name="tune/x", config={})
    sink.close()
    sink.close()
