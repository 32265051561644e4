"""Ctrl-C, made sure of: Ray puts handlers of its own in the place of Python's, and its core may lose the exception.

Tune's handler makes an interrupted search look like a finished one; Train's stays installed for good and ends the
process with exit code 0; and a `KeyboardInterrupt` that comes while Ray's C++ core looks for signals may not come out.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_PRESSED = threading.Event()


@contextmanager
def interrupts_noticed() -> Iterator[None]:
    """Ctrl-C raises `KeyboardInterrupt` as ever, and `raise_if_interrupted` knows of it should it be lost."""
    _PRESSED.clear()

    def notice_and_raise(*_: Any) -> None:
        _PRESSED.set()
        raise KeyboardInterrupt

    with _handled_by(notice_and_raise):
        yield
        raise_if_interrupted()


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Ctrl-C raises nothing; what runs in the block calls `raise_if_interrupted` where it can be left."""
    with _handled_by(lambda *_: _PRESSED.set()):
        yield


@contextmanager
def interrupts_of_train() -> Iterator[None]:
    """For Train's `fit`, which replaces the handler: whatever it makes of Ctrl-C becomes `KeyboardInterrupt`."""
    if not _in_main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGINT)
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, handler)
        if signal.SIGINT in _bytes_in(here):
            _PRESSED.set()
        here.close()
        there.close()
        raise_if_interrupted()


def raise_if_interrupted() -> None:
    """`KeyboardInterrupt`, if there was a Ctrl-C."""
    if _PRESSED.is_set():
        raise KeyboardInterrupt


@contextmanager
def _handled_by(handler: Callable[..., None]) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _bytes_in(end: socket.socket) -> bytes:
    try:
        return end.recv(4096)
    except BlockingIOError:
        return b""
