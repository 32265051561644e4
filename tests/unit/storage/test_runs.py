"""Results in a run folder: done, stale or missing, and never taken for done when they are not."""

import json
import uuid
from itertools import count

import pyarrow.fs as pafs
import pytest
from helpers.mortal import Killed, mortal

from hydra_ray.errors import UserError
from hydra_ray.storage.artifact import Artifact, fingerprint
from hydra_ray.storage.folder import Folder

KEY = {"data": {"rows": 3}, "views": [{"view": "identity"}, {"view": "affine", "count": 2}], "seed": 0}


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    return Folder.open(str(tmp_path) if request.param == "local" else f"memory://{uuid.uuid4().hex}")


def artifact(folder, key=KEY, manifest="manifest.json"):
    return Artifact(folder / "results" / "one", key, manifest)


def written(result, files=("a.bin", "b.bin"), content=None):
    for name in files:
        result.attempt.write(name, f"{name} {result.key}".encode())
    result.publish(content or {})
    return result


def read_all(result):
    return [result.read(name) for name in result.require()["files"]]


def everything(folder):
    found = folder.fs.get_file_info(pafs.FileSelector(folder.path, allow_not_found=True, recursive=True))
    return sorted(info.path.removeprefix(folder.path + "/") for info in found if info.type == pafs.FileType.File)


def refusal(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# states


def test_nothing_is_missing(folder):
    result = artifact(folder)
    assert (result.status(), result.is_done, result.manifest(), result.changes()) == ("missing", False, None, [])


def test_what_is_published_is_done(folder):
    result = written(artifact(folder), content={"rows": 3})
    assert result.status() == "done"
    read_all(result)
    manifest = result.manifest()
    assert (manifest["fingerprint"], manifest["key"], manifest["rows"]) == (fingerprint(KEY), KEY, 3)
    assert manifest["files"]["a.bin"]["bytes"] == len(result.files.read("a.bin"))
    if folder.is_local:
        assert everything(folder) == ["results/one/a.bin", "results/one/b.bin", "results/one/manifest.json"]
        return
    inside = f"results/one/attempt-{fingerprint(KEY)}"
    names = ["a.bin", "b.bin", "manifest.json"]
    assert everything(folder) == [*(f"{inside}/{name}" for name in names), "results/one/manifest.json"]


def test_the_manifest_may_have_another_name(folder):
    assert written(artifact(folder, manifest="model.json")).is_done
    assert "results/one/model.json" in everything(folder)


def test_work_on_an_attempt_is_not_done(folder):
    artifact(folder).attempt.write("a.bin", b"1")
    assert artifact(folder).status() == "missing"


def test_an_attempt_of_the_same_key_is_the_same_place_and_of_another_another(folder):
    assert artifact(folder).attempt == artifact(folder, dict(KEY)).attempt
    assert artifact(folder).attempt != artifact(folder, KEY | {"seed": 1}).attempt


def test_another_key_is_stale_and_publishing_it_replaces_the_result(folder):
    written(artifact(folder))
    other = artifact(folder, KEY | {"seed": 1})
    assert other.status() == "stale"
    other.attempt.write("a.bin", b"")
    assert artifact(folder).status() == "done", "working on an attempt leaves what is published alone"
    other.attempt.remove()
    written(other, ["c.bin"])
    assert (other.status(), artifact(folder).status()) == ("done", "stale")
    assert sorted(other.files.files()) == ["c.bin", "manifest.json"]
    assert [name for name in everything(folder) if name.endswith(("a.bin", "b.bin"))] == []


def test_publishing_removes_attempts_of_other_keys_but_not_of_other_results(folder):
    old = artifact(folder, KEY | {"seed": 1}).attempt
    more = Artifact(folder / "results" / "one-more", KEY).attempt
    for attempt in (old, more):
        attempt.write("x", b"")
    written(artifact(folder))
    assert (old.exists(), more.exists()) == (False, True)


def test_temporary_files_of_killed_writers_are_not_published(folder):
    artifact(folder).attempt.write(".a.bin.0123", b"half")
    result = written(artifact(folder))
    assert result.manifest()["files"].keys() == {"a.bin", "b.bin"}
    if folder.is_local:
        assert [name for name in everything(folder) if "/." in name] == []


def test_a_result_is_the_same_whatever_the_order_of_its_key():
    assert fingerprint({"a": 1, "b": {"c": 2, "d": 3}}) == fingerprint({"b": {"d": 3, "c": 2}, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})


def test_digests_follow_the_content(folder):
    first = written(artifact(folder)).digest()
    assert written(artifact(folder)).digest() == first, "the time of publishing is not part of it"
    result = artifact(folder)
    result.attempt.write("a.bin", b"others")
    result.publish({})
    assert result.digest() != first


# why


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"seed": 1}, ["seed: 0 -> 1"]),
        ({"data": {"rows": 4}}, ["data.rows: 3 -> 4"]),
        ({"data": {"rows": 3, "more": True}}, ["data.more: None -> True"]),
        ({"views": [{"view": "identity"}, {"view": "affine", "count": 3}]}, ["views.1.count: 2 -> 3"]),
        (
            {"views": [{"view": "identity"}]},
            ["views: 2 entries -> 1 entries", "views.1.view: affine -> None", "views.1.count: 2 -> None"],
        ),
        ({"seed": 1, "data": {"rows": 4}}, ["data.rows: 3 -> 4", "seed: 0 -> 1"]),
    ],
)
def test_changes_name_the_key_its_old_and_its_new_value(folder, change, expected):
    written(artifact(folder))
    assert artifact(folder, KEY | change).changes() == expected
    assert artifact(folder).changes() == []


# the layout of object stores


def test_a_result_of_a_version_that_moved_files_still_counts_and_gives_way(folder):
    """On object stores too, the files lay beside the manifest."""
    result = written(artifact(folder))
    moved = artifact(folder / "old")
    for name in ("a.bin", "b.bin", "manifest.json"):
        moved.folder.write(name, result.files.read(name))
    assert (moved.status(), moved.files) == ("done", moved.folder)
    assert read_all(moved) == read_all(result)
    written(artifact(folder / "old", KEY | {"seed": 1}), ["c.bin"])
    names = [name.rsplit("/", 1)[-1] for name in everything(folder / "old")]
    assert sorted(set(names)) == ["c.bin", "manifest.json"]


def test_a_run_folder_that_is_copied_between_a_store_and_a_disk_is_the_same_run(folder, tmp_path):
    result = written(artifact(folder))
    copy = Folder.open(f"{tmp_path}/copy") if not folder.is_local else Folder.open(f"memory://{uuid.uuid4().hex}")
    for name in everything(folder):
        above, _, last = name.rpartition("/")
        (copy / above).write(last, (folder / above).read(last))
    assert artifact(copy).is_done
    assert artifact(copy).digest() == result.digest()
    assert read_all(artifact(copy)) == read_all(result)
    written(artifact(copy, KEY | {"seed": 1}), ["c.bin"])
    assert artifact(copy, KEY | {"seed": 1}).read("c.bin")


def test_files_that_are_published_are_not_written_again_in_place(folder):
    result = written(artifact(folder))
    before = read_all(result)
    artifact(folder).attempt.write("a.bin", b"other")
    assert read_all(result) == before
    written(artifact(folder), ["a.bin"])
    written(artifact(folder), ["a.bin"])
    assert len(everything(folder)) == (2 if folder.is_local else 3), "and none is left behind"


# damage


def test_a_truncated_file_is_an_error_with_the_way_out(folder):
    result = written(artifact(folder))
    result.files.write("a.bin", result.files.read("a.bin")[:-1])
    text = refusal(result.status)
    assert text.startswith(f"{result.files}/a.bin: has ")
    assert text.endswith(f"delete {result.folder} to have it made again")
    result.folder.remove()
    assert result.status() == "missing"


def test_a_missing_file_is_an_error(folder):
    result = written(artifact(folder))
    result.files.delete("b.bin")
    assert f"{result.files}/b.bin: is gone; delete {result.folder}" in refusal(result.status)
    assert "is gone" in refusal(lambda: read_all(result))


def test_changed_bytes_are_found_by_their_checksum(folder):
    result = written(artifact(folder))
    content = bytearray(result.files.read("a.bin"))
    content[0] ^= 1
    result.files.write("a.bin", bytes(content))
    assert result.status() == "done", "sizes are all that is looked at here"
    assert f"{result.files}/a.bin: not the bytes that were published" in refusal(lambda: read_all(result))


@pytest.mark.parametrize("content", [b"", b'{"fingerprint": ', b"[]", b"3", b'{"fingerprint": "x"}', b"\xff"])
def test_a_manifest_that_is_damaged_is_an_error_with_the_way_out(folder, content):
    result = written(artifact(folder))
    result.folder.write("manifest.json", content)
    for call in (result.status, result.manifest, result.digest, result.require):
        text = refusal(call)
        assert text.startswith(f"{result.folder}/manifest.json: ")
        assert text.endswith(f"delete {result.folder} to have it made again")
    result.folder.remove()
    assert result.status() == "missing"
    assert written(artifact(folder)).is_done


def test_a_manifest_that_was_edited_is_noticed_whatever_was_edited(folder):
    result = written(artifact(folder), content={"calibration": 1.5, "figures": {"nll": 0.25}})
    manifest = result.folder.read_json("manifest.json")
    for changed in ({"calibration": 1.25}, {"key": {}}, {"files": {}}, {"figures": {"nll": 0.5}}, {"more": 1}):
        result.folder.write_json("manifest.json", manifest | changed)
        assert "its checksum differs" in refusal(result.status)
    result.folder.write("manifest.json", json.dumps(manifest, sort_keys=True).encode())
    assert result.is_done, "its layout is nobody's business"


def test_results_of_another_key_are_not_read(folder):
    written(artifact(folder))
    other = artifact(folder, KEY | {"seed": 1})
    assert "of another configuration (seed: 0 -> 1)" in refusal(lambda: other.read("a.bin"))
    other.folder.remove()
    assert "nothing is published there" in refusal(lambda: other.read("a.bin"))


# killed


@pytest.mark.parametrize("before", [None, KEY, KEY | {"seed": 9}], ids=["first", "again", "stale"])
def test_killed_at_any_change_it_is_whole_or_not_done_and_can_be_published_again(folder, before):
    if before is not None:
        written(artifact(folder, before), ["old.bin"])
    for changes in count():
        place = Folder(mortal(folder.fs, changes), folder.path)
        try:
            written(artifact(place))
            break
        except Killed:
            assert_whole_or_not_done(folder)
        assert_whole_or_not_done(folder)
    assert changes > 3
    assert artifact(folder).status() == "done"
    assert [name for name in everything(folder) if "/." in name] == []


def assert_whole_or_not_done(folder):
    for key in (KEY, KEY | {"seed": 9}):
        result = artifact(folder, key)
        if result.status() == "done":
            read_all(result)


@pytest.mark.parametrize("kill_after", range(1, 40, 3))
def test_killed_once_the_next_attempt_succeeds(folder, kill_after):
    written(artifact(folder, KEY | {"seed": 9}), ["old.bin"])
    place = Folder(mortal(folder.fs, kill_after), folder.path)
    try:
        written(artifact(place))
    except Killed:
        assert_whole_or_not_done(folder)
    again = written(artifact(folder))
    assert again.status() == "done"
    read_all(again)
    assert sorted(again.files.files()) == ["a.bin", "b.bin", "manifest.json"]
    assert len(everything(folder)) == (3 if folder.is_local else 4)
    assert [name for name in everything(folder) if "/." in name] == []


def test_manifests_are_json_for_everyone(folder):
    result = written(artifact(folder))
    assert json.loads(result.folder.read("manifest.json"))["files"]["a.bin"].keys() == {"bytes", "sha256"}
