"""Runs of W&B: one for each stage and each trial of the search, opened here and nowhere else.

When W&B cannot start, an error names the key to change; when it fails later, a line says so once and the work goes on.
The account's key is W&B's own affair: it finds it in WANDB_API_KEY or in the file that NETRC names, and nothing here
reads it.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from hydra_ray.config import TrackingConfig
from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage import Folder, storage_errors

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
_WRITTEN_SECONDS = 10.0
_LOOK_SECONDS = 0.1
_LOOKS = 5


class WandbSink:
    """One W&B run."""

    def __init__(
        self,
        tracking: TrackingConfig,
        *,
        folder: Folder,
        group: str,
        name: str,
        job_type: str,
        wandb_run: str,
        config: Mapping[str, Any],
    ) -> None:
        """Start the run, or go on with it.

        Args:
            tracking: whether the run is sent at once, and to which project.
            folder: of the run; W&B's files are in it, or in `runs/` here until the end where it is not local.
            group: of W&B.
            name: of the W&B run.
            job_type: of the W&B run.
            wandb_run: its ID, unique in the project; a run of this ID is continued.
            config: of the run, or of the trial.

        Raises:
            UserError: W&B does not start.
        """
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        # W&B's own process may have another working directory
        place = Path(folder.path) if folder.is_local else Path("runs").absolute() / folder.name
        self._keep_in = None if folder.is_local else folder / "wandb"
        with storage_errors(str(place)):
            place.mkdir(parents=True, exist_ok=True)
        mode = _mode(tracking)
        wanted = _WANDB_SETTINGS | (_WANDB_ONLINE if mode == "online" else {})
        settings = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
        try:
            with _no_questions(), _variables_of_one_run_hidden():
                self._run = wandb.init(
                    project=tracking.project or os.environ.get("WANDB_PROJECT") or "hydra-ray",
                    group=group,
                    name=name,
                    id=wandb_run,
                    resume="allow",
                    job_type=job_type,
                    dir=str(place),
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
        """End the run; where the run folder is not local, W&B's files are copied there for `wandb sync`."""
        self._attempt(lambda: self._run.finish(exit_code=int(failed)))
        if self._keep_in is not None and not self._failed:
            self._attempt(lambda: _copy(Path(self._run.settings.sync_dir), self._keep_in))

    def _attempt(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:  # whatever W&B does now, the work goes on
            if not self._failed:
                note(error)
            self._failed = True


def _copy(written: Path, target: Folder | None) -> None:
    """Copy a W&B run's files, as soon as W&B's own process has written the last of them."""
    if target is None:
        return
    _wait_until_written(written)
    for path in sorted(path for path in written.rglob("*") if path.is_file()):
        place = target / "/".join(path.relative_to(written.parent).parts[:-1])
        place.write(path.name, path.read_bytes())


def _wait_until_written(folder: Path) -> None:
    """Wait until a folder's files have kept their sizes for a moment; W&B does not say when it is done."""
    until = time.monotonic() + _WRITTEN_SECONDS
    sizes: list[int] = []
    unchanged = 0
    while unchanged < _LOOKS and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
        found = [path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()]
        unchanged = unchanged + 1 if found == sizes else 0
        sizes = found


def note(error: Exception) -> None:
    """Say that W&B failed."""
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
