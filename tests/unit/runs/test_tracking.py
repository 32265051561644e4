"""The record of a run in events.jsonl: complete, strict JSON, on every kind of storage."""

import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers.records import config, lines, names

import hydra_ray.storage.events
from hydra_ray.runs.tracking import Tracker
from hydra_ray.storage.folder import Folder


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "run"))


@pytest.fixture
def remote():
    return Folder.open(f"memory://{uuid.uuid4().hex}/run")


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
    assert 0 <= found[3]["seconds"] < time.time() - began + 1
    assert all(began - 1 < event["time"] < time.time() + 1 for event in found)
    assert tracker.events() == [{key: fact for key, fact in each.items() if key != "crc32"} for each in found]
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


@pytest.mark.parametrize("place", range(0, 90, 7))
def test_a_line_that_was_damaged_is_left_out(folder, place):
    tracker = Tracker(folder, config())
    for number in range(3):
        tracker.record("predict", "done", seconds=1.5 + number)
    found, content = tracker.events(), bytearray(folder.read("events.jsonl"))
    second = content.index(b"\n") + 1
    length = content.index(b"\n", second) - second  # a digit less where the time ends with a zero
    content[second + min(place, length - 1)] ^= 1
    folder.write("events.jsonl", bytes(content))
    left = Tracker(folder, config()).events()
    assert [each["seconds"] for each in left if each in found] == [each["seconds"] for each in left]
    assert [found[0], found[2]] == [each for each in left if each != found[1]]


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

    monkeypatch.setattr(hydra_ray.storage.events, "time", Clock)
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


def test_a_large_remote_file_is_rewritten_less_often(remote, clock, writes):
    """A megabyte a second: a run of many shards would send its events again and again all day."""
    tracker = Tracker(remote, config())
    tracker.record("predict", "start")
    tracker.record("predict", "shard", text="x" * (40 << 20))  # stands for 200,000 lines
    for _ in range(200):
        clock.now += 1.0
        tracker.record("predict", "shard")
    assert [size > 40 << 20 for size in writes] == [False, *[True] * 4]
