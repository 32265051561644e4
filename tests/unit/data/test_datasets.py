"""Data sets: names, torchvision's files, checks of a whole data set, and real data."""

import io
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.dataset_files import hub_column, message, opened, pictures, read, write, write_hub
from PIL import Image
from support import DATA, NEEDS_DATA

from hydra_ray.data.catalog import open_source, split_names
from hydra_ray.data.rows import concatenate
from hydra_ray.errors import UserError

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
    assert "data.test_fraction" in message(raised)


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
    data = opened(name, root=str(tmp_path), validation_fraction=0.2)
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
    from hydra_ray.data import in_memory

    in_memory._load.cache_clear()
    (tmp_path / "data").rename(tmp_path / "gone")
    with pytest.raises(UserError) as raised:
        source.read(0, 1)
    assert "on this machine" in message(raised)


# ---------------------------------------------------------------- data sets


def test_digits_with_an_unknown_set():
    data = opened("digits", unknown={"photos": "photo_patches"})
    assert set(data.splits) == {"train", "validation", "test", "unknown-photos"}
    assert (data.input_shape, data.num_classes, data.task) == ((8, 8, 1), 10, "classification")
    described = data.describe()
    assert described["splits"]["unknown-photos"]["source"] == "photo_patches"
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
        ({"validation_fraction": 0.0}, "data.validation_fraction=0.0 leaves none of 1797 rows"),
        ({"test_fraction": 0.0001}, "data.test_fraction=0.0001 leaves none of 1797 rows"),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "leave no training row"),
        ({"validation_fraction": 1.5}, "data.validation_fraction=1.5"),
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
        (pa.array([None, 1] * 10), "rows have no label;"),
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
    code = "import sys, hydra_ray.data; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---------------------------------------------------------------- real data


@NEEDS_DATA
def test_real_mnist_with_fashion_as_unknown():
    data = opened(DATA / "mnist", unknown={"fashion": str(DATA / "fashion_mnist")}, max_train_rows=1000)
    sizes = {name: split.num_rows for name, split in data.splits.items()}
    assert sizes == {"train": 1000, "validation": 6000, "test": 10_000, "unknown-fashion": 10_000}
    rows = data.splits["test"].read(4998, 5003)
    table = pq.read_table(DATA / "mnist/test-00000-of-00001.parquet").slice(4998, 5).to_pydict()
    expected = [np.asarray(Image.open(io.BytesIO(each["bytes"]))) for each in table["image"]]
    np.testing.assert_array_equal(rows.inputs[..., 0], expected)
    np.testing.assert_array_equal(rows.labels, table["label"])


@NEEDS_DATA
def test_real_cifar_has_colour_and_other_column_names():
    data = opened(DATA / "cifar10-jpeg", unknown={"near": str(DATA / "cifar100-jpeg")})
    assert (data.input_shape, data.num_classes) == ((32, 32, 3), 10)
    near = data.splits["unknown-near"].read_all()
    assert near.inputs.shape == (916, 32, 32, 3)
    assert near.labels is None  # they are of other classes


@NEEDS_DATA
def test_real_regression_data_are_refused_for_classification():
    with pytest.raises(UserError, match="column y holds double"):
        opened(DATA / "uci/concrete.parquet")
