"""Which files of a folder are which split's, and what a validation file of the publisher's changes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.dataset_files import message, opened, read, write
from PIL import Image

from hydra_ray.data.catalog import split_names
from hydra_ray.errors import UserError

SIZES = {"train": 60, "validation": 20, "test": 12}


def table(num_rows: int, flip: bool = False) -> dict:
    """Rows whose class the sign of x0 says, or its opposite."""
    x = np.random.default_rng(num_rows).normal(size=(num_rows, 2))
    return {"x0": x[:, 0], "x1": x[:, 1], "label": ((x[:, 0] > 0) ^ flip).astype(int)}


def write_any(path, num_rows: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.lower().endswith(".parquet"):
        write(path, table(num_rows))
    else:
        lines = ["x0,x1,label", *(",".join(map(str, row)) for row in zip(*table(num_rows).values(), strict=True))]
        path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("word", ["validation", "valid", "val", "dev", "VAL"])
@pytest.mark.parametrize(
    "name",
    [
        "{}-00000-of-00001.parquet",
        "{}-00000-of-00001-abcdef0123456789.parquet",
        "data/{}-00000-of-00001.parquet",
        "{}.parquet",
        "{}.PARQUET",
        "{}.csv",
        "{}.CSV",
        "{}.data",
        "plain/{}/0000.parquet",
        "{}/one.Csv",
    ],
)
def test_a_file_is_found_under_every_usual_name(tmp_path, word, name):
    for split, written in (("train", "train"), ("validation", word), ("test", "test")):
        write_any(tmp_path / name.format(written), SIZES[split])
    assert split_names(str(tmp_path)) == ("train", "validation", "test")
    assert {split: read(tmp_path, split).num_rows for split in SIZES} == SIZES  # type: ignore[arg-type]


def test_rows_of_a_validation_file_are_the_validation_split(tmp_path):
    """Case 06: validation is of another year, so that labels tell which rows were taken."""
    write(tmp_path / "train-00000-of-00001.parquet", table(600))
    write(tmp_path / "validation-00000-of-00001.parquet", table(200, flip=True))
    data = opened(tmp_path, validation_fraction=0.15, test_fraction=0.25)
    assert {name: split.num_rows for name, split in data.splits.items()} == {
        "train": 450,
        "validation": 200,
        "test": 150,
    }
    for name, split in data.splits.items():
        rows = split.read_all()
        np.testing.assert_array_equal(rows.labels, (rows.inputs[:, 0] > 0) ^ (name == "validation"))
    assert data.splits["validation"].source.num_rows == 200
    assert opened(tmp_path, validation_fraction=0.0).splits["validation"].num_rows == 200


def test_with_all_three_files_no_training_row_is_held_out(tmp_path):
    for split, num_rows in SIZES.items():
        write(tmp_path / f"{split}.parquet", table(num_rows))
    data = opened(tmp_path, max_train_rows=50)
    assert {name: split.num_rows for name, split in data.splits.items()} == {**SIZES, "train": 50}


def test_a_validation_file_of_other_columns_is_refused(tmp_path):
    write(tmp_path / "train.parquet", table(30))
    write(tmp_path / "validation.parquet", {"x0": np.zeros(5), "label": np.arange(5) % 2})
    with pytest.raises(UserError) as raised:
        opened(tmp_path)
    assert "validation" in message(raised)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["val.csv", "dev.csv"], "dev.csv and val.csv could both be the validation split"),
        (["validation.csv", "validation.CSV"], "could both be the validation split"),
        (["validation.parquet", "valid-00000-of-00001.parquet"], "could both be the validation split"),
        (["val/one.parquet", "dev/one.parquet"], "dev and val could both be the validation split"),
        (["val-00000-of-00001-aaaaaaaaaaaaaaaa.parquet", "val-00000-of-00001.parquet"], "two exports are mixed"),
        (["val-00000-of-00001.parquet", "val-00001-of-00002.parquet"], "two exports are mixed"),
        (["val-00001-of-00002.parquet"], "validation part 0 of 2 is missing"),
    ],
)
def test_files_that_cannot_be_told_apart_are_named(tmp_path, names, expected):
    for name in ["train.parquet", *names]:
        write_any(tmp_path / name, 30)
    with pytest.raises(UserError) as raised:
        split_names(str(tmp_path))
    assert expected in message(raised)


def test_numbered_files_are_read_in_the_order_of_their_numbers(tmp_path):
    for part in (0, 1, 2):
        name = f"train-{part:05}-of-00003-{9 - part:016x}.parquet"
        write(tmp_path / name, {"x": np.full(3, float(part)), "label": np.arange(3) % 2})
    assert read(tmp_path).read(0, 9).inputs[:, 0].tolist() == [0] * 3 + [1] * 3 + [2] * 3


@pytest.mark.parametrize("name", ["ROWS.PARQUET", "rows.pq", "rows"])
def test_a_single_parquet_file_is_known_by_its_first_bytes(tmp_path, name):
    pq.write_table(pa.table(table(30)), tmp_path / name)
    assert read(tmp_path / name).num_rows == 30


@pytest.mark.parametrize("name", ["ROWS.CSV", "rows.data", "rows.txt", "rows"])
def test_a_single_file_of_text_is_a_table(tmp_path, name):
    write_any(tmp_path / name, 30)
    assert read(tmp_path / name).num_rows == 30


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_folder_of_parts_is_one_split_in_the_order_of_their_names(tmp_path, suffix):
    sizes = {"part-000-00000": 10, "part-000-00001": 20, "part-001-00000": 30}
    for name, num_rows in sizes.items():
        write_any(tmp_path / f"{name}.{suffix}", num_rows)
    assert split_names(str(tmp_path)) == ("train",)
    expected = np.concatenate([table(num_rows)["x0"] for num_rows in sizes.values()])
    np.testing.assert_allclose(read(tmp_path).read(0, 60).inputs[:, 0], expected, rtol=1e-6)


def test_parts_of_other_columns_are_refused(tmp_path):
    write(tmp_path / "one.parquet", table(30))
    write(tmp_path / "two.parquet", {"x0": np.zeros(5), "label": np.arange(5) % 2})
    with pytest.raises(UserError) as raised:
        opened(tmp_path)
    assert "two.parquet" in message(raised)


@pytest.mark.parametrize("named", ["test.parquet", "validation/one.parquet", "images/cat/one.png"])
def test_beside_a_named_split_or_images_other_files_are_no_parts(tmp_path, named):
    """A table of metadata beside photos, or a dictionary of columns beside the test file."""
    write_any(tmp_path / "columns.csv", 10)
    if named.endswith("png"):
        (tmp_path / named).parent.mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / named)
        assert split_names(str(tmp_path)) == ("train",)
        assert read(tmp_path).num_rows == 1
    else:
        write_any(tmp_path / named, 10)
        assert "train" not in split_names(str(tmp_path))
