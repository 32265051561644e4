"""The lock of a run folder: `owner.json` with a heartbeat, so that two commands never write to one run at a time.

A command locks the folder before it writes, renews its heartbeat every few seconds, and releases the folder at its end,
however it ends. If it was killed, its process is gone or its heartbeat stops, and the next command takes over. Locally
the file is created atomically; an object store cannot do that, so there it is written and read back. Artifacts carry a
`Fence`: a command that has lost the folder publishes nothing more.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from hydra_ray.errors import StorageError, UserError
from hydra_ray.storage.failures import FAILURES
from hydra_ray.storage.folder import Folder

OWNER = "owner.json"
STALE_SECONDS = 60.0
_HEARTBEAT_SECONDS = 5.0
_WATCH_SECONDS = 12.0  # an old heartbeat is looked at this long before it counts: clocks of two machines may differ
_SETTLE_SECONDS = 1.0  # after it every other writer of the same moment has written, and the last one stands
_POLL_SECONDS = 2.0
_SECONDS_BETWEEN_LINES = 60.0
_UNANSWERED = (*FAILURES, StorageError)
_GONE_STATES = "ZX"  # of a process that has ended and is only remembered


@dataclass(frozen=True)
class Owner:
    """The content of owner.json: who holds a run folder.

    Attributes:
        attempt: unique name of this lock.
        host, pid, command: the process that holds the folder.
        machine: boot and pid namespace; a pid can be looked up only where they are the same.
        process_start: when the process started, in ticks since the boot; pids are used again.
        started, heartbeat: in seconds since 1970, by the owner's clock.
    """

    host: str
    pid: int
    command: str
    machine: str
    process_start: str
    started: float
    heartbeat: float
    attempt: str = field(default_factory=lambda: uuid.uuid4().hex[:12])

    @classmethod
    def here(cls, command: str) -> Owner:
        """An owner that is this process."""
        now = time.time()
        pid = os.getpid()
        return cls(platform.node(), pid, command[:200], _machine(), _process_start(pid), now, now)

    @property
    def has_ended(self) -> bool:
        """Whether its process ran on this machine and has ended."""
        return self.machine == _machine() != "" and _process_start(self.pid) != self.process_start

    def __str__(self) -> str:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.started))
        silent = max(0, round(time.time() - self.heartbeat))
        return f"`{self.command}` (host {self.host}, pid {self.pid}, since {since}, last heartbeat {silent} s ago)"


@dataclass(frozen=True)
class Fence:
    """A command's proof that it holds a run folder; artifacts carry it to workers.

    Attributes:
        folder: of the run.
        attempt: name of the command's lock.
    """

    folder: Folder
    attempt: str

    def check(self) -> None:
        """Check that the command still holds the folder.

        Raises:
            UserError: another command has taken it over, or owner.json was deleted.
        """
        owner = read_owner(self.folder)
        if owner is None or owner.attempt != self.attempt:
            other = f"taken over by {owner}" if owner else f"no longer this command's: {OWNER} is gone"
            raise UserError(f"{self.folder}: {other}; nothing more is published by this one, start it again")


@contextmanager
def owned(folder: Folder, *, wait: bool = False, command: str | None = None) -> Iterator[Fence]:
    """Hold the lock of a run folder for the length of a `with` block.

    Args:
        folder: of the run.
        wait: whether to wait for another command to end, rather than fail; a line a minute says for which.
        command: what to tell other commands; None for this process's command line.

    Raises:
        UserError: another command works in the folder.
    """
    words = command or " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    lease = _Lease(folder, Owner.here(words))
    lease.take(wait)
    try:
        with lease.beating():
            yield Fence(folder, lease.owner.attempt)
    finally:
        lease.give_back()


def read_owner(folder: Folder) -> Owner | None:
    """The owner of a run folder; None if there is none, or owner.json cannot be understood."""
    found = folder.read_json(OWNER)
    try:
        return Owner(**found) if isinstance(found, dict) else None
    except TypeError:
        return None


class _Lease:
    def __init__(self, folder: Folder, owner: Owner) -> None:
        self._folder = folder
        self.owner = owner

    def take(self, wait: bool) -> None:
        told_at = -_SECONDS_BETWEEN_LINES
        while (holder := self._try()) is not None:
            if not wait:
                raise UserError(f"{self._folder}: {holder} works there; stop it, or wait for its end with --wait")
            if time.monotonic() - told_at >= _SECONDS_BETWEEN_LINES:
                print(f"waiting for {holder}, which works in {self._folder}", flush=True)
                told_at = time.monotonic()
            time.sleep(_POLL_SECONDS)

    def _try(self) -> Owner | None:
        """Lock the folder, or return who holds it."""
        if self._create():
            return None
        holder = read_owner(self._folder)
        if holder is not None:
            reason = _why_stale(self._folder, holder)
            if reason is None:
                return holder
            print(f"{self._folder}: taken over from {holder}: {reason}", flush=True)
        self._write(time.time())
        time.sleep(_SETTLE_SECONDS)
        found = read_owner(self._folder)
        return None if found is None or found.attempt == self.owner.attempt else found

    def _create(self) -> bool:
        """Create owner.json atomically where the file system can, so that of two commands one fails."""
        if not self._folder.is_local:
            return False
        hidden = f".{OWNER}.{self.owner.attempt}"
        self._folder.write(hidden, self._content(time.time()))
        try:
            os.link(f"{self._folder.path}/{hidden}", f"{self._folder.path}/{OWNER}")
        except OSError:  # it is there, or this file system knows no links: then it is written and read back
            return False
        finally:
            self._folder.delete(hidden)
        return True

    def _write(self, now: float) -> None:
        self._folder.write(OWNER, self._content(now))

    def _content(self, now: float) -> bytes:
        return (json.dumps(asdict(replace(self.owner, heartbeat=now)), indent=1) + "\n").encode()

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Renew the heartbeat every few seconds, from a thread."""
        ended = threading.Event()
        thread = threading.Thread(target=self._beat, args=(ended,), daemon=True, name="heartbeat")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(_HEARTBEAT_SECONDS):
            try:
                if not self._is_held():
                    return
                self._write(time.time())
            except _UNANSWERED:  # the next one may come through; publishing asks the storage itself
                continue

    def _is_held(self) -> bool:
        found = read_owner(self._folder)
        return found is not None and found.attempt == self.owner.attempt

    def give_back(self) -> None:
        try:
            if self._is_held():
                self._folder.delete(OWNER)
        except _UNANSWERED:  # what ended the command is the news; this ownership goes stale by itself
            return


def _why_stale(folder: Folder, holder: Owner) -> str | None:
    """Why an owner no longer holds the folder; None if it does."""
    if holder.has_ended:
        return "its process is gone"
    if abs(time.time() - holder.heartbeat) < STALE_SECONDS:
        return None
    time.sleep(_WATCH_SECONDS)
    return None if read_owner(folder) != holder else "its heartbeat stands still"


def _machine() -> str:
    """Boot and pid namespace of this machine; empty if unknown, and then the heartbeat alone counts."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """When a process started, in ticks since the boot; empty if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] in _GONE_STATES else fields[19]
