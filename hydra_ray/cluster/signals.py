"""Ctrl-C, SIGTERM and SIGHUP end a command in order: finished results stay, Ray stops, and one line says so.

Ray interferes: `ray.init` replaces our SIGTERM handler, Train's Ctrl-C handler stays installed for good and ends the
process with exit code 0, Tune's makes an interrupted search look like a finished one, and Ray's C++ core forgets which
exception a handler raised, or that it raised one. So a signal is noted here before it is raised. The death of one of
Ray's daemons ends a command in the same way (`daemons.py`). `cli/guard.py` prints the line and sets the exit code.
"""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra_ray.errors import StageError, Terminated

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SECONDS = 1.0  # `timeout` signals the process and then its group: the same request, told twice
_PATIENCE_SECONDS = 12.0  # for an orderly end; afterwards the process just goes, and Ray's with it


class _End:
    """The request to end a command: its reason, and when it was raised."""

    def __init__(self) -> None:
        self._reason: BaseException | None = None
        self._raised_at: float | None = None
        self.leave: Callable[[BaseException], None] | None = None
        self.num_listening = 0  # blocks whose handlers are installed

    def forget(self) -> None:
        """Forget earlier requests, as a command, or a stage in a user's own process, begins."""
        self._reason = None
        self._raised_at = None

    @property
    def reason(self) -> BaseException | None:
        """The exception to raise, a new one each time; None without a request to end."""
        return None if self._reason is None else type(self._reason)(*self._reason.args)

    def ask(self, reason: BaseException) -> None:
        """Note the reason, of which the first counts; from now on, an end that takes too long is cut short."""
        if self._reason is not None:
            return
        self._reason = reason
        if self.leave is not None:
            patience = threading.Timer(_PATIENCE_SECONDS, self.leave, [reason])
            patience.daemon = True
            patience.start()

    def tell(self) -> None:
        """Raise the reason in the main thread, from a signal handler; a second signal ends the process at once."""
        now = time.monotonic()
        if self._raised_at is not None and now - self._raised_at < _SAME_SECONDS:
            return
        if self._raised_at is not None and self._reason is not None and self.leave is not None:
            self.leave(self._reason)
        self._raised_at = now
        raise KeyboardInterrupt  # the one exception that Ray's core lets through


_END = _End()


@contextmanager
def command_ends_in_order(leave: Callable[[BaseException], None]) -> Iterator[None]:
    """Raise signals as `KeyboardInterrupt`, or its subclass `Terminated`, while a command runs.

    Args:
        leave: ends the process; called with the reason if the end takes too long, or on a second signal.
    """
    _END.leave = leave if _in_main_thread() else None
    try:
        with interrupts_noticed():
            yield
    finally:
        _END.leave = None


@contextmanager
def interrupts_noticed() -> Iterator[None]:
    """Raise signals as usual, and note them, so that `raise_if_interrupted` can raise those that Ray lost.

    An exception that follows a signal, as when workers are stopped, is replaced by the signal's. What was noted is
    forgotten with the last of such blocks: the next command of a user's own process knows nothing of it.
    """
    _END.forget()
    try:
        with _handled_by(_notice_and_raise):
            try:
                yield
            except BaseException:
                raise_if_interrupted()
                raise
            raise_if_interrupted()
    finally:
        if not _END.num_listening:
            _END.forget()


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Only note signals; the block calls `raise_if_interrupted` where it can be left.

    When Ray is dead, signals are raised, as the block may never come to such a place.
    """

    def notice(number: int, _: Any) -> None:
        _END.ask(_reason_of(number))
        if isinstance(_END.reason, StageError):
            _END.tell()

    with _handled_by(notice):
        yield


@contextmanager
def interrupts_past_ray() -> Iterator[None]:
    """Raise signals during `ray.init` and Train's `fit`, though they replace handlers.

    The operating system writes signals to a socket (a wakeup descriptor), whatever the handlers do.
    """
    if not _in_main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    here, there = socket.socketpair()
    here.setblocking(False)
    there.setblocking(False)
    before = signal.set_wakeup_fd(there.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in _bytes_in(here):
            if number in _SIGNALS:
                _END.ask(_reason_of(number))
        here.close()
        there.close()
        raise_if_interrupted()


def end_command(reason: Exception) -> bool:
    """Raise `reason` in the main thread, as a signal would; may be called from any thread.

    Returns:
        False if no block of this module is running, as between stages that a user's own process runs.
    """
    if not _END.num_listening:
        return False
    _END.ask(reason)
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
    return True


def raise_if_interrupted() -> None:
    """Raise what was noted, if anything: `KeyboardInterrupt`, `Terminated`, or the reason given to `end_command`."""
    reason = _END.reason
    if reason is not None:
        raise reason from None


def _notice_and_raise(number: int, _: Any) -> None:
    _END.ask(_reason_of(number))
    _END.tell()


def _reason_of(number: int) -> KeyboardInterrupt:
    return KeyboardInterrupt() if number == signal.SIGINT else Terminated(signal.Signals(number).name)


@contextmanager
def _handled_by(handler: Callable[[int, Any], None]) -> Iterator[None]:
    if not _in_main_thread():
        yield
        return
    under_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [number for number in _SIGNALS if number != signal.SIGHUP or not under_nohup]
    before = {number: signal.signal(number, handler) for number in numbers}
    _END.num_listening += 1
    try:
        yield
    finally:
        _END.num_listening -= 1
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _bytes_in(end: socket.socket) -> bytes:
    try:
        return end.recv(4096)
    except BlockingIOError:
        return b""
