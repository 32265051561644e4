"""Tables with text, dates and missing values: codes and medians of the training rows' file, and the way back."""

import json

import numpy as np
import pandas as pd
import pytest
from helpers.dataset_files import message, opened, write
from helpers.messy import write_messy

from hydra_ray.data import InputFormat
from hydra_ray.errors import UserError
from hydra_ray.inference.inputs import batches_of

RNG = np.random.default_rng(0)
SIZE = 300
NUMBERS = RNG.normal(size=SIZE)
LABEL = np.array(["yes", "no"])[(NUMBERS > 0).astype(int)]
CITY = RNG.choice(["Bern", "Basel", "Genf"], SIZE)


def table(path, **columns):
    return write(path, {"size": NUMBERS, **columns, "label": LABEL})


def test_a_messy_csv_opens_with_no_key_at_all(tmp_path):
    data = opened(write_messy(tmp_path / "my.csv"))
    source = data.splits["train"].source
    names = ("when", "city", "size", "rooms", "sold", "colour", "when is missing", "size is missing")
    assert source.feature_names == names
    assert data.categories == (0, 6, 0, 0, 0, 5, 0, 0)
    rows = source.read(0, source.num_rows)
    assert rows.inputs.dtype == np.float32
    assert np.isfinite(rows.inputs).all()
    line = data.lines()[0]
    assert "4 columns of numbers when less" in line
    assert "2 of categories city (4 values), colour (3 values)" in line
    assert "of city (a ? is a missing value)" in line
    assert "left out note (always the same in every row for training" in line
    assert "data.ignore=[] uses it" in line


def test_codes_are_0_for_missing_1_for_rare_and_unseen_then_values(tmp_path):
    city = [*CITY[:-4], None, "?", " ", "Zug"]
    data = opened(table(tmp_path / "train.parquet", city=city))
    codes = data.splits["train"].source.read(0, SIZE).inputs[:, 1]
    assert codes[-4:].tolist() == [0, 0, 0, 1]
    expected = {"Basel": 2, "Bern": 3, "Genf": 4}
    assert codes[:-4].tolist() == [expected[name] for name in CITY[:-4]]
    assert data.categories == (0, 5)


def test_what_is_decided_comes_from_the_training_rows_file(tmp_path):
    size = np.where(np.arange(SIZE) < 9, np.nan, NUMBERS)
    table(tmp_path / "set/train.parquet", city=CITY, size=size)
    rest = {"city": ["Bern", "Chur", None], "size": [None, 1e6, 2e6], "label": ["yes", "no", "no"]}
    write(tmp_path / "set/test.parquet", rest)
    data = opened(tmp_path / "set")
    rows = data.splits["test"].read_all().inputs
    median = np.float32(np.sort(NUMBERS[9:])[(SIZE - 9 - 1) // 2])
    np.testing.assert_array_equal(rows, np.float32([[median, 3, 1], [1e6, 1, 0], [2e6, 0, 0]]))


def test_a_dense_table_of_numbers_has_the_key_it_always_had(tmp_path):
    path = write(tmp_path / "rows.parquet", {"a": NUMBERS, "b": RNG.integers(0, 9, SIZE), "label": LABEL})
    source = opened(path).splits["train"].source
    assert source.categories == ()
    assert sorted(source.fingerprint()) == [
        "classes",
        "decimals",
        "files",
        "inputs",
        "label",
        "num_rows",
        "offsets",
    ]


@pytest.mark.parametrize("word", ["?", "NA", "-", "none", "nan", "unknown", " ? "])
def test_words_for_a_missing_number(tmp_path, word):
    lines = [f"{'?' if row == 7 else row / 7:}," + str(row % 2) for row in range(60)]
    lines[7] = f"{word},1"
    (tmp_path / "rows.csv").write_text("\n".join(["a,label", *lines]) + "\n")
    data = opened(tmp_path / "rows.csv")
    rows = data.splits["train"].source.read(0, 60).inputs
    assert rows[:, 1].tolist() == [float(row == 7) for row in range(60)]
    assert "missing, the median instead and a feature that says so: 1 of a" in data.lines()[0]


@pytest.mark.parametrize(
    ("values", "expected", "way"),
    [
        ([f"name {row}" for row in range(SIZE)], "column x holds text, 300 different in 300 rows", "ignore=[x]"),
        (["12 kg", *map(str, NUMBERS[1:])], "1 of 300 values is no number ('12 kg', row 0 ", "columns={x: number}"),
        ([{"a": 1}] * SIZE, "column x holds struct<a: int64>", "ignore=[x]"),
    ],
)
def test_what_is_unclear_is_a_line_with_the_ways_out(tmp_path, values, expected, way):
    path = table(tmp_path / "rows.parquet", x=values)
    with pytest.raises(UserError) as raised:
        opened(path)
    assert expected in message(raised)
    assert f"data.{way}" in message(raised)
    assert opened(path, ignore=("x",)).input_shape == (1,)


def test_a_column_can_be_made_a_category_or_a_number(tmp_path):
    codes = RNG.integers(8000, 8005, SIZE)
    path = table(tmp_path / "rows.parquet", zip=codes, kg=["12 kg", *map(str, NUMBERS[1:])])
    data = opened(path, columns=(("zip", "category"), ("kg", "number")))
    assert data.categories == (0, 7, 0, 0)
    rows = data.splits["train"].source.read(0, SIZE).inputs
    np.testing.assert_array_equal(rows[:, 1], codes - 8000 + 2)
    assert rows[0, 3] == 1
    np.testing.assert_array_equal(rows[1:, 2], NUMBERS[1:].astype(np.float32))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ((("zap", "category"),), "rows.parquet has no column 'zap'"),
        ((("label", "category"),), "data.columns.label=category: the column is the label"),
    ],
)
def test_a_name_in_columns_that_is_none_of_the_features_is_named(tmp_path, columns, expected):
    path = table(tmp_path / "rows.parquet", city=CITY)
    with pytest.raises(UserError) as raised:
        opened(path, columns=columns)
    assert expected in message(raised)


def test_a_missing_number_where_no_training_row_lacks_one_is_refused(tmp_path):
    table(tmp_path / "set/train.parquet", city=CITY)
    write(tmp_path / "set/test.parquet", {"city": ["Bern"] * 2, "size": [1.0, None], "label": ["yes", "no"]})
    data = opened(tmp_path / "set")
    with pytest.raises(UserError, match="column size: row 1 has no value, and no training row lacks one there"):
        data.splits["test"].read_all()


# the way back


def test_a_frame_has_the_columns_of_the_file_again(tmp_path):
    path = write_messy(tmp_path / "my.csv")
    data = opened(path)
    source = data.splits["train"].source
    frame = data.frame(source.read(0, source.num_rows).inputs)
    given = pd.read_csv(path, skipinitialspace=True, na_values="?")
    given["when"] = pd.to_datetime(given["when"])
    assert list(frame) == ["when", "city", "size", "rooms", "sold", "colour"]
    assert (
        frame["city"].where(frame["city"].notna(), None).tolist()
        == given["city"].where(given["city"].notna(), None).tolist()
    )
    np.testing.assert_allclose(frame["size"], given["size"], rtol=1e-6)
    for name in ("rooms", "colour"):
        assert frame[name].tolist() == given[name].tolist()
    pd.testing.assert_series_equal(frame["when"].isna(), given["when"].isna())
    days = (frame["when"] - given["when"]).dropna()
    assert (days == pd.Timedelta(0)).all()


def test_kinds_of_numbers_come_back_as_they_were(tmp_path):
    columns = {
        "flag": NUMBERS > 0.3,
        "whole": RNG.integers(0, 9, SIZE),
        "gone": pd.array([None, *[True, False] * 149, True], dtype="boolean"),
        "stamp": (1_700_000_000 + np.arange(SIZE) * 60).astype("datetime64[s]"),
        "span": np.arange(SIZE).astype("timedelta64[s]"),
    }
    path = tmp_path / "rows.parquet"
    pd.DataFrame({**columns, "city": CITY, "label": LABEL}).to_parquet(path)
    data = opened(path)
    source = data.splits["train"].source
    frame = data.frame(source.read(0, SIZE).inputs)
    assert frame["flag"].tolist() == columns["flag"].tolist()
    assert frame["whole"].tolist() == columns["whole"].tolist()
    assert frame["whole"].dtype == np.int64
    assert frame["gone"].tolist() == [None, *[True, False] * 149, True]
    assert (frame["stamp"].to_numpy() == columns["stamp"]).all()
    assert (frame["span"].to_numpy() == columns["span"]).all()


# as a student takes it


def formed(data) -> InputFormat:
    return InputFormat.from_json(json.loads(json.dumps(InputFormat.of(data).to_json())))


def stored(inputs, form) -> np.ndarray:
    return np.concatenate(list(batches_of(inputs, form, 64)))


def test_a_pandas_frame_is_read_as_the_training_file_is(tmp_path):
    path = write_messy(tmp_path / "my.csv")
    data = opened(path)
    form = formed(data)
    assert form.names == ("when", "city", "size", "rooms", "sold", "colour")
    assert form.categories == data.categories
    source = data.splits["train"].source
    expected = source.read(0, source.num_rows).inputs
    for frame in (pd.read_csv(path, skipinitialspace=True), pd.read_csv(path, skipinitialspace=True, na_values="?")):
        np.testing.assert_array_equal(stored(frame, form), expected)
    shuffled = pd.read_csv(path, skipinitialspace=True)[["label", "colour", "sold", "rooms", "size", "city", "when"]]
    np.testing.assert_array_equal(stored(shuffled, form), expected)
    np.testing.assert_array_equal(stored(data.frame(expected), form), expected)


def test_records_and_mappings_are_tables_too(tmp_path):
    form = formed(opened(table(tmp_path / "rows.parquet", city=[*CITY[:-1], None])))
    expected = np.float32([[0.5, 2], [1, 1], [2, 0]])
    records = [{"size": 0.5, "city": "Basel"}, {"size": 1, "city": "Chur"}, {"size": 2, "city": None}]
    np.testing.assert_array_equal(stored(records, form), expected)
    mapping = {"city": ["Basel", 7, None], "size": [0.5, 1, 2]}
    np.testing.assert_array_equal(stored(mapping, form), expected)
    objects = np.array([[0.5, "Basel"], [1, "Chur"], [2, None]], object)
    np.testing.assert_array_equal(stored(objects, form), expected)


def test_true_and_false_may_be_text_where_a_value_is_missing(tmp_path):
    flags = RNG.random(SIZE) < 0.5
    table(tmp_path / "set/train.parquet", flag=[None, *flags[1:].tolist()])
    write(tmp_path / "set/test.parquet", {"size": [1.0] * 3, "flag": ["True", "false", "?"], "label": ["no"] * 3})
    data = opened(tmp_path / "set")
    median = float(np.sort(flags[1:])[(SIZE - 2) // 2])
    expected = np.float32([[1, 1, 0], [1, 0, 0], [1, median, 1]])
    np.testing.assert_array_equal(data.splits["test"].read_all().inputs, expected)
    np.testing.assert_array_equal(stored({"size": [1, 1, 1], "flag": ["True", "false", "?"]}, formed(data)), expected)


def test_frames_of_any_type_are_read(tmp_path):
    days = [f"2020-01-{1 + row % 28:02}" for row in range(SIZE)]
    form = formed(opened(table(tmp_path / "rows.parquet", size=[None, *NUMBERS[1:]], city=CITY, day=days)))
    one = pd.DataFrame({"size": [1, None], "city": ["Bern", None], "day": ["2020-01-05", "2020-01-06"]})
    other = pd.DataFrame(
        {
            "size": pd.array([1, None], dtype="Int64"),
            "city": pd.Categorical(["Bern", None]),
            "day": pd.to_datetime(["2020-01-05", "2020-01-06"]),
        }
    )
    np.testing.assert_array_equal(stored(one, form), stored(other, form))
    gone = pd.DataFrame({"size": [None, None], "city": [None, None], "day": ["2020-01-05"] * 2})
    assert stored(gone, form)[:, [1, 3]].tolist() == [[0, 1]] * 2


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("size", ["1", "x"], "column size: 'x' is no number"),
        ("day", ["5.1.2020"], "column day: holds '5.1.2020', in the training rows dates"),
    ],
)
def test_what_a_frame_holds_beside_it_is_named(tmp_path, column, values, expected):
    days = [f"2020-01-{1 + row % 28:02}" for row in range(SIZE)]
    form = formed(opened(table(tmp_path / "rows.parquet", day=days)))
    frame = pd.DataFrame({"size": 1.0, "day": "2020-01-05"}, index=range(len(values)))
    with pytest.raises(UserError, match=expected):
        stored(frame.assign(**{column: values}), form)


def test_an_array_of_numbers_says_nothing_of_categories(tmp_path):
    form = formed(opened(table(tmp_path / "rows.parquet", city=CITY)))
    with pytest.raises(UserError, match="give a table with the columns size, city"):
        stored(np.zeros((3, 2)), form)
