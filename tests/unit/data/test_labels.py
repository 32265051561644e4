"""Labels of tables: which column holds them, and how whatever stands there becomes numbers of classes."""

import json

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import hub_column, message, opened, pictures, read, write

from hydra_ray.config import load_config
from hydra_ray.errors import UserError
from hydra_ray.runs import Run

NUM_ROWS = 60
GOOD = np.arange(NUM_ROWS) % 3 > 0
KINDS = {
    "text": (np.where(GOOD, "ok", "broken"), ("broken", "ok")),
    "bool": (GOOD, ("false", "true")),
    "whole floats": (GOOD.astype(float), ("0", "1")),
    "dictionary": (pa.array(np.where(GOOD, "ok", "broken")).dictionary_encode(), ("broken", "ok")),
    "two and four": (np.where(GOOD, 4, 2), ("2", "4")),
    "one and two": (np.where(GOOD, 2, 1), ("1", "2")),
    "minus and plus": (np.where(GOOD, 1, -1), ("-1", "1")),
    "0 and 255": (np.where(GOOD, 255, 0).astype(np.uint8), ("0", "255")),
    "large": (np.where(GOOD, 2**40 + 1, 2**40), (str(2**40), str(2**40 + 1))),
    "beyond int64": (GOOD.astype(np.uint64) + np.uint64(2**63), (str(2**63), str(2**63 + 1))),
    "decimals": (pa.array(GOOD.astype(int)).cast(pa.decimal128(30, 2)), ("0", "1")),
    "text of two lengths": (pa.array(np.where(GOOD, "ok", "broken")).cast(pa.large_string()), ("broken", "ok")),
}


def table(classes, name: str = "label", **more) -> dict:
    """Two features, a whole-number column that has nothing to do with the class, and a label."""
    rng = np.random.default_rng(0)
    features = {"a": rng.normal(size=NUM_ROWS), "b": rng.normal(size=NUM_ROWS)}
    return {**features, "shift": pa.array(rng.integers(0, 3, NUM_ROWS), pa.int32()), name: classes, **more}


@pytest.mark.parametrize("name", ["label", "class", "Target", "y"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_usual_name_wins_over_the_type_and_classes_are_those_that_occur(tmp_path, kind, name):
    label, names = KINDS[kind]
    data = opened(write(tmp_path / "rows.parquet", table(label, name)))
    assert (data.class_names, data.num_outputs, data.input_shape) == (names, 2, (3,))
    source = data.splits["train"].source
    np.testing.assert_array_equal(source.read_labels(), GOOD.astype(int))
    rows = source.read(7, 30)
    np.testing.assert_array_equal(rows.labels, GOOD[7:30])
    assert rows.labels is not None
    assert rows.labels.dtype == np.int64
    assert source.feature_names == ("a", "b", "shift")
    (line,) = data.lines()
    assert f"label {name}, 2 classes {', '.join(names)}" in line
    described = json.loads(json.dumps(data.describe()))
    assert described["splits"]["train"]["classes"][1] == {text: number for number, text in enumerate(names)}


WITH_GAPS = np.array([3, 7, 900])[np.arange(NUM_ROWS) % 3]
BESIDE_IMAGES = {
    "whole numbers": (WITH_GAPS, ("3", "7", "900")),
    "whole floats": (WITH_GAPS.astype(float), ("3", "7", "900")),
    "dictionary of numbers": (pa.array(WITH_GAPS).dictionary_encode(), ("3", "7", "900")),
    "dictionary of text": (pa.array(np.where(GOOD, "ok", "broken")).dictionary_encode(), ("broken", "ok")),
    "text that is numbers": (WITH_GAPS.astype(str), ("3", "7", "900")),
    "bool": (GOOD, ("false", "true")),
}


@pytest.mark.parametrize("kind", BESIDE_IMAGES)
def test_labels_beside_images_are_mapped_and_the_map_goes_with_the_student(tmp_path, kind):
    label, names = BESIDE_IMAGES[kind]
    path = write(tmp_path / "rows.parquet", {"image": hub_column(pictures(NUM_ROWS)), "label": label})
    (tmp_path / "recipe.yaml").write_text(f"storage: {tmp_path}/runs\ndata: {{source: {path}}}\n")
    run = Run(load_config(tmp_path / "recipe.yaml"))
    numbers = {name: number for number, name in enumerate(names)}
    texts = pa.array(label).cast(pa.string()).to_pylist()
    found = run.data.splits["train"].source.read_labels()
    assert found is not None
    assert found.tolist() == [numbers[text.removesuffix(".0")] for text in texts]
    assert run.about["classes"] == list(names)
    assert run.data.describe()["splits"]["train"]["classes"] == [list(names), numbers]


@pytest.mark.parametrize("kind", ["text", "bool", "two and four"])
def test_classes_are_the_same_in_csv(tmp_path, kind):
    label, names = KINDS[kind]
    lines = [f"{row / 7:.3f},{text}" for row, text in enumerate(np.asarray(label))]
    (tmp_path / "rows.csv").write_text("a,label\n" + "\n".join(lines) + "\n")
    data = opened(tmp_path / "rows.csv")
    assert data.class_names == names
    np.testing.assert_array_equal(data.splits["train"].source.read_labels(), GOOD.astype(int))


def test_the_column_of_classes_can_be_named(tmp_path):
    path = write(tmp_path / "rows.parquet", table(GOOD.astype(int), kind=np.where(GOOD, "x", "y")))
    data = opened(path, label="kind", ignore=("label",))
    assert data.class_names == ("x", "y")
    assert ("label", "data.ignore") in data.splits["train"].source.columns.left_out  # type: ignore[attr-defined]
    for name, expected in (("kin", "data.label=kin: "), ("a", "column a holds double")):
        with pytest.raises(UserError, match=expected):
            opened(path, label=name, ignore=("label",))


def test_text_that_could_be_classes_comes_before_whole_numbers(tmp_path):
    path = write(
        tmp_path / "iris.parquet", {"petal": [1.5, 2.5] * 30, "count": [1, 2, 3] * 20, "kind": ["a", "b"] * 30}
    )
    data = opened(path)
    assert data.class_names == ("a", "b")
    assert data.splits["train"].source.feature_names == ("petal", "count")


def test_one_column_of_text_before_other_candidates_is_a_question(tmp_path):
    """It may be a feature as well as the classes."""
    path = write(
        tmp_path / "rows.csv.parquet", {"town": ["a", "b"] * 30, "size": np.linspace(0, 1, 60), "sold": [0, 1, 1] * 20}
    )
    with pytest.raises(UserError, match="town or sold could be the label column") as raised:
        opened(path)
    assert raised.value.proposal == {"label": "sold"}  # type: ignore[attr-defined]
    data = opened(path, label="sold")
    assert data.splits["train"].source.feature_names == ("town", "size")
    assert opened(path, label="town").categories == ()


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (table(np.linspace(0, 1, NUM_ROWS), "y"), "column y holds double; for a regression set data.target=y"),
        (table(np.arange(NUM_ROWS) + 0.0, "y"), "column y has 60 different labels in 60 rows; name the column of"),
        (table(GOOD, "Label", label=GOOD), "Label or label could be the label column"),
        ({"a": np.linspace(0, 1, 60), "n": [1, 2] * 30, "m": [3, 4] * 30}, "n or m could be the label column"),
        (table([[1, 2]] * NUM_ROWS), "column label holds list<element: int64>"),
    ],
)
def test_labels_that_cannot_be_told_are_a_line_with_the_key(tmp_path, columns, expected):
    with pytest.raises(UserError) as raised:
        opened(write(tmp_path / "rows.parquet", columns))
    assert expected in message(raised)
    assert "data.label" in message(raised)


@pytest.mark.parametrize("missing", [None, float("nan"), ""])
def test_rows_without_a_label_are_refused(tmp_path, missing):
    values: list = ["a", "b"] * 30 if missing == "" else [0.0, 1.0] * 30
    values[5] = missing
    with pytest.raises(UserError, match="1 train rows have no label"):
        opened(write(tmp_path / "rows.parquet", table(values)), validation_fraction=0.02, test_fraction=0.02)


# files beside the training rows'


def hub(names: list[str]) -> dict:
    """The hub's metadata of a column `label`."""
    return {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}


def test_class_names_in_another_order_are_mapped_by_name(tmp_path):
    numbers = np.arange(24) % 2
    columns = {"image": hub_column(pictures(24)), "label": numbers}
    write(tmp_path / "train.parquet", columns, metadata=hub(["cat", "dog"]))
    write(tmp_path / "test.parquet", columns, metadata=hub(["dog", "cat", "cow"]))
    data = opened(tmp_path)
    assert data.class_names == ("cat", "dog")
    np.testing.assert_array_equal(data.splits["test"].read_labels(), 1 - numbers)


def test_class_names_of_two_parts_must_agree(tmp_path):
    columns = {"image": hub_column(pictures(6)), "label": np.arange(6) % 2}
    for part, names in enumerate((["cat", "dog"], ["dog", "cat"])):
        write(tmp_path / f"train-0000{part}-of-00002.parquet", columns, metadata=hub(names))
    with pytest.raises(UserError, match="classes of column label are dog, cat, in the first file cat, dog"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("test_table", "expected"),
    [
        ({"a": [1.0, 2.0], "label": ["ok", "new"]}, r"row 1 has label new .*which no training row has"),
        ({"a": [1.0, 2.0]}, "has no column label, which holds the labels of the training rows"),
        ({"b": [1.0, 2.0], "label": ["ok", "ok"]}, "has no column a, which the training rows have"),
        ({"a": [1.0, 2.0], "label": ["ok", None]}, "1 test rows have no label"),
        ({"a": ["1.0", "x"], "label": ["ok", "ok"]}, "column a: 1 of 2 values is no number"),
    ],
)
def test_a_test_file_that_does_not_follow_is_named(tmp_path, test_table, expected):
    write(tmp_path / "train.parquet", {"a": np.linspace(0, 1, 30), "label": ["ok", "bad", "ok"] * 10})
    write(tmp_path / "test.parquet", test_table)
    with pytest.raises(UserError, match=expected) as raised:
        opened(tmp_path)
    assert "test" in message(raised)


def test_a_test_file_of_the_hub_without_labels_is_named(tmp_path):
    columns = {"image": hub_column(pictures(24)), "label": np.arange(24) % 2}
    write(tmp_path / "train.parquet", columns, metadata=hub(["cat", "dog"]))
    write(tmp_path / "test.parquet", {**columns, "label": np.full(24, -1)}, metadata=hub(["cat", "dog"]))
    with pytest.raises(UserError, match="24 test rows have no label"):
        opened(tmp_path)


def test_other_files_follow_by_name_whatever_their_order_and_types(tmp_path):
    train = {"a": np.linspace(0.1, 1, 30), "b": np.arange(30) % 7, "label": np.arange(30) % 2 * 2 + 2}
    write(tmp_path / "train.parquet", train)
    other = {"more": ["x"] * 4, "label": [4.0, 2.0, 4.0, 2.0], "b": [1.0, 2.0, 3.0, 4.0], "a": ["5", "6.5", "7", "8"]}
    write(tmp_path / "test.parquet", other)
    unknown = write(tmp_path / "unknown.parquet", {"label": ["?"] * 2, "b": [True, False], "a": [1, 2]})
    data = opened(tmp_path, unknown={"new": str(unknown)})
    rows = data.splits["test"].read_all()
    np.testing.assert_array_equal(rows.inputs, np.array([[5, 1], [6.5, 2], [7, 3], [8, 4]], np.float32))
    np.testing.assert_array_equal(rows.labels, [1, 0, 1, 0])
    np.testing.assert_array_equal(data.splits["unknown-new"].read_all().inputs, [[1, 1], [2, 0]])
    assert [line.split(";")[0] for line in data.lines()] == [
        f"train 27, validation 3 rows of {tmp_path.name} (train.parquet)",
        f"test 4 rows of {tmp_path.name} (test.parquet)",
        "unknown-new 2 rows of unknown.parquet",
    ]
    assert "left out more (not in the training rows)" in data.lines()[1]
    assert "left out label (labels that nobody uses)" in data.lines()[2]


def test_a_class_that_no_training_row_happens_to_have_is_said(tmp_path):
    labels = np.zeros(NUM_ROWS, int)
    labels[:20] = 1
    test_rows = opened(write(tmp_path / "rows.parquet", table(labels))).splits["test"].row_ids()
    labels[test_rows[0]] = 7
    data = opened(write(tmp_path / "rows.parquet", table(labels)))
    assert data.class_names == ("0", "1", "7")
    assert "no training row of class 7" in data.lines()[0]
