"""Seconds of a stage are of the work behind its results, whichever commands did it."""

import pytest

from hydra_ray.runs.work_seconds import work_seconds


def command(began, makes, end="done", seconds=None, stage="distill"):
    """Events of one command, in the stage."""
    took = 10.0 if seconds is None else seconds
    found = [{"stage": stage, "event": "start", "time": began, "makes": makes}]
    found.append({"stage": stage, "event": "epoch", "time": began + took - 1})
    if end is not None:
        found.append({"stage": stage, "event": end, "time": began + took, "seconds": took})
    return found


SKIPPED = [{"stage": "distill", "event": "skipped", "time": 500.0}]
HISTORIES = {
    "one command": (command(0, ["a", "b"]), 10),
    "skipped since": (command(0, ["a", "b"]) + SKIPPED + SKIPPED, 10),
    "one more student": (command(0, ["a"]) + command(100, ["b"], seconds=3), 13),
    "failed, then done": (command(0, ["a", "b"], "failed", 4) + command(100, ["a", "b"]), 14),
    "killed, then done": (command(0, ["a", "b"], None) + command(100, ["a", "b"]), 19),
    "killed, others skipped it": (command(0, ["a", "b"], None) + SKIPPED + command(100, ["b"], seconds=2), 11),
    "replaced since": (command(0, ["old", "older"], seconds=70) + command(100, ["a", "b"]), 10),
    "in part replaced": (command(0, ["a", "old"], seconds=70) + command(100, ["b"]), 80),
    "of an older version": (command(0, None, seconds=5) + command(100, ["b"]), 15),
    "another stage": (command(0, ["a"], stage="predict") + command(100, ["a", "b"]), 10),
    "nothing yet": ([], None),
}


@pytest.mark.parametrize("history", HISTORIES)
def test_seconds_are_of_all_commands_that_had_a_part(history):
    events, expected = HISTORIES[history]
    found = work_seconds(events, {"distill": ["a", "b"]})
    assert found == ({} if expected is None else {"distill": expected})
