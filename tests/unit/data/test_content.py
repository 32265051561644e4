"""Keys by content: what changes in a file changes the key, what does not leaves it; a file is hashed once."""

import json
import os
import pickle
import shutil
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from helpers.dataset_files import encoded, message, opened, pictures, read, write
from helpers.finished import RECIPE, loaded, publish_members, recipe

from hydra_ray.cluster import pipeline as chain
from hydra_ray.data import content
from hydra_ray.errors import UserError
from hydra_ray.runs.stages import STAGES


def with_sign(sign: int) -> dict:
    """A table in which one feature's sign was wrong for half of the rows; sizes and labels are the same (case 04)."""
    rng = np.random.default_rng(0)
    x, noise, flip = rng.normal(size=60), rng.normal(size=60), rng.random(60) < 0.5
    return {"x": np.where(flip, sign * x, x), "noise": noise, "label": (x > 0).astype(int)}


def write_plain(path: Path, sign: int) -> None:
    pq.write_table(pa.table(with_sign(sign)), path, compression="none", use_dictionary=False)


def write_default(path: Path, sign: int) -> None:
    pq.write_table(pa.table(with_sign(sign)), path)


def write_images(path: Path, sign: int) -> None:
    images = pictures(60)
    images[7, 0, 0] = 100 + sign
    column = pa.array([encoded(each, "BMP") for each in images], pa.binary())
    write(path, {"image": column, "label": np.arange(60) % 2})


def write_tensors(path: Path, sign: int) -> None:
    images = pictures(60)[..., None]
    images[7, 0, 0] = 100 + sign
    write(path, {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(images), "label": np.arange(60) % 2})


def write_csv(path: Path, sign: int) -> None:
    rows = zip(*with_sign(sign).values(), strict=True)
    path.write_text("x,noise,label\n" + "".join(f"{x:+.5f},{noise:+.5f},{label}\n" for x, noise, label in rows))


WRITERS = {
    "plain.parquet": write_plain,
    "default.parquet": write_default,
    "images.parquet": write_images,
    "tensors.parquet": write_tensors,
    "rows.csv": write_csv,
}


@pytest.fixture(params=WRITERS)
def edited(request, tmp_path):
    """A path, and a function that repairs the file in place: of the same size, under the same modification time."""
    path, writer = tmp_path / request.param, WRITERS[request.param]
    writer(path, -1)

    def repair():
        before = path.stat()
        writer(path, 1)
        assert abs(path.stat().st_size - before.st_size) < 200
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return path, repair


def forget():
    """As in another process."""
    content._known.clear()
    from hydra_ray.data.tables import csv_files

    csv_files._load.cache_clear()


def test_a_file_repaired_in_place_is_other_data(edited):
    path, repair = edited
    before = opened(path).fingerprint()
    assert opened(path).fingerprint() == before
    repair()
    assert opened(path).fingerprint() != before


def test_a_copy_in_another_place_under_another_name_is_the_same_data(edited, tmp_path):
    path, _ = edited
    copy = tmp_path / "elsewhere" / f"other{path.suffix}"
    copy.parent.mkdir()
    shutil.copyfile(path, copy)
    os.utime(copy, (1, 1))
    assert opened(path).fingerprint() == opened(copy).fingerprint()


def test_members_are_stale_after_a_repair_and_unknown_sets_count_for_their_own_shards_alone(tmp_path):
    for name in ("rows", "unknown", "more"):
        write_plain(tmp_path / f"{name}.parquet", -1)
    text = RECIPE.replace("{source: digits, max_train_rows: 200}", f"{{source: {tmp_path}/rows.parquet}}")
    text = text.replace("{view: identity}", f"{{view: identity}}, {{view: identity, source: {tmp_path}/more.parquet}}")
    path = recipe(tmp_path, text)

    def keys():
        run = loaded(path, f"data.unknown={{u: {tmp_path}/unknown.parquet}}")
        shards = {name: json.dumps(run.shards(name).key["data"]) for name in run.split_names}
        return {"member": run.member(0).fingerprint, **shards}

    before = keys()
    for name, changed in (
        ("unknown", {"unknown-u"}),
        ("more", {"transfer"}),
        ("rows", {"member", "transfer", "validation", "validation_views", "test"}),
    ):
        write_plain(tmp_path / f"{name}.parquet", 1)
        after = keys()
        assert {each for each in after if after[each] != before[each]} == changed
        before = after


def test_classes_outputs_and_a_validation_file_that_turns_up_are_part_of_the_key(tmp_path):
    write_plain(tmp_path / "set.parquet", 1)
    (tmp_path / "set").mkdir()
    write_plain(tmp_path / "set/train.parquet", 1)
    text = RECIPE.replace("{source: digits, max_train_rows: 200}", f"{{source: {tmp_path}/set}}")
    path = recipe(tmp_path, text)
    key = loaded(path).member(0).key["data"]
    assert (key["class_names"], key["num_outputs"]) == (["0", "1"], 2)
    before = loaded(path).member(0).fingerprint
    assert loaded(path, f"data.source={tmp_path}/set.parquet").member(0).fingerprint == before
    write_plain(tmp_path / "set/validation.parquet", 1)
    after = loaded(path).member(0).fingerprint
    assert after != before
    assert loaded(path, "data.validation_fraction=0.3").member(0).fingerprint == after


# ---------------------------------------------------------------- files that change


@pytest.mark.parametrize("how", ["read", "read_labels", "require_unchanged"])
def test_a_file_that_changed_after_it_was_opened_is_refused(edited, how):
    path, repair = edited
    shipped = pickle.dumps(read(path))
    repair()
    forget()
    source = pickle.loads(shipped)
    with pytest.raises(UserError, match="has changed since the run began") as raised:
        source.read(0, 60) if how == "read" else getattr(source, how)()
    assert str(path) in message(raised)


def test_a_file_that_is_gone_is_named(edited):
    path, _ = edited
    source = read(path)
    path.unlink()
    with pytest.raises(UserError, match="cannot be read") as raised:
        source.require_unchanged()
    assert str(path) in message(raised)


def test_the_same_bytes_written_again_are_no_change(edited, tmp_path):
    """As on another machine with a copy of its own: other times, another inode."""
    path, _ = edited
    source = read(path)
    expected = source.read(0, 60).inputs
    shutil.copyfile(path, tmp_path / "copy")
    (tmp_path / "copy").replace(path)
    os.utime(path, (5, 5))
    forget()
    np.testing.assert_array_equal(source.read(0, 60).inputs, expected)


def test_a_change_in_the_middle_of_a_read_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    write_plain(path, -1)
    source, iter_batches = read(path), pq.ParquetFile.iter_batches

    def disturbed(self, *arguments, **options):
        batches = list(iter_batches(self, *arguments, **options))
        write_plain(path, 1)
        yield from batches

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", disturbed)
    with pytest.raises(UserError, match="has changed since"):
        source.read(0, 60)


def test_a_file_cut_short_in_the_middle_of_a_read_has_changed(tmp_path, monkeypatch):
    path = tmp_path / "rows.parquet"
    write_plain(path, -1)
    source = read(path)

    def disturbed(self, *arguments, **options):
        path.write_bytes(path.read_bytes()[:50])
        raise OSError("Unexpected end of stream")
        yield

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", disturbed)
    with pytest.raises(UserError, match="has changed since"):
        source.read(0, 60)


def test_damage_behind_the_footer_is_named(tmp_path):
    path = tmp_path / "rows.parquet"
    write_plain(path, -1)
    damaged = bytearray(path.read_bytes())
    damaged[4:200] = bytes(196)
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"rows\.parquet is damaged \(") as raised:
        read(path).read(0, 60)
    message(raised)


def test_a_change_while_it_is_hashed_is_noticed(tmp_path, monkeypatch):
    path, hashed = tmp_path / "rows.parquet", content._hashed
    write_plain(path, -1)

    def disturbed(*arguments):
        digest = hashed(*arguments)
        write_plain(path, 1)
        return digest

    monkeypatch.setattr(content, "_hashed", disturbed)
    with pytest.raises(UserError, match="changes while it is read"):
        read(path)


def test_a_change_between_two_stages_stops_the_command(tmp_path, monkeypatch, capsys):
    source = tmp_path / "rows.parquet"
    write_plain(source, -1)
    path = recipe(tmp_path, RECIPE.replace("{source: digits, max_train_rows: 200}", f"{{source: {source}}}"))
    called = []

    def train(run, running):
        called.append(running.name)
        publish_members(run)
        write_plain(source, 1)

    monkeypatch.setattr(chain, "_function_of", lambda stage: train)
    monkeypatch.setattr(chain._Chain, "_connect", lambda self: None)
    with pytest.raises(UserError, match=r"rows\.parquet has changed since the run began") as raised:
        chain.run_stages(loaded(path), STAGES)
    message(raised)
    assert called == ["train_ensemble"]


# ---------------------------------------------------------------- what is remembered


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """An empty cache folder; how often files were hashed, all of them taken for old enough."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(content, "_SETTLED_NS", 0)
    forget()
    paths, hashed = [], content._hashed

    def counting(filesystem, path, place):
        paths.append(path)
        return hashed(filesystem, path, place)

    monkeypatch.setattr(content, "_hashed", counting)
    return paths


def test_a_file_is_hashed_once_and_not_at_every_command(edited, counted):
    path, repair = edited
    first = opened(path).fingerprint()
    assert counted == [str(path)]
    for _ in range(3):
        forget()
        assert opened(path).fingerprint() == first
    assert counted == [str(path)]
    repair()
    assert opened(path).fingerprint() != first
    assert counted == [str(path)] * 2


def test_a_file_of_this_moment_is_not_remembered(edited, counted, monkeypatch):
    """Another write within the same tick of the clock would not show."""
    path, _ = edited
    monkeypatch.setattr(content, "_SETTLED_NS", 10**18)
    for _ in range(2):
        opened(path)
    assert counted == [str(path)] * 2


@pytest.mark.parametrize("damage", ["{", "[]", '{"PATH": 3}', '{"PATH": {"stamp": [1]}}'])
def test_a_damaged_memory_is_no_memory(edited, counted, tmp_path, damage):
    path, _ = edited
    first = opened(path).fingerprint()
    (tmp_path / "cache/hydra-ray/digests.json").write_text(damage.replace("PATH", str(path)))
    forget()
    assert opened(path).fingerprint() == first
    assert len(counted) == 2


def test_a_cache_folder_that_cannot_be_made_is_done_without(edited, counted, tmp_path, monkeypatch):
    path, _ = edited
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert opened(path).splits["train"].source.num_rows == 60


def test_an_object_store_says_what_is_in_an_object(tmp_path, counted, monkeypatch):
    write_plain(tmp_path / "rows.parquet", -1)
    place, tags = f"{uuid.uuid4().hex}/rows.parquet", {"tag": '"one"'}
    info = MemoryFileSystem.info

    def tagged(self, path, **options):
        return {**info(self, path, **options), "ETag": tags["tag"]}

    monkeypatch.setattr(MemoryFileSystem, "info", tagged)
    store = MemoryFileSystem()
    store.pipe(f"/{place}", (tmp_path / "rows.parquet").read_bytes())
    source = read(f"memory://{place}")
    assert source.fingerprint()["files"] == ['etag:"one"']
    assert not counted
    source.read(0, 60)
    tags["tag"] = '"two"'
    assert read(f"memory://{place}").fingerprint() != source.fingerprint()
    with pytest.raises(UserError, match="has changed since"):
        source.read(0, 60)


def test_without_a_tag_the_bytes_count_wherever_they_are(tmp_path):
    path = tmp_path / "rows.parquet"
    write_plain(path, -1)
    place = f"{uuid.uuid4().hex}/rows.parquet"
    MemoryFileSystem().pipe(f"/{place}", path.read_bytes())
    assert read(f"memory://{place}").fingerprint() == read(path).fingerprint()


def test_stamps_of_local_files_follow_every_write(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    stamp = content._stamp(pafs.LocalFileSystem(), str(path), "x")
    os.utime(path, ns=(stamp[1], stamp[1]))
    assert content._stamp(pafs.LocalFileSystem(), str(path), "x") != stamp
