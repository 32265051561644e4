"""Ray's start, tried again: more patience each time, nothing of a failed try left. No session is needed."""

import subprocess
import time

import pytest
import ray._private.services as services

from hydra_ray.cluster import patience
from hydra_ray.cluster.patience import start_patiently
from hydra_ray.errors import StageError


class Starts:
    """A start that succeeds the so-manyth time, and its processes."""

    def __init__(self, succeeds_at):
        self.succeeds_at, self.processes, self.stops = succeeds_at, [], 0

    def start(self):
        self.processes.append(subprocess.Popen(["sleep", "60"]))
        if len(self.processes) < self.succeeds_at:
            raise Exception("The current node\ntimed out during startup.")

    def stop(self):
        self.stops += 1


def test_a_failed_try_leaves_no_process_and_the_third_may_succeed():
    starts = Starts(succeeds_at=3)
    start_patiently(starts.start, starts.stop)
    assert [process.poll() is None for process in starts.processes] == [False, False, True]
    assert starts.stops == 2
    starts.processes[-1].kill()


def test_three_failures_are_told_in_one_line():
    starts = Starts(succeeds_at=4)
    with pytest.raises(StageError, match=r"tried 3 times \(The current node timed out during startup.\)") as raised:
        start_patiently(starts.start, starts.stop)
    assert "\n" not in str(raised.value)
    assert all(process.poll() is not None for process in starts.processes)


def test_an_interrupted_try_leaves_no_process_either_and_is_the_last():
    starts = Starts(succeeds_at=1)

    def start():
        starts.start()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        start_patiently(start, starts.stop)
    assert [process.poll() is None for process in starts.processes] == [False]


def test_each_try_waits_longer_for_the_node(monkeypatch):
    """As Ray does: asks for the node until it gives up, here at once."""
    monkeypatch.setattr(patience, "_PATIENCE_SECONDS", (0.0, 0.2, 0.4))
    monkeypatch.setattr(patience, "_POLL_SECONDS", 0.01)
    waited = []

    def not_there(address, node_id):
        raise RuntimeError("no such node")

    monkeypatch.setattr(services, "get_node", not_there)

    def start():
        began = time.monotonic()
        try:
            services.get_node("127.0.0.1:1", "id")
        except RuntimeError:
            waited.append(time.monotonic() - began)
            raise

    with pytest.raises(StageError):
        start_patiently(start, lambda: None)
    assert waited == sorted(waited)
    assert waited[1] >= 0.2
    assert waited[2] >= 0.4
    assert services.get_node is not_there
