"""A fault in a stage's real command: one line, the right exit code; the same command again, and the same bits.

The run folder begins as a copy of a finished one without the stage's results and all that come after. It lies on a
small file system of its own, which can be filled and made read-only.
"""

import hashlib
import json
import re
import shutil
import subprocess
import time

import pandas as pd
import pytest
from matrix import FOLDERS, STAGES, Scene, cells
from support import WORKERS, Command, copied, events, leftovers, wait_for

from hydra_ray.inference import CARD

pytestmark = pytest.mark.timeout(900)
_SIZE = "96m"
# files by their own bytes
_NOT_COMPARED = {"seconds", "latency_ms", "created", "checksum", "files", "storage", "local"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own for a run folder."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(place)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def undisturbed(chain, project):
    """Run folder of a chain that nothing happened to."""
    chain.require_success()
    return project / "runs" / "tiny"


@pytest.mark.parametrize(("stage", "fault"), cells())
def test_a_fault_costs_one_line_and_no_bit(stage, fault, undisturbed, chain, small_disk, outcome):
    folder = copied(undisturbed, small_disk)
    forget_from(stage, folder)
    words = [f"pipelines.{stage.name}", *chain.words[1:], f"storage={small_disk}", *WORKERS]

    command, scene = struck(stage, fault, words, folder, chain)
    outcome.line = command.err.strip()
    outcome.seconds = scene.seconds
    require_one_line(command, fault)
    assert scene.seconds < fault.seconds
    wait_for(lambda: not command.own_processes(), 90, "end of all processes")

    if fault.after is not None:
        fault.after(scene)
    again = Command(words, chain.cwd).finish(600)
    outcome.again = again.err.strip()
    again.require_success()
    assert again.err == ""
    assert leftovers(folder) == []
    assert published(folder, stage.folder) == published(undisturbed, stage.folder)


def forget_from(stage, folder):
    """Take away what a stage and those after it have made, and what the record says of them."""
    place = FOLDERS.index(stage.folder)
    for name in FOLDERS[place:]:
        shutil.rmtree(folder / name)
    record = folder / "events.jsonl"
    lines = record.read_text().splitlines(keepends=True)
    known = {each.name for each in STAGES[:place]}
    record.write_text("".join(line for line in lines if json.loads(line)["stage"] in known))


def struck(stage, fault, words, folder, chain):
    """The command that the fault comes to, and the scene afterwards."""
    scene = Scene(stage, folder, Command.__new__(Command))
    if fault.damage is not None:
        fault.damage(scene)
    command = scene.command = Command(words, chain.cwd)
    began = time.monotonic()
    if fault.strike is not None:
        wait_for(lambda: has_come(stage, folder) or not command.is_running, 240, f"event {stage.event}")
        assert command.is_running, f"over before the fault\n{command.finish().err}"
        began = time.monotonic()
        fault.strike(scene)
    command.finish(240)
    scene.seconds = time.monotonic() - began
    return command, scene


def has_come(stage, folder):
    return len(events(folder, stage.name, stage.event)) >= stage.number


def require_one_line(command, fault):
    """The right exit code, and on stderr what the fault is worth."""
    said = f"exit code {command.code}\n{command.out}\n{command.err}"
    assert command.code in fault.codes, said
    assert "Traceback" not in command.out + command.err, said
    if fault.line is None:
        assert command.err == "", said
        return
    assert command.err.count("\n") == 1, said
    assert re.search(fault.line, command.err), said


def published(folder, name):
    """What a stage has published: names of all files, and of those without times in them the bytes.

    Students' cards are not the stage's own: evaluate writes them.
    """
    found = {}
    for path in sorted((folder / name).rglob("*")):
        if path.is_file() and path.name != CARD:
            found[str(path.relative_to(folder))] = contents(path)
    assert found
    return found


def contents(path):
    if path.suffix == ".json":
        return without_times(json.loads(path.read_text()))
    if path.name == "trials.parquet":
        return pd.read_parquet(path).drop(columns="seconds").to_csv()
    is_compared = path.suffix in (".safetensors", ".yaml") or path.name.startswith("part-")
    return hashlib.sha256(path.read_bytes()).hexdigest() if is_compared else "there"


def without_times(tree):
    if isinstance(tree, dict):
        return {key: without_times(value) for key, value in tree.items() if key not in _NOT_COMPARED}
    return tree
