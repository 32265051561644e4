"""Signals that are to end a command: raised, remembered where Ray loses them, cut short when asked for twice."""
# ruff: noqa: PT012  (what is raised comes out of a whole block)

import signal
import sys
import threading

import pytest

from hydra_ray.cluster import signals as interrupts
from hydra_ray.cluster.signals import (
    command_ends_in_order,
    end_command,
    interrupts_kept,
    interrupts_noticed,
    interrupts_past_ray,
    raise_if_interrupted,
)
from hydra_ray.errors import StageError, Terminated

ENDS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated, signal.SIGHUP: Terminated}
each_signal = pytest.mark.parametrize("number", ENDS, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def handlers_stay():
    """Whatever a block did, the handlers of before are there again."""
    before = [signal.getsignal(number) for number in ENDS]
    yield
    assert [signal.getsignal(number) for number in ENDS] == before


@each_signal
def test_a_signal_raises(number):
    with pytest.raises(KeyboardInterrupt) as raised, interrupts_noticed():
        signal.raise_signal(number)
    assert type(raised.value) is ENDS[number]


def test_the_exception_names_the_signal():
    with pytest.raises(Terminated, match="SIGTERM"), interrupts_noticed():
        signal.raise_signal(signal.SIGTERM)


def lose_it():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        return


def raise_it_bare():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None


def fail_over_it():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        raise RuntimeError("the actor died") from None


def leave_over_it():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt:
        sys.exit(0)


@pytest.mark.parametrize("in_ray", [lose_it, raise_it_bare, fail_over_it, leave_over_it])
def test_whatever_ray_makes_of_it_the_signal_comes_out(in_ray):
    with pytest.raises(Terminated), interrupts_noticed():
        in_ray()


@each_signal
def test_where_interrupts_are_kept_the_block_asks_for_them(number):
    reached = []
    with pytest.raises(ENDS[number]), interrupts_noticed(), interrupts_kept():
        signal.raise_signal(number)
        reached.append("here")
        raise_if_interrupted()
    assert reached == ["here"]


@each_signal
@pytest.mark.parametrize("handler", [lambda *_: None, lambda *_: sys.exit(0)], ids=["loses it", "leaves"])
def test_handlers_that_ray_installs_lose_nothing(number, handler):
    with pytest.raises(ENDS[number]), interrupts_noticed(), interrupts_past_ray():
        signal.signal(number, handler)
        signal.raise_signal(number)


def test_handlers_that_ray_installs_are_gone_afterwards():
    with interrupts_noticed():
        before = signal.getsignal(signal.SIGTERM)
        with interrupts_past_ray():
            signal.signal(signal.SIGTERM, lambda *_: None)
        assert signal.getsignal(signal.SIGTERM) is before


def test_nohup_is_respected(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupts_noticed():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("block", [interrupts_noticed, interrupts_kept])
def test_another_thread_ends_a_command(block):
    with pytest.raises(StageError, match="Ray's raylet died"), interrupts_noticed(), block():
        thread = threading.Thread(target=end_command, args=[StageError("Ray's raylet died")])
        thread.start()
        thread.join()
        signal.pause()


def test_what_follows_knows_nothing_of_an_interrupt():
    """Neither the next stage, nor what asks without a block of its own."""
    with pytest.raises(KeyboardInterrupt), interrupts_noticed():
        signal.raise_signal(signal.SIGINT)
    raise_if_interrupted()
    with interrupts_noticed():
        raise_if_interrupted()


def test_a_second_request_does_not_wait(monkeypatch):
    monkeypatch.setattr(interrupts, "_SAME_SECONDS", 0.0)
    left = []
    with pytest.raises(Terminated), command_ends_in_order(left.append):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            with pytest.raises(KeyboardInterrupt):  # what would be the end of the process
                signal.raise_signal(signal.SIGINT)
    assert [type(reason) for reason in left] == [Terminated]


def test_the_same_request_told_twice_is_one():
    """`timeout` signals its child and then the group that the child is in."""
    left = []
    with pytest.raises(Terminated), command_ends_in_order(left.append):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
    assert left == []


def test_an_end_that_takes_too_long_is_cut_short(monkeypatch):
    monkeypatch.setattr(interrupts, "_PATIENCE_SECONDS", 0.01)
    left = threading.Event()
    with pytest.raises(Terminated), command_ends_in_order(lambda _: left.set()):
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            assert left.wait(10)


def test_nobody_is_killed_where_nobody_listens():
    assert not end_command(StageError("Ray's raylet died"))
