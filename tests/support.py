"""What tests of whole runs share: commands in processes of their own, the record of a run, processes by /proc."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hydra_ray.config.load import load_config
from hydra_ray.config.tree import Config

MARK = "HYDRA_TEST_MARK"
TESTS = Path(__file__).parent
REPO = TESTS.parent
TINY = TESTS / "recipes" / "tiny.yaml"
DATA = Path(os.environ.get("HYDRA_RAY_DATA", REPO.parent / "shared" / "data")).absolute()
"""Real data sets, which are no part of the repository."""
WORKERS = ("cluster.local=false",)
"""What makes Ray's workers of work that is little enough for the command's own process."""
TWO_WORKERS = (*WORKERS, "cluster.num_workers=2")
NEEDS_DATA = pytest.mark.skipif(not DATA.is_dir(), reason=f"no {DATA}: real data sets are not here")


def tiny(storage: Path, *overrides: str) -> Config:
    """The tiny recipe with its run folder under `storage`."""
    return load_config(TINY, [f"storage={storage}", *overrides])


def events(folder: Path, stage: str | None = None, event: str | None = None) -> list[dict]:
    """Events of a run folder, in order."""
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    found = [json.loads(line) for line in lines if line.endswith("}")]
    return [each for each in found if stage in (None, each["stage"]) and event in (None, each["event"])]


def leftovers(folder: Path) -> list[str]:
    """Files and folders that a finished run has no use for."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def copied(run_folder: Path, storage: Path) -> Path:
    """A copy of a run folder under another storage, to do something else with."""
    return Path(shutil.copytree(run_folder, storage / run_folder.name))


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Until `condition()` holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def processes(mark: str, title: str = "") -> list[int]:
    """Process ids of those that were started under a mark (`MARK` in their environment), by their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            command, environment = _read(entry / "cmdline"), _read(entry / "environ")
            if command and title in command and f"{MARK}={mark}" in environment:
                found.append(int(entry.name))
    return found


def kill_a_train_worker() -> None:
    """SIGKILL to a Ray Train worker of the tests' own session."""
    os.kill(processes(os.environ[MARK], "ray::RayTrainWorker")[0], signal.SIGKILL)


@contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[None]:
    """`act()` in a thread of its own beside a `with` block, which ends when both are over."""
    with ThreadPoolExecutor(1) as thread:
        acting = thread.submit(act)
        yield
        acting.result()


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:
        return ""


@dataclass
class Command:
    """`python -m pipelines...` in a process group of its own, its processes known by a mark in their environment."""

    words: list[str]
    cwd: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", *self.words],
            cwd=self.cwd,
            env=inherited | {"PYTHONPATH": str(REPO), MARK: self.mark} | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._began = time.monotonic()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """To the driver alone."""
        self._process.send_signal(number)

    def interrupt(self) -> None:
        """As Ctrl-C does: to the whole process group."""
        os.killpg(self._process.pid, signal.SIGINT)

    def finish(self, timeout: float = 300) -> "Command":
        """Wait for the end."""
        try:
            self.out, self.err = self._process.communicate(timeout=timeout)
        finally:
            self._process.kill()
        self.code = self._process.returncode
        self.seconds = time.monotonic() - self._began
        return self

    def require_success(self) -> "Command":
        assert self.code == 0, f"exit code {self.code}\n{self.out}\n{self.err}"
        return self

    def own_processes(self) -> list[int]:
        """Whatever this command started and that still runs."""
        return processes(self.mark)
