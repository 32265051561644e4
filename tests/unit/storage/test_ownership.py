"""Two commands on one run: the second is told who works there, waits, or takes over from one that is gone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import asdict, replace

import pytest
from helpers.finished import loaded, publish_members, recipe

from hydra_ray.errors import UserError
from hydra_ray.runs.plan import stage_states
from hydra_ray.storage import ownership
from hydra_ray.storage.artifact import Artifact
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.ownership import OWNER, Fence, Owner, owned, read_owner


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder.open(str(tmp_path / "run") if request.param == "local" else f"memory://{uuid.uuid4().hex}/run")


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The same in fractions of a second."""
    for name, seconds in (("HEARTBEAT", 0.02), ("WATCH", 0.5), ("SETTLE", 0.05), ("POLL", 0.02)):
        monkeypatch.setattr(ownership, f"_{name}_SECONDS", seconds)


def someone(**changed) -> Owner:
    """An owner on another machine, whose heartbeat is now."""
    return replace(Owner.here("run.py other.yaml"), **{"host": "elsewhere", "machine": "another boot", **changed})


def write(folder: Folder, owner: Owner) -> None:
    folder.write_json(OWNER, asdict(owner))


def refusal(folder: Folder) -> str:
    with pytest.raises(UserError) as raised, owned(folder):
        pytest.fail("taken")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def ended_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_is_held_for_a_block_and_given_back(folder):
    with owned(folder, command="run.py tiny.yaml") as fence:
        owner = read_owner(folder)
        assert owner is not None
        assert (owner.pid, owner.command, owner.attempt) == (os.getpid(), "run.py tiny.yaml", fence.attempt)
        fence.check()
    assert folder.files() == {}
    with pytest.raises(UserError, match="no longer this command's"):
        fence.check()


@pytest.mark.parametrize("error", [ValueError, UserError, KeyboardInterrupt, SystemExit])
def test_it_is_given_back_whatever_ends_the_command(folder, error):
    with pytest.raises(error), owned(folder):
        raise error("x")
    assert folder.files() == {}


def test_the_second_command_is_told_who_works_there(folder):
    with owned(folder, command="run.py tiny.yaml seed=1"):
        text = refusal(folder)
        for part in (str(folder), "`run.py tiny.yaml seed=1`", f"pid {os.getpid()}", "since 20", "--wait"):
            assert part in text
    with owned(folder):
        pass


def test_the_second_command_waits_and_says_for_whom(folder, capsys):
    write(folder, someone())
    beats, order = threading.Event(), []

    def other():
        while not beats.wait(0.02):
            write(folder, someone(attempt="other"))
        folder.delete(OWNER)

    thread = threading.Thread(target=other)
    thread.start()
    threading.Timer(0.3, lambda: (order.append("ended"), beats.set())).start()
    with owned(folder, wait=True):
        order.append("taken")
    thread.join()
    assert order == ["ended", "taken"]
    assert capsys.readouterr().out.count("waiting for `run.py other.yaml` (host elsewhere") == 1


@pytest.mark.parametrize("changed", [{"pid": -1}, {"process_start": "1"}], ids=["gone", "pid used again"])
def test_a_process_of_this_machine_that_is_gone_is_followed_at_once(folder, capsys, changed):
    mine = Owner.here("run.py tiny.yaml")
    changed = {"pid": ended_process()} if changed.get("pid") == -1 else changed
    write(folder, replace(mine, **changed))
    with owned(folder) as fence:
        fence.check()
    assert "taken over from `run.py tiny.yaml`" in capsys.readouterr().out


def test_a_process_that_was_killed_is_followed_at_once(folder, tmp_path):
    if not folder.is_local:
        pytest.skip("a process of its own sees no memory:// of this one")
    code = f"""
import time
from hydra_ray.storage.ownership import owned
from hydra_ray.storage.folder import Folder
with owned(Folder.open({folder.path!r}), command="killed"):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    assert "`killed`" in refusal(folder)
    process.send_signal(signal.SIGKILL)
    while read_owner(folder).has_ended is False:
        time.sleep(0.01)  # not waited for: a process that has ended and is remembered counts as ended
    with owned(folder):
        pass
    process.wait()


def test_a_heartbeat_that_stands_still_is_stale_whatever_the_clocks(folder, capsys):
    for heartbeat in (time.time() - 61, time.time() + 3600):
        write(folder, someone(heartbeat=heartbeat))
        with owned(folder) as fence:
            fence.check()
        assert "its heartbeat stands still" in capsys.readouterr().out


def test_a_heartbeat_of_a_clock_that_is_wrong_is_one_all_the_same(folder):
    """Its times look old, but they move."""
    ended, attempt = threading.Event(), uuid.uuid4().hex

    def beat():
        while not ended.wait(0.02):
            write(folder, someone(attempt=attempt, heartbeat=time.time() - 1000))

    write(folder, someone(attempt=attempt, heartbeat=time.time() - 1000))
    thread = threading.Thread(target=beat)
    thread.start()
    try:
        assert "host elsewhere" in refusal(folder)
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"pid": 1}', b"\xff", b'{"a": 1'])
def test_an_owner_that_is_none_is_replaced(folder, content):
    folder.write(OWNER, content)
    with owned(folder) as fence:
        fence.check()


def test_heartbeats_go_on(folder):
    with owned(folder):
        first, until = read_owner(folder), time.monotonic() + 10
        while read_owner(folder) == first:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert read_owner(folder).attempt == first.attempt


def test_who_has_lost_a_run_publishes_nothing_and_leaves_the_other_alone(folder):
    other = someone()
    with owned(folder) as fence:
        result = Artifact(folder / "one", {"a": 1}, fence=fence)
        result.attempt.write("f", b"1")
        write(folder, other)
        time.sleep(0.2)
        with pytest.raises(UserError, match="taken over by `run"):
            result.publish({})
        assert result.status() == "missing"
    assert read_owner(folder) == other


def test_a_fence_travels(folder):
    import pickle

    fence = Fence(folder, "x")
    assert pickle.loads(pickle.dumps(fence)).attempt == "x"


def test_of_many_at_once_one_gets_it(folder):
    held, refused, go, end = [], [], threading.Barrier(6), threading.Event()

    def take():
        go.wait()
        try:
            with owned(folder) as fence:
                held.append(fence)
                end.wait(20)
        except UserError:
            refused.append(1)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + 10
    while len(held) + len(refused) < 6 and time.monotonic() < until:
        time.sleep(0.01)
    may_publish = [fence for fence in held if passes(fence)]
    end.set()
    for thread in threads:
        thread.join()
    assert len(may_publish) == 1
    if folder.is_local:
        assert len(held) == 1, "one step of the file system decides"


def passes(fence: Fence) -> bool:
    try:
        fence.check()
    except UserError:
        return False
    return True


def test_owner_json_is_json_for_everyone(folder):
    with owned(folder, command="c"):
        found = json.loads(folder.read(OWNER))
    assert found.keys() >= {"attempt", "host", "pid", "command", "started", "heartbeat"}


# commands


def test_a_stage_does_not_begin_where_another_command_works(tmp_path):
    from hydra_ray.cluster.pipeline import run_stages

    run = loaded(recipe(tmp_path))
    write(run.folder, someone())
    with pytest.raises(UserError, match=r"`run\.py other\.yaml` \(host elsewhere"):
        run_stages(run, ["train_ensemble"])
    assert set(run.folder.files()) == {OWNER}, "nothing is written, what the other wrote is left"


def test_a_plan_needs_no_lock_and_a_run_that_is_done_gives_it_back(tmp_path):
    from hydra_ray.cluster.pipeline import run_stages

    path = recipe(tmp_path)
    publish_members(loaded(path))
    with owned(loaded(path).folder):
        assert [state.state for state in stage_states(loaded(path))][:2] == ["done", "to do"]
    run = loaded(path)
    run_stages(run, ["train_ensemble"])
    assert OWNER not in run.folder.files()
    assert run.fence is not None
    assert run.member(0).fence == run.fence, "what is published asks whether the run is still held"


def test_what_rays_libraries_of_a_killed_command_have_left_goes_though_nothing_is_to_be_done(tmp_path):
    from hydra_ray.cluster.pipeline import run_stages

    path = recipe(tmp_path)
    publish_members(loaded(path))
    run = loaded(path)
    (run.folder / ".ray" / "train_ensemble-1").write("snapshot.json", b"{}")
    run_stages(run, ["train_ensemble"])
    assert ".ray" not in run.folder.folders()
