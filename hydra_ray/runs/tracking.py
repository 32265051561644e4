"""Metrics logging: always to events.jsonl, as lines to the terminal, and to W&B on request.

The driver process does all of it; workers send it their figures (`cluster/progress.py`). Each stage and each trial is
a W&B run (`wandb_runs.py`), in one group for the run folder, or for the sweep; a command that goes on with an
interrupted stage goes on with its W&B run.
"""

from __future__ import annotations

import shutil
import sys
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Real
from typing import Any

from hydra_ray.config import Config, flatten
from hydra_ray.errors import StorageError, UserError
from hydra_ray.runs.wandb_runs import WandbSink, note
from hydra_ray.storage import EventFile, Folder

Listener = Callable[[Mapping[str, Any]], None]
"""Takes an event as events.jsonl has it."""

_QUIET_SECONDS = 5.0
_QUIET_SHARE = 1 / 60  # of a stage's time so far: after an hour a line a minute
_START_OF_LINE = "\r\x1b[2K"  # and the line is empty


class Tracker:
    """Logs what happens in one run folder."""

    def __init__(
        self, folder: Folder, config: Config, listener: Listener | None = None, *, group: str | None = None
    ) -> None:
        """Opens nothing yet.

        Args:
            folder: of the run.
            config: of the run.
            listener: called with each event, and nothing is printed; None to print lines.
            group: name of the sweep that the run is one of, which then is W&B's group.
        """
        self._group = group
        self._has_line = False
        self._listener = listener
        self._observers: list[Listener] = []
        self._folder = folder
        self._events = EventFile(folder)
        self._config = config

    def sign(self, attempt: str, **facts: Any) -> None:
        """Say in every line from now on which command writes it: `attempt` as in owner.json, and further facts."""
        self._events.sign(attempt, facts)

    def observe(self, observer: Listener) -> None:
        """Call `observer` too with every event, also with those that are no line of events.jsonl (`tell`)."""
        self._observers.append(observer)

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[Stage]:
        """Log one stage from `start` to `done` or `failed`; the last event has its seconds.

        Args:
            name: of the stage.
            facts: for the event `start`; among them `makes`, the lineages of the results that are missing.
        """
        wandb_run = None if self._config.tracking.wandb == "off" else self._wandb_run(name, facts.get("makes") or ())
        stage = Stage(name, self, None if wandb_run is None else self.open_wandb(name, wandb_run), wandb_run)
        began = time.monotonic()
        stage.event("start", **facts, **({} if wandb_run is None else {"wandb": wandb_run}))
        try:
            yield stage
        except BaseException as error:
            seconds = round(time.monotonic() - began, 3)
            with suppress(StorageError):  # a disk that is full takes no event either; why it failed is what counts
                stage.event("failed", error=f"{type(error).__name__}: {error}"[:500], seconds=seconds)
            stage.close(failed=True)
            raise
        stage.event("done", seconds=round(time.monotonic() - began, 3))
        stage.close()

    def record(self, stage: str, event: str, /, **facts: Any) -> None:
        """Log one event, e.g. that a stage was skipped."""
        self._events.append({"stage": stage, "event": event, **facts})
        if self._listener is not None:
            self._listener({"stage": stage, "event": event, **facts})
        self.tell(stage, event, **facts)

    def tell(self, stage: str, event: str, /, **facts: Any) -> None:
        """Tell observers of an event that is not worth a line, such as a step."""
        for observer in self._observers:
            observer({"stage": stage, "event": event, **facts})

    def say(self, line: str) -> None:
        """Print a line, unless somebody listens to the events."""
        if self._listener is None:
            self.clear_line()
            print(line, flush=True)

    @property
    def has_terminal(self) -> bool:
        """Whether lines are printed on a terminal, where one of them can move."""
        return self._listener is None and sys.stdout.isatty()

    def move_line(self, line: str) -> None:
        """Show a line on the terminal in the place of the one that was shown so before."""
        width = shutil.get_terminal_size().columns - 1
        print(f"{_START_OF_LINE}{line[:width]}", end="", flush=True)
        self._has_line = True

    def clear_line(self) -> None:
        """Take the moving line away."""
        if self._has_line:
            print(_START_OF_LINE, end="", flush=True)
        self._has_line = False

    def events(self) -> list[dict[str, Any]]:
        """All events of the run folder, also those of earlier commands."""
        return self._events.read()

    def _wandb_run(self, stage: str, makes: Collection[str]) -> str:
        """ID of the W&B run of an earlier command that did not finish this work, or a new one."""
        latest: Mapping[str, Any] = {}
        for event in self.events():
            if event.get("stage") != stage:
                continue
            if event["event"] == "start":
                latest = event
            elif event["event"] in ("done", "skipped"):
                latest = {}
        goes_on = set(makes) & set(latest.get("makes") or ())
        return (latest.get("wandb") if goes_on else None) or uuid.uuid4().hex[:12]

    def open_wandb(self, name: str, wandb_run: str, parameters: Mapping[str, Any] | None = None) -> WandbSink:
        """Open a W&B run, or the one of this ID again.

        Args:
            name: of the stage, or of the stage and the trial.
            wandb_run: its ID.
            parameters: of the trial; None for the whole configuration.

        Raises:
            UserError: W&B does not start.
        """
        own = self._config.name
        return WandbSink(
            self._config.tracking,
            folder=self._folder,
            group=self._group or own,
            name=f"{own}/{name}" if self._group else name,
            job_type=name.split("/")[0],
            wandb_run=wandb_run,
            config=flatten(self._config.model_dump() if parameters is None else parameters),
        )


class Stage:
    """What a running stage logs its events, figures and pictures to."""

    def __init__(self, name: str, tracker: Tracker, sink: WandbSink | None, wandb_run: str | None) -> None:
        """Made by `Tracker.stage`."""
        self.name = name
        self.tracker = tracker
        self._sink = sink
        self._wandb_run = wandb_run
        self._last_line = 0.0
        self._began = time.monotonic()

    def event(self, event: str, **facts: Any) -> None:
        """Log an event: one line in events.jsonl."""
        self.tracker.record(self.name, event, **facts)

    def figures(self, event: str, series: str = "", **facts: Any) -> None:
        """Log an event, and its numbers to W&B, as `series/name` where a stage has several curves."""
        self.event(event, **facts)
        if self._sink is not None:
            prefix = f"{series}/" if series else ""
            self._sink.log({prefix + key: float(value) for key, value in facts.items() if isinstance(value, Real)})

    def tell(self, event: str, **facts: Any) -> None:
        """See `Tracker.tell`."""
        self.tracker.tell(self.name, event, **facts)

    def trial_sink(self, trial: str, parameters: Mapping[str, Any]) -> WandbSink | None:
        """Open a W&B run for a trial of the search; None where W&B is off or fails."""
        if self._wandb_run is None:
            return None
        wandb_run = f"{self._wandb_run}-{trial.replace('/', '-')}"
        try:
            return self.tracker.open_wandb(f"{self.name}/{trial}", wandb_run, parameters)
        except UserError as error:  # the stage's own run did start, so this is W&B failing later
            note(error)
            return None

    def picture(self, name: str, png: bytes) -> None:
        """Log a picture to W&B."""
        if self._sink is not None:
            self._sink.picture(name, png)

    def say(self, line: str) -> None:
        """Print a line."""
        self._last_line = time.monotonic()
        self.tracker.say(f"  {line}")

    def show(self, line: str) -> None:
        """How far the stage is: a line that moves on a terminal; elsewhere one now and then, the longer the rarer."""
        if self.tracker.has_terminal:
            self.tracker.move_line(f"  {line}")
            return
        now = time.monotonic()
        if now - self._last_line > max(_QUIET_SECONDS, (now - self._began) * _QUIET_SHARE):
            self.say(line)

    def close(self, *, failed: bool = False) -> None:
        """Take the moving line away, and end the W&B run."""
        self.tracker.clear_line()
        if self._sink is not None:
            self._sink.close(failed=failed)
