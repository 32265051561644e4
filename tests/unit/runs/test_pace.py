"""How far a stage is: counts, rate and time left; one moving line on a terminal, lines now and then elsewhere."""

import pytest
from helpers.records import config

from hydra_ray.runs import Pace, Tracker
from hydra_ray.storage import Folder


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_follow_from_what_this_command_has_done():
    clock = Clock()
    pace = Pace(3, "steps", clock)
    pace.update("a", 900, 1000)  # by an earlier command
    assert str(pace) == "900 of 3,000 steps"
    clock.now += 10
    pace.update("a", 1000, 1000)
    pace.update("b", 0, 1000)
    assert str(pace) == "1,000 of 3,000 steps, 10/s, 3 minutes left"
    clock.now += 10
    pace.update("b", 1000, 1000)
    pace.update("c", 1000, 1000)
    assert str(pace) == "3,000 of 3,000 steps"


@pytest.mark.parametrize(
    ("seconds", "expected"), [(1000, "6.0/min, 17 minutes left"), (25, "4.0/s, 25 seconds left"), (1, "")]
)
def test_slow_work_is_counted_in_minutes(seconds, expected):
    clock = Clock()
    pace = Pace(1, "trials", clock)
    pace.update("all", 0, 200)
    clock.now += seconds
    pace.update("all", 100, 200)
    assert str(pace).removeprefix("100 of 200 trials").removeprefix(", ") == expected


@pytest.fixture
def tracker(tmp_path):
    return Tracker(Folder.open(str(tmp_path / "run")), config())


def test_on_a_terminal_one_line_moves(tracker, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    with tracker.stage("predict") as stage:
        stage.show("1 of 2 rows")
        stage.show("2 of 2 rows, and much more than has room here")
        stage.say("done")
        stage.show("last")
    clear = "\r\x1b[2K"
    assert (
        capsys.readouterr().out == f"{clear}  1 of 2 rows{clear}  2 of 2 rows, and {clear}  done\n{clear}  last{clear}"
    )


def test_elsewhere_lines_are_plain_and_rare(tracker, capsys, monkeypatch):
    clock = Clock()
    monkeypatch.setattr("hydra_ray.runs.tracking.time.monotonic", clock)
    with tracker.stage("predict") as stage:
        for second in range(7200):
            clock.now = 100.0 + second
            stage.show(f"{second} of 7200 seconds")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  0 of 7200 seconds"
    assert 100 < len(lines) < 400
    times = [int(line.split()[0]) for line in lines]
    assert times[1] - times[0] < 10
    assert 60 < times[-1] - times[-2] < 150


def test_who_listens_sees_no_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with Tracker(Folder.open(str(tmp_path / "run")), config(), lambda event: None).stage("predict") as stage:
        stage.show("1 of 2 rows")
    assert capsys.readouterr().out == ""
