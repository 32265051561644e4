"""The last lines that workers wrote, kept for the run folder: of a process that was killed nothing else is left.

On every machine Ray publishes what workers write to their standard output and error, a fraction of a second later;
the command listens. So the lines are here when a process is killed, and when its machine is gone with its log files.
Ray's own way of getting logs (`ray.util.state.get_log`) asks the dashboard, and the machine.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from hydra_ray.errors import StageError, UserError
from hydra_ray.storage import Folder

WORKER_LOG = "workers.log"
_LINES = 200  # of each stream
_LETTERS = 1000  # of a line
_STREAMS = 128  # two of each process
_ARRIVAL_SECONDS = 1.0  # between writing a line and its being here


class _Lines:
    """What has arrived: for each stream of a process its last lines; of many streams those written to last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._of: OrderedDict[tuple[str, ...], deque[str]] = OrderedDict()
        self.is_heard = False

    def begin(self) -> None:
        """Forget what was there, as a session begins."""
        with self._lock:
            self._of.clear()
        self.is_heard = True

    def add(self, found: Mapping[str, Any]) -> None:
        """Keep some lines of a process, as Ray publishes them."""
        stream = (str(found["pid"]), found["ip"], "error" if found["is_err"] else "output")
        with self._lock:
            lines = self._of.setdefault(stream, deque(maxlen=_LINES))
            self._of.move_to_end(stream)
            lines.extend(line[:_LETTERS] for line in found["lines"])
            if len(self._of) > _STREAMS:
                self._of.popitem(last=False)

    def __str__(self) -> str:
        with self._lock:
            texts = [
                f"--- process {pid} on {ip}, standard {stream}\n" + "\n".join(lines)
                for (pid, ip, stream), lines in self._of.items()
            ]
        return "".join(f"{text}\n" for text in texts)


_LINES_HERE = _Lines()


@contextmanager
def worker_logs_heard() -> Iterator[None]:
    """Listen to what workers of this session write, until the `with` block ends; Ray is connected.

    In such a block another one changes nothing.
    """
    if _LINES_HERE.is_heard:
        yield
        return
    from ray import _raylet
    from ray._private.worker import global_worker

    _LINES_HERE.begin()
    rays: Any = _raylet  # its types do not say what is in it
    worker: Any = global_worker
    own_job = worker.current_job_id.hex()
    subscriber = rays.GcsLogSubscriber(worker_id=worker.worker_id, address=worker.gcs_client.address)
    subscriber.subscribe()
    ended = threading.Event()

    def listen() -> None:
        with suppress(Exception):  # Ray is gone, which others notice; what has arrived stays
            while not ended.is_set():
                found = subscriber.poll()
                if found is not None and found["job"] == own_job:  # other people's jobs run here too
                    _LINES_HERE.add(found)

    thread = threading.Thread(target=listen, daemon=True, name="worker logs")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        subscriber.close()
        thread.join(_ARRIVAL_SECONDS)
        _LINES_HERE.is_heard = False


def keep_worker_logs(folder: Folder) -> str | None:
    """Write what workers wrote last to a file of the run folder, once the last lines have had time to arrive.

    Returns:
        The file's place; None if there are no workers, they wrote nothing, or the file cannot be written.
    """
    if not _LINES_HERE.is_heard:
        return None
    time.sleep(_ARRIVAL_SECONDS)
    text = str(_LINES_HERE)
    if not text:
        return None
    try:
        folder.write(WORKER_LOG, text.encode())
    except (OSError, UserError):  # on a disk that is full; what failed is what counts
        return None
    return f"{folder}/{WORKER_LOG}"


def say_worker_logs(folder: Folder, say: Callable[[str], None]) -> None:
    """Keep them where work goes on after a failure, and say where they are."""
    kept = keep_worker_logs(folder)
    if kept:
        say(f"what workers wrote last: {kept}")


def with_worker_logs(error: StageError, folder: Folder) -> StageError:
    """The error of a stage that failed, with the place of what its workers wrote last."""
    kept = keep_worker_logs(folder)
    return StageError(f"{error}; what workers wrote last: {kept}") if kept else error
