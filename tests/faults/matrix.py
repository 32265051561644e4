"""What is done to which stage: a table of stages, a table of faults, and what must come of each pair.

A fault comes at a named event of events.jsonl while the stage's real command runs, or is done to files before it. What
the test does with a pair is in `test_faults.py`.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from support import Command, processes, wait_for

FOLDERS = ("ensemble", "predictions", "tune", "students", "report")  # in the order in which stages make them
CODES_OF_AN_ERROR = (1, 2)


@dataclass(frozen=True)
class Stage:
    """One stage: when a fault comes to it, and where.

    Attributes:
        name: of the command.
        folder: what it makes; this and what comes after are taken away before it runs.
        event, number: the fault comes at the so-manyth such event.
        workers: command line of its workers.
        reads: a published file that it reads, with the stage that makes that again; none where it reads no results.
        unfinished: files of its attempts, as a pattern; none where an attempt is always begun anew.
    """

    name: str
    folder: str
    event: str
    number: int
    workers: str
    reads: tuple[str, str] | None
    unfinished: str | None


STAGES = [
    Stage("train_ensemble", "ensemble", "epoch", 5, "ray::RayTrainWorker", None, "ensemble/.attempt-*/check*"),
    Stage(
        "predict",
        "predictions",
        "shard",
        2,
        "ray::MapBatches",
        ("ensemble/member-001/model.safetensors", "train_ensemble"),
        "predictions/.attempt-transfer*/part-*",
    ),
    Stage(
        "tune",
        "tune",
        "trial_epoch",
        6,
        "ray::ImplicitFunc",
        ("predictions/transfer/part-001-00000.parquet", "predict"),
        "tune/.attempt-*/trials/*.json",
    ),
    Stage(
        "distill",
        "students",
        "epoch",
        2,
        "ray::RayTrainWorker",
        ("predictions/validation/part-000-00000.parquet", "predict"),
        "students/.attempt-*/phase-*",
    ),
    Stage(
        "evaluate",
        "report",
        "answers",
        1,
        "ray::_measure_cost",
        ("students/hydra/model.safetensors", "distill"),
        None,
    ),
]


@dataclass
class Scene:
    """One cell at work: the stage's command, its run folder, and the file that was damaged."""

    stage: Stage
    folder: Path
    command: Command
    damaged: list[Path] = field(default_factory=list)


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        name: as the table has it.
        strike: done to the scene at the stage's event; none for what is done to files before the command.
        codes: exit codes that are right for the command it strikes.
        line: what its one line on stderr must hold; none where nothing is to be said.
        seconds: until the command has ended, on a busy machine; where files are damaged before, all of it.
        damage: done to files before the command runs.
        after: done to files after the command, before it is started again.
        suits: which stages it can happen to.
    """

    name: str
    strike: Callable[[Scene], None] | None
    codes: tuple[int, ...]
    line: str | None
    seconds: float = 120
    damage: Callable[[Scene], None] | None = None
    after: Callable[[Scene], None] | None = None
    suits: Callable[[Stage], bool] = lambda stage: True


def kill(daemon: str = "") -> Callable[[Scene], None]:
    """SIGKILL to one of Ray's daemons, by its command line, or to a worker of the stage as soon as there is one."""

    def strike(scene: Scene) -> None:
        title = daemon or scene.stage.workers
        wait_for(lambda: processes(scene.command.mark, title) or not scene.command.is_running, 20, f"process {title}")
        found = processes(scene.command.mark, title)
        assert found, f"no process {title}"
        os.kill(found[0], signal.SIGKILL)

    return strike


def send(number: signal.Signals) -> Callable[[Scene], None]:
    return lambda scene: scene.command.send(number)


def power_cut(scene: Scene) -> None:
    """SIGKILL to all there is, so that no worker finishes in its last seconds what is to be cut."""
    scene.command.send(signal.SIGKILL)
    for pid in scene.command.own_processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def fill(scene: Scene) -> None:
    """Not a byte is left where the run folder is."""
    with (scene.folder.parent / "filler").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def make_space(scene: Scene) -> None:
    (scene.folder.parent / "filler").unlink()


def make_writable(scene: Scene) -> None:
    subprocess.run(["mount", "-o", "remount,rw", str(scene.folder.parent)], check=True)


def read_only(scene: Scene) -> None:
    """As a file system does it after an error: at once, whoever is writing; it is asked again while a file is open."""
    words = ["mount", "-o", "remount,ro", str(scene.folder.parent)]
    wait_for(lambda: subprocess.run(words, capture_output=True, check=False).returncode == 0, 20, "a read-only disk")


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def flip_what_is_read(scene: Scene) -> None:
    assert scene.stage.reads is not None
    scene.damaged = [scene.folder / scene.stage.reads[0]]
    flip(scene.damaged[0])


def make_again(scene: Scene) -> None:
    """What the line says: delete the folder; then the stage that makes it."""
    said = re.search(r"delete (\S+) ", scene.command.err)
    assert said, f"no way out in: {scene.command.err}"
    folder = (scene.command.cwd / said[1]).resolve()
    assert scene.damaged[0].is_relative_to(folder)
    assert folder.is_relative_to(scene.folder.resolve())
    shutil.rmtree(folder)
    assert scene.stage.reads is not None
    words = [f"pipelines.{scene.stage.reads[1]}", *scene.command.words[1:]]
    Command(words, scene.command.cwd).finish().require_success()


def cut_what_is_unfinished(scene: Scene) -> None:
    """Half of the newest file."""
    found = [path for path in scene.folder.glob(scene.stage.unfinished or "") if path.is_file()]
    assert found, f"nothing like {scene.stage.unfinished}"
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    os.truncate(newest, newest.stat().st_size // 2)


def cut_events(scene: Scene) -> None:
    """Half of the last line of the record is gone."""
    path = scene.folder / "events.jsonl"
    os.truncate(path, path.stat().st_size - 20)


AGAIN = "the same command"
FAULTS = [
    Fault("worker killed", kill(), (0,), None),
    Fault("driver killed", send(signal.SIGKILL), (-signal.SIGKILL,), None),
    Fault("raylet killed", kill("raylet/raylet"), (1,), f"Ray's raylet died .*{AGAIN}", 60),
    Fault("GCS killed", kill("gcs_server"), (1,), f"Ray's (GCS|raylet) died .*{AGAIN}", 60),
    Fault("SIGTERM", send(signal.SIGTERM), (143,), f"^terminated; {AGAIN}", 30),
    Fault("disk full", fill, CODES_OF_AN_ERROR, "[Nn]o space left.* goes on from it$", after=make_space),
    Fault("read-only", read_only, CODES_OF_AN_ERROR, "[Rr]ead-only.* another place$", after=make_writable),
    Fault(
        "flipped bit",
        None,
        (2,),
        r"delete \S+ to have it (made|predicted) again$",
        240,
        damage=flip_what_is_read,
        after=make_again,
        suits=lambda stage: stage.reads is not None,
    ),
    Fault(
        "cut attempt",
        power_cut,
        (-signal.SIGKILL,),
        None,
        after=cut_what_is_unfinished,
        suits=lambda stage: stage.unfinished is not None,
    ),
    Fault("cut events", send(signal.SIGKILL), (-signal.SIGKILL,), None, after=cut_events),
]
IN_EVERY_TEST_RUN = {("predict", "raylet killed"), ("distill", "SIGTERM"), ("evaluate", "disk full")}


def cells() -> list:
    """Every pair that can happen, as parameters; most are marked, and left out of an ordinary run."""
    found = []
    for stage in STAGES:
        for fault in FAULTS:
            if fault.suits(stage):
                is_cheap = (stage.name, fault.name) in IN_EVERY_TEST_RUN
                marks = [] if is_cheap else [pytest.mark.faults]
                name = f"{stage.name}-{fault.name.replace(' ', '_')}"
                found.append(pytest.param(stage, fault, marks=marks, id=name))
    return found
