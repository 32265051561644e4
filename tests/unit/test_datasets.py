"""Data sets: names, Parquet layouts, splits, and the one-line errors."""

import hashlib
import io
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hydra_ray.datasets import Split, concatenate, open_data, open_source, split_names
from hydra_ray.datasets.splits import Shares, splitmix64
from hydra_ray.errors import UserError

SHARED = Path(__file__).parents[3] / "shared/data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no {SHARED}: real Parquet data are not here")

DEFAULTS = {
    "root": "nowhere",
    "download": False,
    "validation_share": 0.1,
    "test_share": 0.2,
    "seed": 0,
    "max_train_rows": None,
    "unknown": {},
}


def opened(source, **changed):
    return open_data(str(source), **{**DEFAULTS, **changed})


def read(path, split: Literal["train", "test"] = "train", **changed):
    return open_source(str(path), split, root="nowhere", download=False, **changed)


def message(raised) -> str:
    text = str(raised.value)
    assert "\n" not in text
    return text


def encoded(image: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(image)
    (picture.convert(mode) if mode else picture).save(buffer, kind)
    return buffer.getvalue()


def pictures(num_rows: int, shape=(6, 5), seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (num_rows, *shape), dtype=np.uint8)


def hub_column(images) -> pa.Array:
    rows = [{"bytes": each if each is None else encoded(each), "path": None} for each in images]
    return pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def write(path: Path, columns: dict, row_group_size: int = 4, metadata: dict | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def write_hub(folder: Path, num_rows: int = 30, num_classes: int = 3, shape=(6, 5)) -> Path:
    """A folder with a train and a test split, two files for train."""
    for split, total in (("train", 2), ("test", 1)):
        for part in range(total):
            images = pictures(num_rows, shape, seed=part + 10 * total)
            labels = np.arange(num_rows) % num_classes
            write(
                folder / f"{split}-{part:05}-of-{total:05}.parquet",
                {"image": hub_column(images), "label": labels},
            )
    return folder


# ---------------------------------------------------------------- names


def test_digits_have_their_values_in_stored_range():
    from sklearn.datasets import load_digits

    digits: Any = load_digits()
    rows = read("digits").read(0, 1797)
    assert rows.inputs.shape == (1797, 8, 8, 1)
    assert rows.inputs.dtype == np.uint8
    assert rows.inputs.max() == 255
    np.testing.assert_array_equal(np.round(rows.inputs[..., 0] / 255 * 16), digits.images)
    np.testing.assert_array_equal(rows.labels, digits.target)
    assert read("digits").class_names == tuple("0123456789")


def test_photo_patches_are_about_two_thousand_varied_unlabelled_digits_sized_images():
    source = read("photo_patches")
    rows = source.read(0, source.num_rows)
    assert 1800 <= source.num_rows <= 2000
    assert source.input_shape == (8, 8, 1)
    assert rows.labels is None
    assert source.read_labels() is None
    assert set(np.unique(rows.inputs)) <= set(np.unique(read("digits").read(0, 1797).inputs))
    assert np.ptp(rows.inputs.reshape(len(rows), -1), axis=1).min() >= 3 * 15
    assert len(np.unique(rows.inputs, axis=0)) > 0.99 * len(rows)


def test_slices_are_the_whole():
    source = read("digits")
    parts = [source.read(start, min(start + 500, 1797)) for start in range(0, 1797, 500)]
    whole = source.read(0, 1797)
    joined = concatenate(parts)
    np.testing.assert_array_equal(joined.inputs, whole.inputs)
    np.testing.assert_array_equal(joined.row_id, np.arange(1797))
    np.testing.assert_array_equal(joined.labels, whole.labels)


@pytest.mark.parametrize("bounds", [(-1, 3), (3, 2), (0, 1798)])
def test_slices_outside_are_refused(bounds):
    with pytest.raises(ValueError, match="of 1797"):
        read("digits").read(*bounds)


def test_unknown_names_get_the_nearest_ones():
    with pytest.raises(UserError) as raised:
        read("FashonMNIST")
    assert "did you mean FashionMNIST" in message(raised)
    with pytest.raises(UserError) as raised:
        opened("mnist_")
    assert "data.source=mnist_" in message(raised)
    assert "MNIST" in message(raised)


def test_sets_without_a_test_split_say_so():
    assert split_names("digits") == ("train",)
    assert split_names("CIFAR10") == ("train", "test")
    with pytest.raises(UserError) as raised:
        read("digits", "test")
    assert "data.test_share" in message(raised)


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.tobytes())


def write_mnist(root: Path, name: str = "MNIST") -> tuple[np.ndarray, np.ndarray]:
    images, labels = pictures(40, (28, 28)), (np.arange(40) % 10).astype(np.uint8)
    for prefix in ("train", "t10k"):
        write_idx(root / name / "raw" / f"{prefix}-images-idx3-ubyte", images)
        write_idx(root / name / "raw" / f"{prefix}-labels-idx1-ubyte", labels)
    return images, labels


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST"])
def test_torchvision_sets_are_read_from_root(tmp_path, name):
    images, labels = write_mnist(tmp_path, name)
    source = open_source(name, "test", root=str(tmp_path), download=False)
    rows = source.read(5, 25)
    np.testing.assert_array_equal(rows.inputs[..., 0], images[5:25])
    np.testing.assert_array_equal(rows.labels, labels[5:25])
    assert len(source.class_names or ()) == 10
    data = opened(name, root=str(tmp_path), validation_share=0.2)
    assert {split: each.num_rows for split, each in data.splits.items()} == {
        "train": 32,
        "validation": 8,
        "test": 40,
    }


def test_changed_torchvision_files_change_the_fingerprint(tmp_path):
    write_mnist(tmp_path / "a")
    images, _ = write_mnist(tmp_path / "b")
    images[3, 4, 5] ^= 1
    write_idx(tmp_path / "b/MNIST/raw/train-images-idx3-ubyte", images)
    one, other = (open_source("MNIST", "train", root=str(tmp_path / each), download=False) for each in "ab")
    assert one.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "SVHN"])
def test_missing_torchvision_sets_name_both_ways_out(tmp_path, name):
    with pytest.raises(UserError) as raised:
        opened(name, root=str(tmp_path))
    text = message(raised)
    assert f"data.source={name}" in text
    assert str(tmp_path) in text
    assert "data.download=true" in text
    assert "Parquet" in text


def test_damaged_torchvision_files_are_a_user_error(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST/raw/train-images-idx3-ubyte").write_bytes(b"no idx file")
    with pytest.raises(UserError):
        opened("MNIST", root=str(tmp_path))


def test_a_worker_without_the_folder_says_so(tmp_path):
    write_mnist(tmp_path / "data")
    source = open_source("MNIST", "train", root=str(tmp_path / "data"), download=False)
    from hydra_ray.datasets import in_memory

    in_memory._load.cache_clear()
    (tmp_path / "data").rename(tmp_path / "gone")
    with pytest.raises(UserError) as raised:
        source.read(0, 1)
    assert "on this machine" in message(raised)


# ---------------------------------------------------------------- Parquet


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


@pytest.mark.parametrize(
    "names", [("train.parquet", "test.parquet"), ("train/0000.parquet", "test/0000.parquet")]
)
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
    path = write(
        tmp_path / "rows.parquet", {**extra, names[0]: column, names[1]: np.array([0, 1] * 3, np.int32)}
    )
    rows = read(path).read(1, 6)
    np.testing.assert_array_equal(rows.inputs, images[1:])
    np.testing.assert_array_equal(rows.labels, [1, 0, 1, 0, 1])
    assert rows.labels is not None
    assert rows.labels.dtype == np.int64


def test_class_names_come_from_the_hubs_metadata(tmp_path):
    metadata = {"info": {"features": {"what": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    columns = {"image": hub_column(pictures(8)), "what": np.arange(8) % 2, "size": np.arange(8)}
    data = opened(write(tmp_path / "rows.parquet", columns, metadata=metadata), validation_share=0.25)
    assert data.class_names == ("cat", "dog")


def test_unreadable_metadata_are_ignored(tmp_path):
    columns = {"image": hub_column(pictures(8)), "label": np.arange(8) % 2}
    for metadata in ([1], {"info": 3}, {"info": {"features": {"label": {"names": None}}}}):
        path = write(tmp_path / "rows.parquet", columns, metadata=metadata)  # type: ignore[arg-type]
        assert read(path).class_names is None


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pixels_are_bit_exact(tmp_path, mode):
    channels = len(mode)
    images = pictures(5, (4, 4, channels) if channels > 1 else (4, 4))
    rows = read(write(tmp_path / "rows.parquet", {"image": hub_column(images)})).read(0, 5)
    np.testing.assert_array_equal(rows.inputs, images.reshape(5, 4, 4, channels))
    assert rows.labels is None


def test_bilevel_and_palette_images_are_looked_up(tmp_path):
    image = np.where(pictures(1)[0] > 127, 255, 0).astype(np.uint8)
    path = write(tmp_path / "one.parquet", {"image": pa.array([encoded(image, mode="1")])})
    np.testing.assert_array_equal(read(path).read(0, 1).inputs[0, ..., 0], image)
    path = write(tmp_path / "two.parquet", {"image": pa.array([encoded(image, mode="P")])})
    np.testing.assert_array_equal(read(path).read(0, 1).inputs[0], image[..., None].repeat(3, -1))


def test_grey_rows_of_a_colour_set_become_colour(tmp_path):
    grey, colour = pictures(1)[0], pictures(1, (6, 5, 3))[0]
    path = write(tmp_path / "rows.parquet", {"image": hub_column([colour, grey, colour])})
    rows = read(path).read(1, 3)
    np.testing.assert_array_equal(rows.inputs, [grey[..., None].repeat(3, -1), colour])


def test_images_of_another_size_are_named(tmp_path):
    images = [*pictures(5), pictures(1, (7, 5))[0]]
    source = read(write(tmp_path / "rows.parquet", {"image": hub_column(images), "label": np.arange(6)}))
    source.read(0, 5)
    with pytest.raises(UserError) as raised:
        source.read(0, 6)
    assert "row 5" in message(raised)
    assert "(7, 5, 1)" in message(raised)
    assert "(6, 5, 1)" in message(raised)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [(None, "no image bytes"), (b"not an image", "row 1"), ("16 bits", "mode I;16")],
)
def test_rows_that_are_no_images_are_named(tmp_path, bad, reason):
    if bad == "16 bits":
        bad = encoded(np.arange(30, dtype=np.uint16).reshape(6, 5))
    path = write(tmp_path / "rows.parquet", {"image": pa.array([encoded(pictures(1)[0]), bad], pa.binary())})
    with pytest.raises(UserError, match=reason) as raised:
        read(path).read(0, 2)
    assert "row 1" in message(raised)


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
        "logits": pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((6, 2, 3), np.float32)),
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
        ({"x": [1.0], "age": [2], "label": [1]}, "what is age"),
        ({"x0": [1.0], "y": [2.0]}, "column y holds double"),
        ({"image": pa.array([b"x"]), "label": ["cat"]}, "column label holds string"),
        ({"x": pa.array([[1.0, float("nan")]]), "label": [1]}, "not finite"),
        ({"x": pa.array([None], pa.list_(pa.float32())), "label": [1]}, "row 0 has no value"),
        ({"x": pa.array([[1.0], [1.0, 2.0]]), "label": [1, 2]}, "row 1 has shape"),
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
        assert "data.download=true" in message(raised)
        assert "Parquet" in message(raised)
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
    assert len(pickle.dumps(opened("digits", unknown={"photos": "photo_patches"}))) < 3000


# ---------------------------------------------------------------- splits


@pytest.mark.parametrize("rows_per_chunk", [1, 7, 100, 5000])
def test_chunks_hold_every_member_once(rows_per_chunk):
    data = opened("digits", max_train_rows=50)
    for split in data.splits.values():
        chunks = split.chunks(rows_per_chunk)
        rows = concatenate([split.read(*chunk) for chunk in chunks])
        np.testing.assert_array_equal(rows.row_id, split.read_all().row_id)
        assert all(len(split.read(*chunk)) for chunk in chunks)
        assert all(start % rows_per_chunk == 0 for start, _ in chunks)
        np.testing.assert_array_equal(rows.labels, split.read_labels())
        assert len(rows) == split.num_rows


def test_parts_are_disjoint_and_complete():
    data = opened("digits")
    row_ids = [data.splits[name].read_all().row_id for name in ("train", "validation", "test")]
    assert sorted(np.concatenate(row_ids)) == list(range(1797))
    assert [len(each) for each in row_ids] == [1258, 180, 359]


def members(**changed) -> dict[str, set]:
    return {name: set(each.read_all().row_id) for name, each in opened("digits", **changed).splits.items()}


def test_shares_move_only_what_they_must():
    base, more = members(), members(validation_share=0.3)
    assert more["test"] == base["test"]
    assert more["validation"] > base["validation"]
    few = members(max_train_rows=100)
    assert len(few["train"]) == 100
    assert few["train"] < base["train"]
    assert (few["validation"], few["test"]) == (base["validation"], base["test"])
    assert few["train"] < members(max_train_rows=200)["train"]
    assert members(max_train_rows=10_000) == base
    assert members(seed=1)["test"] != base["test"]


def test_membership_is_pinned():
    """Stored predictions name rows by position: another choice for the same seed would mix them up."""
    shares = Shares(1797, seed=3, validation=0.1, test=0.2, max_train_rows=None)
    split = Split("test", read("digits"), shares, "test")
    digest = hashlib.sha256(split.read_all().row_id.astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("b2c64a04b6810fc2")


def test_splitmix64_is_the_published_one():
    outputs = [int(splitmix64(np.zeros(1, np.uint64), index)[0]) for index in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(
    num_rows=st.integers(20, 300),
    seed=st.integers(-(2**70), 2**70),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
@settings(max_examples=30, deadline=None)
def test_sizes_are_the_rounded_shares(num_rows, seed, validation, test):
    class Fake:
        def __init__(self):
            self.num_rows = num_rows

    shares = Shares(num_rows, seed, validation, test, None)
    sizes = {part: Split(part, Fake(), shares, part).num_rows for part in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sizes["test"] == round(test * num_rows)
    assert sizes["validation"] == round(validation * num_rows)
    assert sum(sizes.values()) == num_rows


# ---------------------------------------------------------------- data sets


def test_digits_with_an_unknown_set():
    data = opened("digits", unknown={"photos": "photo_patches"})
    assert set(data.splits) == {"train", "validation", "test", "unknown-photos"}
    assert list(data.unknown) == ["photos"]
    assert (data.input_shape, data.num_classes, data.task) == ((8, 8, 1), 10, "classification")
    described = data.describe()
    assert described["splits"]["unknown-photos"] == {"source": "photo_patches", "num_rows": 1874}
    assert json.loads(json.dumps(described)) == described
    assert json.loads(json.dumps(data.fingerprint())) == data.fingerprint()


def test_an_own_test_split_is_used_whole(tmp_path):
    data = opened(write_hub(tmp_path))
    assert data.splits["test"].num_rows == 30
    assert data.splits["train"].num_rows + data.splits["validation"].num_rows == 60
    assert data.class_names == ("0", "1", "2")


def test_an_unknown_set_may_have_a_train_split_only_or_no_labels(tmp_path):
    write(tmp_path / "new/train-00000-of-00001.parquet", {"image": hub_column(pictures(4, (6, 5)))})
    data = opened(write_hub(tmp_path / "old"), unknown={"new": str(tmp_path / "new")})
    assert data.splits["unknown-new"].read_all().labels is None


def test_the_fingerprint_follows_the_data_and_not_their_place(tmp_path):
    one, copy = opened(write_hub(tmp_path / "a/set")), opened(write_hub(tmp_path / "b/set"))
    assert one.fingerprint() == copy.fingerprint()
    labels = np.arange(30) % 3
    labels[[0, 1]] = labels[[1, 0]]
    images = hub_column(pictures(30, seed=20))
    write(tmp_path / "b/set/train-00000-of-00002.parquet", {"image": images, "label": labels})
    assert one.fingerprint() != opened(tmp_path / "b/set").fingerprint()


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"validation_share": 0.0}, "data.validation_share=0.0 leaves none of 1797 rows"),
        ({"test_share": 0.0001}, "data.test_share=0.0001 leaves none of 1797 rows"),
        ({"validation_share": 0.5, "test_share": 0.5}, "leave no training row"),
        ({"validation_share": 1.5}, "data.validation_share=1.5"),
        ({"max_train_rows": 0}, "data.max_train_rows=0"),
        ({"max_train_rows": 1}, "training rows are of class"),
        ({"unknown": {"a/b": "photo_patches"}}, "data.unknown.a/b"),
        ({"unknown": {"photos": "photo_patch"}}, "data.unknown.photos=photo_patch"),
    ],
)
def test_impossible_settings_are_named(changed, expected):
    with pytest.raises(UserError) as raised:
        opened("digits", **changed)
    assert expected in message(raised)


def test_an_unknown_set_of_another_shape_is_refused(tmp_path):
    with pytest.raises(UserError) as raised:
        opened("digits", unknown={"mine": str(write_hub(tmp_path))})
    assert "data.unknown.mine=" in message(raised)
    assert "(6, 5, 1)" in message(raised)
    assert "(8, 8, 1)" in message(raised)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (None, "train rows have no labels"),
        ([0] * 20, "of class 0 only"),
        ([-1, 1] * 10, "rows have no label;"),
        (pa.array([None, 1] * 10), "rows have no label;"),
        ([0, 10_000] * 10, "number the classes from 0"),
    ],
)
def test_unusable_labels_are_named(tmp_path, labels, expected):
    columns = {"image": hub_column(pictures(20))}
    path = write(tmp_path / "rows.parquet", columns if labels is None else {**columns, "label": labels})
    with pytest.raises(UserError) as raised:
        opened(path)
    assert expected in message(raised)
    assert "data.source=rows.parquet" in message(raised)


def test_labels_beyond_the_named_classes_are_refused(tmp_path):
    metadata = {"info": {"features": {"label": {"names": ["cat", "dog"]}}}}
    columns = {"image": hub_column(pictures(20)), "label": np.arange(20) % 3}
    with pytest.raises(UserError, match="label 2, but its metadata name 2 classes"):
        opened(write(tmp_path / "rows.parquet", columns, metadata=metadata))


def test_a_folder_with_a_test_split_only_is_no_training_set(tmp_path):
    write(tmp_path / "test-00000-of-00001.parquet", {"image": hub_column(pictures(4)), "label": [0, 1, 0, 1]})
    with pytest.raises(UserError, match="test split only"):
        opened(tmp_path)


def test_torch_is_not_imported_for_data():
    code = "import sys, hydra_ray.datasets; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- real data


@needs_shared
def test_real_mnist_with_fashion_as_unknown():
    data = opened(SHARED / "mnist", unknown={"fashion": str(SHARED / "fashion_mnist")}, max_train_rows=1000)
    sizes = {name: split.num_rows for name, split in data.splits.items()}
    assert sizes == {"train": 1000, "validation": 6000, "test": 10_000, "unknown-fashion": 10_000}
    rows = data.splits["test"].read(4998, 5003)
    table = pq.read_table(SHARED / "mnist/test-00000-of-00001.parquet").slice(4998, 5).to_pydict()
    expected = [np.asarray(Image.open(io.BytesIO(each["bytes"]))) for each in table["image"]]
    np.testing.assert_array_equal(rows.inputs[..., 0], expected)
    np.testing.assert_array_equal(rows.labels, table["label"])


@needs_shared
def test_real_cifar_has_colour_and_other_column_names():
    data = opened(SHARED / "cifar10-jpeg", unknown={"near": str(SHARED / "cifar100-jpeg")})
    assert (data.input_shape, data.num_classes) == ((32, 32, 3), 10)
    near = data.splits["unknown-near"].read_all()
    assert near.inputs.shape == (916, 32, 32, 3)
    assert near.labels is not None
    assert near.labels.max() > 9


@needs_shared
def test_real_regression_data_are_refused_for_classification():
    with pytest.raises(UserError, match="column y holds double"):
        opened(SHARED / "uci/concrete.parquet")
