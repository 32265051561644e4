"""Folders: the same on a local path, a file:// URI and an fsspec file system; files are whole or not there."""

import os
import pickle
import uuid

import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from helpers.s3 import BUCKET

from hydra_ray.errors import UserError
from hydra_ray.storage.folder import Folder


@pytest.fixture(params=["local", "uri", "fsspec", "fsspec+file", "s3"])
def folder(request, tmp_path):
    """An empty place."""
    if request.param == "s3":
        return Folder.open(f"s3://{BUCKET}/{request.getfixturevalue('s3') and 'a/b'}")
    places = {
        "local": str(tmp_path / "a" / "b"),
        "uri": f"file://{tmp_path}/a/b",
        "fsspec": f"memory://{uuid.uuid4().hex}/b",
        "fsspec+file": f"fsspec+file://{tmp_path}/a/b",
    }
    return Folder.open(places[request.param])


def everything(folder):
    """Names of all files in a folder, hidden ones too."""
    found = folder.fs.get_file_info(pafs.FileSelector(folder.path, allow_not_found=True, recursive=True))
    return sorted(info.base_name for info in found if info.type == pafs.FileType.File)


def test_a_folder_that_is_not_there_is_empty(folder):
    assert not folder.exists()
    assert (folder.files(), folder.folders()) == ({}, [])
    assert folder.read_json("x.json") is None
    folder.delete("x")
    folder.remove()
    with pytest.raises(FileNotFoundError):
        folder.read("x")


def test_bytes_and_json_come_back(folder):
    folder.write("a.bin", b"\x00\x01")
    folder.write_json("b.json", {"k": [1, None, "ü"]})
    assert folder.read("a.bin") == b"\x00\x01"
    assert folder.read_json("b.json") == {"k": [1, None, "ü"]}
    assert folder.files() == {"a.bin": 2, "b.json": len(folder.read("b.json"))}
    assert folder.exists()
    folder.write("a.bin", b"other")
    assert folder.read("a.bin") == b"other"


def test_compressed_names_are_not_decompressed(folder):
    folder.write("a.gz", b"not gzip")
    assert folder.read("a.gz") == b"not gzip"


def test_what_is_not_json_is_none(folder):
    folder.write("half.json", b'{"a": 1')
    folder.write("bytes.json", b"\xff\xfe")
    assert folder.read_json("half.json") is None
    assert folder.read_json("bytes.json") is None


def test_parts_of_a_path(folder):
    below = folder / "x" / "y"
    assert (below.name, below.parent, below.parent.parent) == ("y", folder / "x", folder)
    below.write("f", b"1")
    assert folder.folders() == ["x"]
    assert folder.files() == {}
    assert (folder / "x").folders() == ["y"]


def test_hidden_files_are_not_listed_but_hidden_folders_are(folder):
    folder.write(".hidden", b"")
    (folder / ".attempt-1").write("f", b"")
    assert folder.files() == {}
    assert folder.folders() == [".attempt-1"]


def test_a_file_is_not_there_before_it_is_whole(folder):
    with folder.writing("f") as stream:
        stream.write(b"first")
        assert folder.files() == {}
    assert folder.read("f") == b"first"


def write_half(folder, error):
    with folder.writing("f") as stream:
        stream.write(b"half")
        raise error


def test_writing_that_fails_leaves_nothing(folder):
    with pytest.raises(ZeroDivisionError):
        write_half(folder, ZeroDivisionError())
    assert everything(folder) == []


def test_writing_that_fails_leaves_the_file_before_it(folder):
    folder.write("f", b"before")
    with pytest.raises(KeyboardInterrupt):
        write_half(folder, KeyboardInterrupt())
    assert folder.read("f") == b"before"
    assert everything(folder) == ["f"]


def test_arrow_writes_into_it(folder):
    import pyarrow.parquet as pq

    table = pa.table({"a": [1, 2, 3]})
    with folder.writing("t.parquet") as stream:
        pq.write_table(table, stream)
    assert pq.read_table(f"{folder.path}/t.parquet", filesystem=folder.fs).equals(table)


def test_moving_a_local_folder(tmp_path):
    attempt, target = Folder.open(str(tmp_path / ".attempt")), Folder.open(str(tmp_path / "a" / "place"))
    attempt.write("a", b"1")
    attempt.write("z", b"2")
    attempt.write(".a.left-by-a-killed-writer", b"")
    attempt.move_to(target)
    assert not attempt.exists()
    assert everything(target) == ["a", "z"]
    assert target.read("a") == b"1"


def test_removing(folder):
    (folder / "x").write("f", b"1")
    (folder / "x" / "y").write("f", b"1")
    (folder / "x").remove()
    assert not (folder / "x").exists()
    assert folder.folders() == []


def test_pickled_it_is_the_same_place(folder):
    folder.write("f", b"1")
    again = pickle.loads(pickle.dumps(folder))
    assert again == folder
    assert again.read("f") == b"1"


def test_a_writable_place_is_left_empty(folder):
    folder.check_place("storage")
    assert not folder.exists()
    folder.check_writable("storage")
    assert everything(folder) == []


# places that cannot be written


def refusal(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("check", ["check_writable", "check_place"])
def test_a_place_below_a_file_cannot_be_written(tmp_path, check):
    (tmp_path / "file").write_text("")
    folder = Folder.open(str(tmp_path / "file" / "runs"))
    text = refusal(lambda: getattr(folder, check)("storage"))
    assert text.startswith(f"storage={tmp_path}/file/runs: cannot be written (")
    assert text.endswith("choose another place with storage=...")
    assert (folder.files(), folder.read_json("x"), folder.exists()) == ({}, None, False)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("check", ["check_writable", "check_place"])
def test_a_place_without_permission_cannot_be_written(tmp_path, check):
    tmp_path.chmod(0o500)
    assert "cannot be written" in refusal(lambda: getattr(Folder.open(str(tmp_path / "runs")), check)("storage"))
    tmp_path.chmod(0o700)


def test_permissions_are_looked_at_where_the_folder_would_be_made(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    text = refusal(lambda: Folder.open(str(tmp_path / "a" / "b")).check_place("storage"))
    assert f"no permission to write in {tmp_path}" in text


class _ReadOnly(pafs.FSSpecHandler):
    def create_dir(self, path, recursive):
        raise PermissionError("read-only\nfile system")


def test_a_file_system_that_refuses(tmp_path):
    import fsspec

    folder = Folder(pafs.PyFileSystem(_ReadOnly(fsspec.filesystem("file"))), str(tmp_path / "x"))
    assert "cannot be written (read-only file system)" in refusal(lambda: folder.check_writable("storage"))


@pytest.mark.parametrize("place", ["nosuch://bucket/runs", "file://relative/path"])
def test_places_that_nothing_can_open(place):
    text = refusal(lambda: Folder.open(place))
    assert text.startswith(f"storage={place}: ")
    assert "use a folder, s3://bucket/folder" in text


# names for people


def test_a_folder_is_named_as_a_person_would_type_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(Folder.open("runs/x")) == "runs/x"
    assert str(Folder.open(str(tmp_path / "runs"))) == "runs"
    assert str(Folder.open(str(tmp_path.parent / "beside"))) == str(tmp_path.parent / "beside"), "no ../ in front"
    assert str(Folder.open("/usr")) == "/usr"
    assert str(Folder.open("memory://runs/x")) == "memory:///runs/x"
    assert str(Folder(pafs.S3FileSystem(anonymous=True, region="us-east-1"), "bucket/runs")) == "s3://bucket/runs"


def test_home_is_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Folder.open("~/runs").path == f"{tmp_path}/runs"


def test_opening_again_what_a_folder_is_called(folder):
    folder.write("f", b"1")
    assert Folder.open(str(folder)).read("f") == b"1"


def test_credentials_in_a_uri_are_refused_and_not_repeated():
    with pytest.raises(
        UserError, match=r"^s3://\.\.\.@bucket/runs: holds credentials; leave them to the environment"
    ) as raised:
        Folder.open("s3://name:password@bucket/runs")
    assert "password" not in str(raised.value)
