"""Disks that are full, read-only or broken: one line with the place and the way out, and nothing half-written."""

import errno
import os
import pickle

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from helpers.records import config

from hydra_ray.errors import StorageError, UserError, reason_of
from hydra_ray.runs.tracking import Tracker
from hydra_ray.storage.events import EventFile
from hydra_ray.storage.failures import as_storage_error, storage_errors
from hydra_ray.storage.folder import Folder

NUMBERS = [
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
    errno.EIO,
    errno.EFBIG,
    errno.ESTALE,
]
each_number = pytest.mark.parametrize("number", NUMBERS, ids=errno.errorcode.get)


class Failing(MemoryFileSystem):
    """fsspec's memory whose writes fail, as a disk's do."""

    number = errno.ENOSPC
    cachable = False

    def _open(self, path, mode="rb", **options):
        if mode != "rb":
            raise OSError(self.number, os.strerror(self.number), path)
        return super()._open(path, mode, **options)


def failing(number) -> Folder:
    fs = Failing()
    fs.number = number
    return Folder(pafs.PyFileSystem(pafs.FSSpecHandler(fs)), "/disk/run")


def line_of(call) -> str:
    with pytest.raises(StorageError) as raised:
        call()
    text = str(raised.value)
    assert "\n" not in text
    assert isinstance(raised.value, UserError)
    return text


@each_number
def test_each_failure_of_a_disk_is_one_line(number):
    folder = failing(number)
    text = line_of(lambda: folder.write("a.json", b"x"))
    assert text.startswith(f"{folder}/a.json: ")
    assert os.strerror(number) in text
    assert text.count(": ") >= 2


@each_number
def test_numbers_in_the_text_of_pyarrow_count_too(number):
    error = pa.ArrowInvalid(f"Error writing bytes to file. Detail: [errno {number}] {os.strerror(number)}")
    assert as_storage_error(error, "runs/x") is not None


@pytest.mark.parametrize("error", [FileNotFoundError(2, "gone"), ValueError("wrong"), OSError("quite another thing")])
def test_what_is_not_about_the_storage_goes_through(error):
    with pytest.raises(type(error)) as raised, storage_errors("runs/x"):
        raise error
    assert raised.value is error


@pytest.fixture
def small_files():
    """No file may grow beyond 64 kB, in this process: a disk that is full in the middle of a file."""
    import resource
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_while_a_file_is_written(tmp_path, small_files):
    folder = Folder.open(str(tmp_path / "run"))
    folder.write("a.bin", b"old")
    table = pa.table({"x": pa.array(os.urandom(1) for _ in range(200_000))})

    def write_table():
        with folder.writing("a.bin") as stream:
            pq.write_table(table, stream)

    for call in (lambda: folder.write("a.bin", bytes(1 << 20)), write_table):
        assert "File too large" in line_of(call)
        assert folder.read("a.bin") == b"old", "what is there is kept"
        assert os.listdir(tmp_path / "run") == ["a.bin"], "and nothing else is left"


def test_an_event_that_does_not_fit_is_one_line_and_costs_no_later_one(tmp_path, small_files):
    folder = Folder.open(str(tmp_path / "run"))
    events = EventFile(folder)
    events.append({"stage": "a", "event": "start"})
    text = line_of(lambda: events.append({"stage": "a", "event": "long", "text": "x" * (1 << 17)}))
    assert text.startswith(f"{folder}/events.jsonl: ")
    with open(tmp_path / "run" / "events.jsonl", "r+b") as file:
        file.truncate(200)  # somebody makes room
    events.append({"stage": "a", "event": "done"})
    assert [event["event"] for event in EventFile(folder).read()] == ["start", "done"]


def test_a_stage_on_a_full_disk_says_why_it_failed(tmp_path, monkeypatch):
    tracker = Tracker(Folder.open(str(tmp_path / "run")), config())

    def full(self, line):
        raise StorageError("runs/x/events.jsonl: No space left on device")

    def fail():
        with tracker.stage("predict"):
            monkeypatch.setattr(EventFile, "_append_locally", full)
            raise StorageError("runs/x/predictions: No space left on device: make room there")

    assert line_of(fail).startswith("runs/x/predictions: ")


def test_it_survives_the_way_from_a_worker():
    assert str(pickle.loads(pickle.dumps(StorageError("runs/x: full")))) == "runs/x: full"


def test_a_long_reason_keeps_its_end_which_says_why():
    error = OSError(f"[Errno 30] Cannot delete directory '{'x' * 300}'. Detail: [errno 30] Read-only file system")
    assert reason_of(error).startswith("[Errno 30] Cannot delete")
    assert reason_of(error).endswith("Read-only file system")
