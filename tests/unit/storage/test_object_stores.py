"""What a store is asked: each byte once, no copies, again where it is busy; nothing is left of failed uploads."""

import gc
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from helpers.s3 import BUCKET

import hydra_ray
from hydra_ray.data.split_files import Place
from hydra_ray.errors import StorageError, UserError
from hydra_ray.shards import Shards, load, read_shard
from hydra_ray.shards.schema import rows_table, with_logits, write_shard
from hydra_ray.storage import Artifact, Folder, WrittenFile
from hydra_ray.storage.opening import options_of
from hydra_ray.storage.retrying import _Store

MB = 1 << 20
KINDS = {  # kind of request -> a call that makes it
    "put": lambda folder: folder.write("new", b"1"),
    "get": lambda folder: folder.read("a"),
    "head": lambda folder: folder.exists(),
    "list": lambda folder: folder.files(),
    "delete": lambda folder: folder.delete("a"),
    "delete_many": lambda folder: folder.remove(),
    "copy": lambda folder: (folder.parent / "copy").take_file("a", folder),
    "start_upload": lambda folder: folder.write("large", bytes(12 * MB)),
    "part": lambda folder: folder.write("large", bytes(12 * MB)),
    "complete": lambda folder: folder.write("large", bytes(12 * MB)),
}


@pytest.fixture
def folder(s3):
    """A folder with a file, whose client does not repeat anything itself."""
    opened = Folder.open(f"s3://{BUCKET}/runs/x")
    once = pafs.AwsStandardS3RetryStrategy(max_attempts=1)
    found = Folder(pafs.S3FileSystem(**options_of(opened.fs), retry_strategy=once), opened.path)
    found.write("a", b"content")
    s3.requests.clear()
    return found


@pytest.fixture
def no_patience(monkeypatch):
    monkeypatch.setattr("hydra_ray.storage.retrying._MOST_SECONDS", 0.2)
    monkeypatch.setattr("hydra_ray.storage.retrying._MOST_SECONDS_AT_FIRST", 0.2)
    monkeypatch.setattr("hydra_ray.storage.uploads._ATTEMPTS_A_PART", 1)


# publishing


def shards_of(place: Folder, members: str = "abc") -> Shards:
    return Shards(place / "predictions" / "test", {"split": "test", "members": list(members)}, members=tuple(members))


def publish_shards(place: Folder) -> tuple[Shards, int]:
    """Two shards; the bytes of both."""
    shards = shards_of(place)
    written = {}
    for part in range(2):
        rows = np.arange(50) + 50 * part
        table = rows_table(rows, 0, np.ones((50, 4), np.float32), rows % 3)
        table = with_logits(table, np.zeros((50, 3, 3), np.float32))
        footer = {"split": "test", "members": [{"id": name, "fingerprint": name} for name in "abc"]}
        written[f"part-{part}.parquet"] = write_shard(shards.attempt, f"part-{part}.parquet", table, footer)
    shards.publish({"rows": 100}, written=written)
    return shards, sum(file.bytes for file in written.values())


def test_a_shard_is_written_once_and_never_copied_moved_or_read_to_be_published(s3, folder):
    shards, size = publish_shards(folder)
    counts = s3.counts()
    assert counts["put"] == 2 + 2, "two shards, the manifest beside them and the one that makes them count"
    assert not {"copy", "delete", "delete_many", "start_upload"} & counts.keys()
    assert size < s3.bytes_written() < size + 4000
    read = [request.key for request in s3.requests if request.kind == "get"]
    assert [key for key in read if key.endswith(".parquet")] == []
    assert sum(counts.values()) < 16, counts
    assert shards.is_done
    assert len(load(shards.files)) == 100


def test_those_who_read_a_folder_of_shards_find_them(folder):
    shards, _ = publish_shards(folder)
    assert hydra_ray.verify_shards(str(shards.folder))["num_rows"] == 100
    assert len(read_shard(shards.files, "part-1.parquet")) == 50
    found = Place(folder / "predictions", None, "predict.shards").files_of("test")
    assert found == [f"{shards.files.path}/part-{part}.parquet" for part in range(2)]


def test_a_result_gives_way_to_the_next_in_one_request(s3, folder):
    publish_shards(folder)
    stored = {key for key in s3.objects if key.endswith(".parquet")}
    other = shards_of(folder, "xyz")
    other.publish_files({}, {"part-0.parquet": b"new"})
    assert other.read("part-0.parquet") == b"new"
    assert not stored & s3.objects.keys(), "what was there before is deleted, when the new one counts"
    keys = [request.key for request in s3.requests if request.kind == "put" and request.body]
    assert keys[-1] == f"{other.folder.path}/manifest.json".removeprefix(f"{BUCKET}/")


# uploads that fail


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("kind", ["start_upload", "part", "second part"])
def test_an_upload_that_fails_half_way_leaves_nothing(s3, folder, kind):
    content = os.urandom(25 * MB)
    if kind == "second part":
        s3.fail_after("part", 1)
    s3.fail(kind.split()[-1], 403, times=1)
    with pytest.raises(StorageError, match=r"large: .*ACCESS_DENIED.*: check the credentials"):
        folder.write("large", content)
    gc.collect()
    assert s3.uploads == {}
    assert folder.files() == {"a": 7}
    folder.write("large", content)
    assert folder.read("large") == content


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("size", [0, 1000, 10 * MB - 1, 10 * MB])
@pytest.mark.parametrize("kind", ["put", "start_upload"])
def test_what_was_there_survives_a_write_that_fails(s3, folder, kind, size):
    if (kind == "put") != (size < 10 * MB):
        pytest.skip("not asked for that size")
    s3.fail(kind, 403)
    with pytest.raises(StorageError):
        folder.write("a", bytes(size))
    gc.collect()
    assert folder.read("a") == b"content"
    folder.write("a", bytes(size))
    assert folder.files() == {"a": size}


@pytest.mark.parametrize("size", [0, 10 * MB - 1, 10 * MB, 10 * MB + 1, 20 * MB])
def test_files_of_any_size_come_back(s3, folder, size):
    content = os.urandom(size)
    s3.requests.clear()
    assert WrittenFile.write(folder, "b", pa.py_buffer(content)).bytes == size
    assert folder.read("b") == content
    assert s3.counts().get("get", 0) <= 1
    with folder.open_file("b") as file:
        file.seek(max(0, size - 3))
        assert file.read() == content[-3:]
    assert s3.uploads == {}


# stores that are busy


@pytest.mark.parametrize("how", [500, 503, "reset", "half"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_call_is_made_again_while_it_may_pass(s3, folder, monkeypatch, kind, how):
    if (kind, how) == ("head", "half"):
        pytest.skip("such an answer has no body")
    monkeypatch.setattr("hydra_ray.storage.retrying._FIRST_PAUSE", 0.01)
    monkeypatch.setattr("hydra_ray.storage.retrying._LONGEST_PAUSE", 0.1)
    s3.fail(kind, how, times=3)
    KINDS[kind](folder)
    assert s3.counts()[kind] > 3
    assert s3.uploads == {}


def test_a_store_that_says_nothing_for_a_while(s3, folder):
    once = pafs.AwsStandardS3RetryStrategy(max_attempts=1)
    options = options_of(folder.fs) | {"request_timeout": 1}
    s3.fail("get", "silence", times=2)
    assert Folder(pafs.S3FileSystem(**options, retry_strategy=once), folder.path).read("a") == b"content"
    assert s3.counts()["get"] == 3


LARGER_THAN_AN_ERROR = bytes(4096)  # pyarrow has room for as many bytes of an answer as it asked for


@pytest.mark.usefixtures("no_patience")
def test_a_store_that_stays_away_is_one_line_and_asked_once_a_call_from_then_on(s3, folder):
    folder.write("a", LARGER_THAN_AN_ERROR)
    s3.fail("get", 503, times=1000)
    with pytest.raises(StorageError, match=r"runs/x/a: .*SLOW_DOWN.*: it is busy: wait a while"):
        folder.read("a")
    assert not _Store.answers


def test_what_cannot_pass_is_not_tried_again(s3, folder):
    folder.write("a", LARGER_THAN_AN_ERROR)
    s3.fail("get", 403, times=1000)
    with pytest.raises(StorageError, match="check the credentials"):
        folder.read("a")
    assert s3.counts()["get"] == 1


@pytest.mark.usefixtures("no_patience")
def test_an_error_that_is_longer_than_the_file_is_lost_by_pyarrow(s3, folder):
    s3.fail("get", 403, times=1000)
    with pytest.raises(StorageError, match="the store's answer was an error that is not passed on: check the right to"):
        folder.read("a")


# rights


def test_prefixes_that_may_not_be_written_are_named_in_one_line(s3, folder):
    below = ("ensemble", "predictions", "report")
    folder.check_writable("storage", below)
    assert sorted(s3.objects) == sorted({*s3.objects} - {key for key in s3.objects if key.endswith(".writable")})
    s3.fail("put", 403, times=1000, prefix="runs/x/predictions/.w")
    with pytest.raises(UserError) as raised:
        folder.check_writable("storage", below)
    text = f"storage=s3://{BUCKET}/runs/x/predictions: cannot be written ("
    assert str(raised.value).startswith(text)
    s3.fail("put", 403, times=1000, prefix="runs/x/report/.w")
    with pytest.raises(UserError, match=r"runs/x: cannot be written \(predictions, report: .*ACCESS"):
        folder.check_writable("storage", below)


def test_a_place_where_nothing_may_be_deleted_is_refused(s3, folder):
    s3.fail("delete", 403, times=1000)
    with pytest.raises(UserError, match=r"storage=s3://bucket/runs/x: cannot be written \(.*DeleteObject"):
        folder.check_writable("storage")


# fsspec


def test_two_processes_share_a_place_of_fsspec(tmp_path):
    place = f"fsspec+file://{tmp_path}/runs"
    result = Artifact(Folder.open(place) / "one", {"a": 1})
    code = (
        "from hydra_ray.storage import Artifact, Folder\n"
        f"Artifact(Folder.open({place!r}) / 'one', {{'a': 1}}).publish_files({{}}, {{'f': b'1'}})"
    )
    assert result.status() == "missing"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert result.read("f") == b"1"
    assert str(Folder.open(place)) == place


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")])
def test_a_package_that_is_missing_is_named(monkeypatch, protocol, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError) as raised:
        Folder.open(f"fsspec+{protocol}://bucket/runs")
    assert str(raised.value).startswith(f"storage=fsspec+{protocol}://bucket/runs: ")
    assert package in str(raised.value)


def test_whatever_a_client_raises_is_one_line(monkeypatch):
    folder = Folder.open("memory://strange/runs")

    def fail(*_, **__):
        raise RuntimeError("a client's own\nwords")

    monkeypatch.setattr(type(folder.fs.handler.fs), "pipe_file", fail)
    with pytest.raises(StorageError, match="a client's own words: ask its owner"):
        folder.write("a", b"1")
