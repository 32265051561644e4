"""The progress channel: workers send their figures to the driver, which logs them.

`ray.train.report` is a barrier over all workers, at which members of different speed would wait, and Train V2 keeps
only rank 0's numbers. So workers put their events into a small actor, and a thread of the driver collects them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from hydra_ray.cluster.channel import Channel, Event
from hydra_ray.cluster.daemons import daemon_death
from hydra_ray.cluster.signals import end_command
from hydra_ray.errors import UserError
from hydra_ray.runs import Stage

_POLL_SECONDS = 0.2
_LAST_SECONDS = 3.0
_TICK_SECONDS = 1.0


class Sender(Protocol):
    """What work sends its events with."""

    def send(self, event: Event, *, wait: bool = False) -> None:
        """Send one; `wait` until it cannot be lost any more, though this process ends."""
        ...


@dataclass(frozen=True)
class LocalSender:
    """Of work in the driver's own process."""

    handle: Callable[[Event], None]

    def send(self, event: Event, *, wait: bool = False) -> None:
        """See `Sender`."""
        self.handle(event)


@dataclass(frozen=True)
class ActorSender:
    """Of work in another process; pickled along with it."""

    channel: Any

    def send(self, event: Event, *, wait: bool = False) -> None:
        """See `Sender`."""
        sent = self.channel.put.remote(event)
        if wait:
            import ray

            ray.get(sent)


@contextmanager
def progress_channel(handle: Callable[[Event], None], name: str | None = None) -> Iterator[ActorSender]:
    """Call `handle` in the driver with every event that workers send, until the `with` block ends.

    The channel is on the driver's machine, so that no other one has to live for it. With a `name`, the session's other
    processes find it by `ray.get_actor(name)`. What `handle` raises is raised again at the end of the block; an error
    that the user can mend, such as a full disk, ends the block at once.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    make: Any = ray.remote(num_cpus=0)(Channel)
    with_the_driver = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    channel: Any = make.options(name=name, scheduling_strategy=with_the_driver).remote()
    stop = threading.Event()
    failures: list[Exception] = []

    def empty() -> None:
        for event in ray.get(channel.take_all.remote()):
            handle(event)

    def watch() -> None:
        try:
            while not stop.wait(_POLL_SECONDS):
                empty()
            empty()
        except Exception as error:
            failures.append(error)
            if isinstance(error, UserError):  # a full disk: better now than after hours of work that nobody records
                end_command(error)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield ActorSender(channel)
    except BaseException:
        stop.set()
        thread.join(_LAST_SECONDS)  # what failed may be Ray itself, which then answers nothing
        if daemon_death() is None:
            ray.kill(channel)
        raise
    stop.set()
    thread.join()
    ray.kill(channel)
    if failures:
        raise failures[0]


class Ticker:
    """Tells the driver how many steps of a fit are done, at most once a second: an event `steps`."""

    def __init__(self, sender: Sender, **facts: Any) -> None:
        """`facts` say in each event whose steps they are."""
        self._sender = sender
        self._facts = facts
        self._last = 0.0

    def __call__(self, done: int, total: int) -> None:
        """See `training.loop.Tick`."""
        now = time.monotonic()
        if now - self._last >= _TICK_SECONDS or done == total:
            self._last = now
            self._sender.send({"event": "steps", "done": done, "total": total, **self._facts})


def log_worker_event(stage: Stage, event: Event) -> bool:
    """Log an event that workers of every stage send: that one has started, or removed a checkpoint; else False."""
    if event["event"] not in ("started", "checkpoint_removed"):
        return False
    stage.event(**event)
    if "text" in event:
        stage.say(event["text"])
    return True
