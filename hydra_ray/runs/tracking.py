"""Metrics logging: always to events.jsonl, as lines to the terminal, and to W&B on request.

The driver process does all of it; workers send it their figures (`cluster/progress.py`). Each stage and each trial is
a W&B run, in one group for the run folder, or for the sweep. When W&B cannot start, an error names the key to change;
when it fails later, a line says so once and the work goes on.
"""

from __future__ import annotations

import io
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from numbers import Real
from pathlib import Path
from typing import Any, Literal

from hydra_ray.config import Config, TrackingConfig, flatten
from hydra_ray.errors import StorageError, UserError, reason_of
from hydra_ray.storage import EventFile, Folder, storage_errors

Listener = Callable[[Mapping[str, Any]], None]
"""Takes an event as events.jsonl has it."""

_QUIET_SECONDS = 5.0
_QUIET_SHARE = 1 / 60  # of a stage's time so far: after an hour a line a minute
_START_OF_LINE = "\r\x1b[2K"  # and the line is empty
# a run folder is a group, its stages are names and job types; WANDB_ENTITY, _TAGS, _NOTES and others stay W&B's
_OF_ONE_RUN = (
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_RESUME_FROM",
    "WANDB_FORK_FROM",
    "WANDB_NAME",
    "WANDB_JOB_TYPE",
    "WANDB_RUN_GROUP",
    "WANDB_SWEEP_ID",
    "WANDB_SWEEP_PARAM_PATH",
)
_WANDB_SETTINGS: dict[str, Any] = {"silent": True, "console": "off"}
_WANDB_ONLINE: dict[str, Any] = {
    "init_timeout": 15,  # seconds; no network is found out soon
    "finish_timeout": 60,  # a network lost meanwhile does not hold the next stage up; `wandb sync` sends the rest
}


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
        self._events = EventFile(folder)
        self._config = config
        here = Path("runs").absolute() / config.name  # W&B's own process may have another working directory
        self._wandb_folder = folder.path if folder.is_local else str(here)

    @contextmanager
    def stage(self, name: str, **facts: Any) -> Iterator[Stage]:
        """Log one stage from `start` to `done` or `failed`; the last event has its seconds."""
        stage = Stage(name, self, self._sink(name))
        began = time.monotonic()
        stage.event("start", **facts)
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

    def trial_sink(self, trial: str, parameters: Mapping[str, Any]) -> WandbSink | None:
        """Open a W&B run for a trial of the search; None where W&B is off or fails."""
        try:
            return self._sink(f"tune/{trial}", parameters)
        except UserError as error:  # the stage's own run did start, so this is W&B failing later
            _note(error)
            return None

    def events(self) -> list[dict[str, Any]]:
        """All events of the run folder, also those of earlier commands."""
        return self._events.read()

    def _sink(self, name: str, parameters: Mapping[str, Any] | None = None) -> WandbSink | None:
        tracking = self._config.tracking
        if tracking.wandb == "off":
            return None
        facts = flatten(parameters if parameters is not None else self._config.model_dump())
        own = self._config.name
        return WandbSink(
            tracking,
            folder=self._wandb_folder,
            group=self._group or own,
            name=f"{own}/{name}" if self._group else name,
            job_type=name.split("/")[0],
            config=facts,
        )


class Stage:
    """What a running stage logs its events, figures and pictures to."""

    def __init__(self, name: str, tracker: Tracker, sink: WandbSink | None) -> None:
        """Made by `Tracker.stage`."""
        self.name = name
        self.tracker = tracker
        self._sink = sink
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


class WandbSink:
    """One W&B run."""

    def __init__(
        self, tracking: TrackingConfig, *, folder: str, group: str, name: str, job_type: str, config: Mapping[str, Any]
    ) -> None:
        """Start the run.

        Raises:
            UserError: W&B does not start.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        with storage_errors(folder):
            Path(folder).mkdir(parents=True, exist_ok=True)
        mode = _mode(tracking)
        wanted = _WANDB_SETTINGS | (_WANDB_ONLINE if mode == "online" else {})
        settings = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
        try:
            with _no_questions(), _variables_of_one_run_hidden():
                self._run = wandb.init(
                    project=tracking.project or os.environ.get("WANDB_PROJECT") or "hydra-ray",
                    group=group,
                    name=name,
                    job_type=job_type,
                    dir=folder,
                    mode=mode,
                    config=dict(config),
                    reinit="create_new",
                    settings=wandb.Settings(**settings),
                )
        except Exception as error:  # wandb raises its own, and others below it
            reason = reason_of(error, 160)
            raise UserError(
                f"tracking.wandb={tracking.wandb}: W&B does not start ({reason}); log in with `wandb login`, "
                "or set tracking.wandb=offline or off"
            ) from None
        self._failed = False

    def log(self, figures: Mapping[str, float]) -> None:
        """Log the figures of one step."""
        self._attempt(lambda: self._run.log(dict(figures)))

    def picture(self, name: str, png: bytes) -> None:
        """Log one picture."""
        self._attempt(lambda: self._run.log({name: _image(png)}))

    def close(self, *, failed: bool = False) -> None:
        """End the run."""
        self._attempt(lambda: self._run.finish(exit_code=int(failed)))

    def _attempt(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever W&B does now, the work goes on
            if not self._failed:
                _note(error)
            self._failed = True


def _note(error: Exception) -> None:
    print(f"  W&B failed, the run goes on without it: {' '.join(str(error).split())}", file=sys.stderr)


def _mode(tracking: TrackingConfig) -> Literal["online", "offline", "disabled"]:
    """The configured mode; WANDB_MODE may send less than the configuration says, never more."""
    asked = os.environ.get("WANDB_MODE", "").lower()
    if asked in ("disabled", "offline", "dryrun"):
        return "disabled" if asked == "disabled" else "offline"
    return "online" if tracking.wandb == "online" else "offline"


@contextmanager
def _variables_of_one_run_hidden() -> Iterator[None]:
    """Hide variables that name one run; otherwise all stages and trials of a command would log into that one."""
    hidden = {name: os.environ.pop(name) for name in _OF_ONE_RUN if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(hidden)


@contextmanager
def _no_questions() -> Iterator[None]:
    """Keep W&B from asking for a key on the terminal, where a chain of stages would wait for the answer."""
    stdin = sys.stdin
    sys.stdin = io.StringIO()
    try:
        yield
    finally:
        sys.stdin = stdin


def _image(png: bytes) -> Any:
    import wandb
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(png)))
