"""Data of regressions: targets in Parquet and CSV, standard splits, embedded and generated sets, one-line errors."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.dataset_files import hub_column, message, opened, pictures, read, write
from support import DATA, NEEDS_DATA

from hydra_ray.data.catalog import split_names
from hydra_ray.data.generated import spirals, wave
from hydra_ray.errors import UserError


def columns(num_rows: int = 40) -> dict:
    """Two features, one of whole numbers, a target that follows from them, a row number, two standard splits."""
    number = np.arange(num_rows)
    return {
        "id": number,
        "size": np.linspace(0.1, 3.9, num_rows),
        "rooms": number % 5,
        "price": number % 5 * 10.0 + np.linspace(0.1, 3.9, num_rows),
        "test_split_0": number % 10 == 0,
        "test_split_1": number % 10 == 1,
    }


def write_csv(path: Path, table: dict, delimiter: str = ",") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [delimiter.join(table), *(delimiter.join(map(str, row)) for row in zip(*table.values(), strict=True))]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(params=["parquet", "csv", "semicolons"])
def houses(request, tmp_path) -> Path:
    if request.param == "parquet":
        return write(tmp_path / "houses.parquet", columns())
    return write_csv(tmp_path / "houses.csv", columns(), ";" if request.param == "semicolons" else ",")


def test_a_target_makes_a_regression_of_the_other_columns(houses):
    data = opened(houses, target="price")
    assert (data.task, data.num_outputs, data.num_classes, data.input_shape) == ("regression", 2, 0, (2,))
    source, table = data.splits["train"].source, columns()
    assert source.feature_names == ("size", "rooms")
    rows = source.read(7, 33)
    expected = np.stack([table["size"], table["rooms"]], axis=1)[7:33]
    np.testing.assert_array_equal(rows.inputs, expected.astype(np.float32))
    np.testing.assert_array_equal(rows.labels, table["price"][7:33].astype(np.float32))
    assert rows.labels is not None
    assert rows.labels.dtype == rows.inputs.dtype == np.float32
    np.testing.assert_array_equal(source.read_labels(), table["price"].astype(np.float32))


def test_classification_has_as_many_outputs_as_classes():
    assert opened("digits").num_outputs == 10


def test_a_standard_split_is_taken_as_it_is(houses):
    for split in (0, 1):
        data = opened(houses, target="price", split=split, validation_fraction=0.25)
        np.testing.assert_array_equal(data.splits["test"].row_ids(), np.arange(split, 40, 10))
        assert {name: each.num_rows for name, each in data.splits.items()} == {"train": 26, "validation": 10, "test": 4}
        assert len(np.unique(np.concatenate([each.row_ids() for each in data.splits.values()]))) == 40


def test_regression_sources_are_cheap_to_ship(houses):
    data = opened(houses, target="price", split=1)
    shipped = pickle.dumps(data)
    assert len(shipped) < 4000
    again = pickle.loads(shipped).splits["validation"].read_all()
    np.testing.assert_array_equal(again.inputs, data.splits["validation"].read_all().inputs)


def test_the_fingerprint_follows_values_and_target_not_the_place(tmp_path):
    table = columns()
    for suffix, make in (("parquet", write), ("csv", write_csv)):
        paths = [make(tmp_path / folder / f"houses.{suffix}", table) for folder in ("a", "b")]
        one, copy = (opened(path, target="price").fingerprint() for path in paths)
        assert one == copy
        assert opened(paths[0], target="size").fingerprint() != one
        changed = {**table, "price": table["price"] + np.eye(40)[3]}
        assert opened(make(tmp_path / "b" / f"houses.{suffix}", changed), target="price").fingerprint() != one


def test_a_folder_of_csv_files_has_splits(tmp_path):
    write_csv(tmp_path / "train.csv", columns())
    write_csv(tmp_path / "test.csv", columns(8))
    assert split_names(str(tmp_path)) == ("train", "test")
    assert opened(tmp_path, target="price").splits["test"].num_rows == 8


def test_parts_of_csv_are_one_table_though_their_types_differ(tmp_path):
    write_csv(tmp_path / "train-00000-of-00002.csv", {"x": [1, 2], "y": [1.5, 2.5]})
    write_csv(tmp_path / "train-00001-of-00002.csv", {"x": [0.5, 4.0], "y": [3, 4]})
    rows = read(tmp_path, target="y").read(1, 4)
    np.testing.assert_array_equal(rows.inputs[:, 0], [2, 0.5, 4])
    np.testing.assert_array_equal(rows.labels, [2.5, 3, 4])


def test_csv_that_changed_after_opening_is_refused(tmp_path):
    path = write_csv(tmp_path / "houses.csv", columns())
    shipped = pickle.dumps(read(path, target="price"))
    write_csv(path, columns(30))
    from hydra_ray.data.tables import csv_files

    csv_files._load.cache_clear()
    with pytest.raises(UserError, match="has changed"):
        pickle.loads(shipped).read(0, 1)


def test_classes_are_read_from_csv_too(tmp_path):
    data = opened(write_csv(tmp_path / "rows.csv", {"x": np.linspace(0, 1, 30), "label": np.arange(30) % 3}))
    assert (data.task, data.num_outputs) == ("classification", 3)


def test_images_may_have_a_target(tmp_path):
    table = {"image": hub_column(pictures(20)), "age": np.arange(20), "name": [str(row) for row in range(20)]}
    data = opened(write(tmp_path / "faces.parquet", table), target="age")
    assert (data.task, data.input_shape) == ("regression", (6, 5, 1))
    labels = data.splits["train"].read_all().labels
    assert labels is not None
    assert labels.dtype == np.float32


def test_an_unknown_set_needs_no_target(tmp_path, houses):
    new = {name: values for name, values in columns(6).items() if name != "price"}
    data = opened(houses, target="price", unknown={"new": str(write(tmp_path / "new.parquet", new))})
    assert data.splits["unknown-new"].read_all().labels is None


def test_features_of_other_names_are_refused(tmp_path, houses):
    other = {"size": [1.0, 2.0], "floors": [1, 2], "price": [3.0, 4.0]}
    with pytest.raises(UserError) as raised:
        opened(houses, target="price", unknown={"new": str(write(tmp_path / "new.parquet", other))})
    assert "has no column rooms, which the training rows have; its columns are size, floors, price" in message(raised)


NAN, HUGE = float("nan"), 1e300


@pytest.mark.parametrize(
    ("changed", "settings", "expected"),
    [
        ({}, {"target": "prize"}, "data.target=prize: data.source={} has no such column; its columns are id (int64)"),
        ({"price": ["low"] * 40}, {"target": "price"}, "column price of data.source={} holds string, but a target is"),
        ({"price": [3.0] * 40}, {"target": "price"}, "the target is 3 in all 28 training rows, so there is nothing to"),
        ({"price": [NAN, *range(39)]}, {"target": "price"}, "data.source={}: column price: row 0 has "),
        ({"price": [*range(39), None]}, {"target": "price"}, "data.source={}: column price: row 39 has no value"),
        ({"price": [*range(39), HUGE]}, {"target": "price"}, "column price: row 39 has the value 1e+300, too large"),
        (
            {"name": [f"house {row}" for row in range(40)]},
            {"target": "price"},
            "column name holds text, 40 different in 40 rows, as names and comments do: leave it out with data.ignore=",
        ),
        (
            {},
            {"target": "price", "split": 2},
            "data.test_split=2: {name} has no column test_split_2; its splits are 0 to 1",
        ),
        ({"test_split_1": [False] * 40}, {"target": "price", "split": 1}, "data.test_split=1: none of the rows"),
        ({"test_split_1": [True] * 40}, {"target": "price", "split": 1}, "data.test_split=1: all of the rows"),
        ({}, {}, "column price holds double; for a regression set data.target=price"),
    ],
)
def test_mistakes_in_a_regression_are_named(tmp_path, changed, settings, expected):
    path = write(tmp_path / "houses.parquet", {**columns(), **changed})
    if not settings:
        path = write(tmp_path / "houses.parquet", {"price": [1.5, 2.5], "size": [1.0, 2.0]})
        with pq.ParquetFile(path) as file:
            renamed = file.read().rename_columns(["target", "size"])
        pq.write_table(renamed, path)
        expected = expected.replace("price", "target")
    with pytest.raises(UserError) as raised:
        opened(path, **settings)
    assert expected.format(path, name="houses.parquet") in message(raised)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (float("-inf"), "a value that is not finite"),
        (HUGE, "the value 1e+300, too large for float32"),
        (-3.5e38, "the value -3.5e+38, too large for float32"),
    ],
)
def test_features_that_float32_cannot_be_are_named(tmp_path, value, problem):
    sizes = np.linspace(0.1, 3.9, 40)
    sizes[30] = value
    path = write(tmp_path / "houses.parquet", {**columns(), "size": pa.array(sizes)})
    with pytest.raises(UserError) as raised:
        opened(path, target="price").splits["train"].source.read(0, 40)
    assert f"column size: row 30 has {problem}" in message(raised)


@pytest.mark.parametrize("empty", ["", "NA", "nan"])
def test_empty_cells_of_csv_are_missing_numbers(tmp_path, empty):
    path = write_csv(tmp_path / "houses.csv", {**columns(), "rooms": [*range(39), empty]})
    source = read(path, target="price")
    assert source.feature_names == ("size", "rooms", "rooms is missing")
    assert source.read(39, 40).inputs[0, 1:].tolist() == [19, 1]


def test_empty_targets_of_csv_are_named(tmp_path):
    path = write_csv(tmp_path / "houses.csv", {**columns(), "price": [*range(39), ""]})
    with pytest.raises(UserError, match="column price: row 39 has no value"):
        read(path, target="price").read_labels()


@pytest.mark.parametrize(
    ("text", "expected"), [("a,b\n1,2,3\n", "is no table"), ("x,y\n", "holds no rows"), ("", "no")]
)
def test_csv_that_is_no_table_is_named(tmp_path, text, expected):
    (tmp_path / "rows.csv").write_text(text)
    with pytest.raises(UserError) as raised:
        read(tmp_path / "rows.csv", target="y")
    assert expected in message(raised)


def test_three_rows_are_too_few_and_the_line_says_what_to_do(tmp_path):
    path = write(tmp_path / "few.parquet", {"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    with pytest.raises(UserError, match=r"leaves none of 3 rows; use 0.33 or more"):
        opened(path, target="y")
    with pytest.raises(UserError, match="there is 1 training row only"):
        opened(path, target="y", validation_fraction=0.34, test_fraction=0.34)


def test_settings_that_do_not_fit_the_source_are_named(tmp_path):
    for settings, expected in (
        ({"target": "y"}, "data.target=y: diabetes has labels of its own"),
        ({"split": 0}, "data.test_split=0: diabetes has no columns test_split_0"),
    ):
        with pytest.raises(UserError) as raised:
            opened("diabetes", **settings)
        assert expected in message(raised)
    for split in ("train", "test"):
        write(tmp_path / f"{split}.parquet", columns())
    with pytest.raises(UserError, match=r"has a test split of its own; leave data.test_split out"):
        opened(tmp_path, target="price", split=0)


# ---------------------------------------------------------------- sets that are there


def test_diabetes_is_scikit_learns():
    from sklearn.datasets import load_diabetes

    expected = load_diabetes(scaled=False)
    data = opened("diabetes")
    rows = data.splits["train"].source.read(0, 442)
    np.testing.assert_array_equal(rows.inputs, expected.data.astype(np.float32))  # type: ignore[union-attr]
    np.testing.assert_array_equal(rows.labels, expected.target.astype(np.float32))  # type: ignore[union-attr]
    assert (data.task, data.input_shape) == ("regression", (10,))


def test_spirals_are_three_arms_that_wind_outwards():
    rows, classes, names, _ = spirals()
    radius, angle = np.hypot(*rows.T), np.arctan2(rows[:, 1], -rows[:, 0])
    assert np.bincount(classes).tolist() == [1000] * 3
    assert len(names) == 3
    turned = angle - 6 * np.pi * np.sqrt(radius) - 2 * np.pi * classes / 3
    off = np.abs(np.angle(np.exp(1j * turned)))
    assert np.median(off[radius > 0.1]) < 0.15
    assert np.abs(np.quantile(radius, [0.25, 0.5, 0.75]) - [0.25, 0.5, 0.75]).max() < 0.03
    data = opened("spirals")
    assert (data.task, data.num_outputs, data.input_shape) == ("classification", 3, (2,))


def test_the_wave_has_a_gap_and_noise_that_grows():
    rows, targets, *_ = wave()
    x = rows[:, 0]
    noise = targets - np.sin(2.5 * x)
    assert not ((x > -2.3) & (x < 1)).any()
    assert (x.min() < -4.45) & (x.max() > 2.95)
    assert (x < 0).mean() == pytest.approx(2.2 / 4.2, abs=0.08)
    left, right = noise[x < 0], noise[x > 2]
    assert 0.03 < left.std() < 0.05
    assert 0.3 < right.std() < 0.42
    assert abs(noise.mean()) < 0.05
    data = opened("wave")
    assert (data.task, data.num_outputs, data.input_shape) == ("regression", 2, (1,))


@NEEDS_DATA
@pytest.mark.parametrize(
    ("name", "features", "rows"),
    [
        ("concrete", 8, 1030),
        ("energy", 8, 768),
        ("kin8nm", 8, 8192),
        ("wine-quality-red", 11, 1599),
        ("yacht", 6, 308),
    ],
)
def test_real_uci_sets_have_their_standard_splits(name, features, rows):
    path = DATA / f"uci/{name}.parquet"
    data = opened(path, target="y", split=7)
    assert data.input_shape == (features,)
    assert sum(each.num_rows for each in data.splits.values()) == rows
    table = pq.read_table(path)
    expected = np.flatnonzero(table.column("test_split_7").to_numpy())
    found = data.splits["test"].read_all()
    np.testing.assert_array_equal(found.row_id, expected)
    np.testing.assert_array_equal(found.labels, table.column("y").to_numpy()[expected].astype(np.float32))
