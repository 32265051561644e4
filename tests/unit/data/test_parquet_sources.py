"""Rows in Parquet files: layouts, columns, bit-exact decoding, and the one-line errors."""

import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.dataset_files import encoded, hub_column, message, opened, pictures, read, write, write_hub

from hydra_ray.data.catalog import split_names
from hydra_ray.errors import UserError


@pytest.mark.parametrize("place", ["", "data", "plain_text"])
def test_the_hubs_layout_is_found(tmp_path, place):
    write_hub(tmp_path / place)
    source = read(tmp_path)
    expected = np.concatenate([pictures(30, seed=20), pictures(30, seed=21)])[..., None]
    assert source.num_rows == 60
    assert source.input_shape == (6, 5, 1)
    for start, stop in [(0, 60), (27, 33), (3, 5), (59, 60), (7, 7)]:
        rows = source.read(start, stop)
        np.testing.assert_array_equal(rows.inputs, expected[start:stop])
        np.testing.assert_array_equal(rows.row_id, np.arange(start, stop))
        np.testing.assert_array_equal(rows.labels, np.arange(60)[start:stop] % 30 % 3)
    assert split_names(str(tmp_path)) == ("train", "test")


@pytest.mark.parametrize("names", [("train.parquet", "test.parquet"), ("train/0000.parquet", "test/0000.parquet")])
def test_plainer_layouts_are_found(tmp_path, names):
    for name in names:
        write(tmp_path / name, {"image": hub_column(pictures(8)), "label": np.arange(8) % 2})
    assert split_names(str(tmp_path)) == ("train", "test")
    assert read(tmp_path, "test").num_rows == 8


def test_uris_are_paths(tmp_path):
    source = read("file://" + str(write_hub(tmp_path)))
    assert pickle.loads(pickle.dumps(source)).read(0, 2).inputs.shape == (2, 6, 5, 1)


def test_a_mask_reads_only_its_rows(tmp_path):
    source = read(write_hub(tmp_path))
    keep = np.zeros(20, np.bool_)
    keep[[1, 2, 17]] = True
    rows = source.read(20, 40, keep)
    np.testing.assert_array_equal(rows.row_id, [21, 22, 37])
    np.testing.assert_array_equal(rows.inputs, source.read(0, 60).inputs[[21, 22, 37]])


def test_only_the_row_groups_needed_are_read(tmp_path, monkeypatch):
    source, asked = read(write_hub(tmp_path)), []
    iter_batches = pq.ParquetFile.iter_batches

    def spy(self, size, groups, columns, **rest):
        asked.append((groups, columns))
        return iter_batches(self, size, groups, columns, **rest)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    source.read(29, 35)
    assert asked == [([7], ["image.bytes", "label"]), ([0, 1], ["image.bytes", "label"])]


@pytest.mark.parametrize("kind", ["struct", "binary", "large_binary"])
@pytest.mark.parametrize("names", [("img", "fine_label"), ("picture", "kind_of_thing"), ("Image", "Target")])
def test_columns_are_found_by_type_and_name(tmp_path, kind, names):
    images = pictures(6, (4, 4, 3))
    column = hub_column(images)
    if kind != "struct":
        column = pa.array([encoded(each) for each in images], getattr(pa, kind)())
    extra = {"coarse_label": np.arange(6)} if names[1] == "fine_label" else {"id": np.arange(6)}
    path = write(tmp_path / "rows.parquet", {**extra, names[0]: column, names[1]: np.array([0, 1] * 3, np.int32)})
    rows = read(path).read(1, 6)
    np.testing.assert_array_equal(rows.inputs, images[1:])
    np.testing.assert_array_equal(rows.labels, [1, 0, 1, 0, 1])
    assert rows.labels is not None
    assert rows.labels.dtype == np.int64


def test_class_names_come_from_the_hubs_metadata(tmp_path):
    metadata = {"info": {"features": {"what": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    columns = {"image": hub_column(pictures(8)), "what": np.arange(8) % 2, "size": np.arange(8)}
    data = opened(write(tmp_path / "rows.parquet", columns, metadata=metadata), validation_fraction=0.25)
    assert data.class_names == ("cat", "dog")


def test_unreadable_metadata_are_ignored(tmp_path):
    columns = {"image": hub_column(pictures(8)), "label": np.arange(8) % 2}
    for metadata in ([1], {"info": 3}, {"info": {"features": {"label": {"names": None}}}}):
        path = write(tmp_path / "rows.parquet", columns, metadata=metadata)  # type: ignore[arg-type]
        assert read(path).class_names == ("0", "1")


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_pixels_are_bit_exact(tmp_path, mode):
    channels = len(mode)
    images = pictures(5, (4, 4, channels) if channels > 1 else (4, 4))
    rows = read(write(tmp_path / "rows.parquet", {"image": hub_column(images)})).read(0, 5)
    np.testing.assert_array_equal(rows.inputs, images.reshape(5, 4, 4, channels))
    assert rows.labels is None


@pytest.mark.parametrize("kind", ["tensor", "fixed list", "list", "columns"])
def test_feature_rows_are_float32(tmp_path, kind):
    features = np.random.default_rng(0).normal(size=(10, 3))
    flat = pa.array(features.reshape(-1))
    columns = {
        "tensor": {"x": pa.FixedShapeTensorArray.from_numpy_ndarray(features)},
        "fixed list": {"x": pa.FixedSizeListArray.from_arrays(flat, 3)},
        "list": {"x": pa.array(features.tolist())},
        "columns": {f"x{index}": features[:, index] for index in range(3)},
    }[kind]
    rows = read(write(tmp_path / "rows.parquet", {**columns, "y": np.arange(10) % 2})).read(3, 9)
    assert rows.inputs.dtype == np.float32
    np.testing.assert_array_equal(rows.inputs, features[3:9].astype(np.float32))
    np.testing.assert_array_equal(rows.labels, np.arange(3, 9) % 2)


def test_pixel_tensors_such_as_our_shards_are_read(tmp_path):
    images = pictures(6, (4, 4, 3))
    columns = {
        "row_id": np.arange(6),
        "view": np.zeros(6, np.int32),
        "input": pa.FixedShapeTensorArray.from_numpy_ndarray(images),
        "label": np.arange(6),
        "logits": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((6, 2, 6), np.float32)),
    }
    rows = read(write(tmp_path / "rows.parquet", columns)).read(2, 6)
    np.testing.assert_array_equal(rows.inputs, images[2:])
    np.testing.assert_array_equal(rows.labels, np.arange(2, 6))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"a": pa.array([b"x"]), "b": pa.array([b"y"])}, "a or b could be the input column"),
        ({"image": pa.array([b"x"]), "n": [1], "m": [2]}, "n or m could be the label column"),
        ({"text": ["x"]}, "no images"),
        ({"x": [1.0] * 2, "town": ["Ulm", "Bonn"], "label": [1, 2]}, "column town holds text, 2 different in 2 rows"),
        ({"x0": [1.0], "y": [2.5]}, "column y holds double; for a regression set data.target=y"),
        ({"x": pa.array([[1.0, float("nan")]]), "label": [1]}, "not finite"),
        ({"x": pa.array([None], pa.list_(pa.float32())), "label": [1]}, "row 0 has no value"),
        ({"x": pa.array([[1.0], [1.0, 2.0]]), "label": [1, 2]}, "row 1 has a list of 2 values, those before it 1"),
    ],
)
def test_columns_that_cannot_be_used_are_named(tmp_path, columns, expected):
    path = write(tmp_path / "rows.parquet", columns)
    with pytest.raises(UserError) as raised:
        read(path).read(0, 2)
    assert expected in message(raised)
    assert "data.source=" in message(raised)


def test_missing_paths_name_both_ways_out(tmp_path):
    for source in (tmp_path / "nothing", "../nowhere/mnist", "nothing.parquet"):
        with pytest.raises(UserError) as raised:
            opened(source)
        assert f"data.source={source}" in message(raised)
        known = source == "../nowhere/mnist"  # a set whose publisher we know
        assert ("hf download" if known else "data.download=true") in message(raised)
        assert ("HYDRA_RAY_DATA" if known else "Parquet") in message(raised)
    with pytest.raises(UserError) as raised:
        opened(tmp_path)
    assert "train-*.parquet" in message(raised)


def test_a_missing_part_is_named(tmp_path):
    (write_hub(tmp_path) / "train-00000-of-00002.parquet").unlink()
    with pytest.raises(UserError) as raised:
        read(tmp_path)
    assert "train part 0 of 2 is missing" in message(raised)


def test_splits_in_several_folders_are_named(tmp_path):
    write_hub(tmp_path / "one")
    write_hub(tmp_path / "two")
    with pytest.raises(UserError, match="one, two"):
        read(tmp_path)


def test_damaged_files_and_other_columns_are_named(tmp_path):
    write(tmp_path / "train-00001-of-00002.parquet", {"image": hub_column(pictures(3)), "kind": [0, 1, 2]})
    write(tmp_path / "train-00000-of-00002.parquet", {"image": hub_column(pictures(3)), "label": [0, 1, 2]})
    with pytest.raises(UserError, match="lacks the column label"):
        read(tmp_path)
    (tmp_path / "train-00001-of-00002.parquet").write_bytes(b"half a file")
    with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet is no readable Parquet") as raised:
        read(tmp_path)
    message(raised)


def test_empty_files_are_skipped_or_refused(tmp_path):
    empty = {"image": hub_column([]), "label": pa.array([], pa.int64())}
    write(tmp_path / "train-00000-of-00002.parquet", empty)
    with pytest.raises(UserError, match="holds no rows"):
        read(tmp_path / "train-00000-of-00002.parquet")
    write(tmp_path / "train-00001-of-00002.parquet", {"image": hub_column(pictures(3)), "label": [0, 1, 2]})
    assert read(tmp_path).num_rows == 3


def test_sources_and_splits_are_cheap_to_ship(tmp_path):
    data = opened(write_hub(tmp_path))
    for split in data.splits.values():
        shipped = pickle.dumps(split)
        assert len(shipped) < 3000
        np.testing.assert_array_equal(pickle.loads(shipped).read_all().inputs, split.read_all().inputs)


def test_embedded_sets_travel_with_their_source_and_a_worker_needs_no_scikit_learn():
    data = opened("digits", unknown={"photos": "photo_patches"})
    shipped = pickle.dumps(data)
    assert len(shipped) < 400_000
    script = (
        "import pickle, sys; data = pickle.load(sys.stdin.buffer); "
        "print([int(split.read_all().inputs.sum()) for split in data.splits.values()], 'sklearn' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", script], input=shipped, capture_output=True, check=True)
    sums = [int(split.read_all().inputs.sum()) for split in data.splits.values()]
    assert found.stdout.decode().strip() == f"{sums} False"
