"""Which columns of tables are features: every type of number, nothing left out without a word, row numbers aside."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import hub_column, message, opened, pictures, write

from hydra_ray.errors import UserError

NUM_ROWS = 600
RNG = np.random.default_rng(0)
NOISE, SIGNAL = RNG.normal(size=NUM_ROWS), RNG.normal(size=NUM_ROWS).round(3)
LABEL = (SIGNAL > 0).astype(int)
USED = {
    "plain": SIGNAL,
    "decimal": pa.array([decimal.Decimal(str(value)) for value in SIGNAL], pa.decimal128(8, 3)),
    "bool": SIGNAL > 0,
    "time": (SIGNAL * 1e6).astype("datetime64[s]"),
    "nanoseconds": 1_760_000_000_000_000_000
    + (SIGNAL * 1e3).astype("timedelta64[ns]").astype("datetime64[ns]").astype(int),
    "date": pa.array([datetime.date(2026, 1, 1) + datetime.timedelta(days=int(100 * value)) for value in SIGNAL]),
    "duration": (SIGNAL * 1e6).astype("timedelta64[ms]"),
    "whole": (SIGNAL * 1000).astype(np.int16),
    "half": SIGNAL.astype(np.float16),
    "dictionary": pa.array(SIGNAL.round(1)).dictionary_encode(),
    "text of numbers": SIGNAL.astype(str),
    "text with commas": [str(value).replace(".", ",") for value in SIGNAL],
}


def accuracy(path, **settings) -> float:
    """On test rows, of a logistic regression of standardised features, fitted by 200 steps of full batches."""
    data = opened(path, test_fraction=0.25, **settings)
    train, test = (data.splits[name].read_all() for name in ("train", "test"))
    mean, std = train.inputs.mean(0, dtype=np.float64), train.inputs.std(0, dtype=np.float64)
    assert train.labels is not None
    assert test.labels is not None
    inputs = np.c_[(train.inputs - mean) / std, np.ones(len(train))]
    weights = np.zeros(inputs.shape[1])
    for _ in range(200):
        weights += inputs.T @ (train.labels - 1 / (1 + np.exp(-inputs @ weights))) / len(train) * 5
    return float(((np.c_[(test.inputs - mean) / std, np.ones(len(test))] @ weights > 0) == test.labels).mean())


@pytest.mark.parametrize("kind", USED)
def test_every_type_of_number_is_used(tmp_path, kind):
    assert accuracy(write(tmp_path / "rows.parquet", {"noise": NOISE, "signal": USED[kind], "label": LABEL})) > 0.9


@pytest.mark.parametrize("kind", USED)
def test_a_regression_follows_the_same_rule(tmp_path, kind):
    path = write(tmp_path / "rows.parquet", {"noise": NOISE, "signal": USED[kind], "label": SIGNAL})
    assert opened(path, target="label").splits["train"].source.feature_names == ("noise", "signal")


def csv(path, rows):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_one_column_with_decimal_commas_is_used_and_said(tmp_path):
    rows = [
        f"{noise:.3f};{str(value).replace('.', ',')};{y}" for noise, value, y in zip(NOISE, SIGNAL, LABEL, strict=True)
    ]
    path = csv(tmp_path / "rows.csv", ["noise;signal;label", *rows])
    assert accuracy(path) > 0.9
    assert "signal (decimal comma)" in opened(path).lines()[0]


@pytest.mark.parametrize(("decimal", "factor"), [(",", 1), (".", 1000)])
def test_commas_that_may_part_thousands_are_a_question(tmp_path, decimal, factor):
    values = np.arange(1100, 1160)
    rows = [f"{value // 1000},{value % 1000:03};{value % 2}" for value in values]
    path = csv(tmp_path / "rows.csv", ["size;label", *rows])
    with pytest.raises(UserError, match="column size has commas that may part tenths or thousands") as raised:
        opened(path)
    assert "data.decimal=','" in message(raised)
    found = opened(path, decimal=decimal).splits["train"].source.read(0, 60).inputs[:, 0]
    np.testing.assert_allclose(found, values / 1000 * factor, rtol=1e-6)


LISTS = RNG.normal(size=(NUM_ROWS, 2)).tolist()


@pytest.mark.parametrize("target", [None, "label"])
@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("signal", [*map(str, SIGNAL[:17]), "x", *map(str, SIGNAL[18:])], "1 of 600 values is no number ('x', row 17 "),
        ("signal", [f"house {row}" for row in range(NUM_ROWS)], "column signal holds text, 600 different in 600 rows"),
        ("signal", [{"a": 1}] * NUM_ROWS, "column signal holds struct<a: int64>"),
        ("tags", LISTS, "column tags holds list<element: double> beside noise: use one of them"),
        ("tags", [["a"]] * NUM_ROWS, "column tags holds list<element: string>"),
    ],
)  # fmt: skip
def test_a_column_that_cannot_be_used_is_a_line_with_the_key(tmp_path, name, values, expected, target):
    path = write(tmp_path / "rows.parquet", {"noise": NOISE, name: values, "label": SIGNAL if target else LABEL})
    with pytest.raises(UserError) as raised:
        opened(path, target=target)
    assert expected in message(raised)
    assert f"data.ignore=[{name}]" in message(raised)
    data = opened(path, target=target, ignore=(name,))
    assert data.splits["train"].source.feature_names == ("noise",)
    assert f"left out {name} (data.ignore)" in data.lines()[0]


@pytest.mark.parametrize("kind", [pa.null(), pa.float64(), pa.string()])
def test_a_column_without_any_value_is_left_out_and_said(tmp_path, kind):
    path = write(tmp_path / "rows.parquet", {"noise": NOISE, "gone": pa.nulls(NUM_ROWS, kind), "label": LABEL})
    data = opened(path)
    assert data.splits["train"].source.feature_names == ("noise",)
    assert "left out gone (no value in any row)" in data.lines()[0]
    with pytest.raises(UserError, match="column gone holds no value at all"):
        opened(path, ignore=())


def test_a_list_beside_numbers_is_used_where_these_are_ignored(tmp_path):
    path = write(tmp_path / "rows.parquet", {"tags": LISTS, "noise": NOISE, "label": LABEL})
    assert opened(path, ignore=("noise",)).input_shape == (2,)


def test_a_name_to_ignore_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path / "rows.parquet", {"noise": NOISE, "label": LABEL})
    with pytest.raises(UserError, match=r"data\.ignore: .*has no column 'nois'; its columns are noise"):
        opened(path, ignore=("nois",))


# row numbers, and names that are ours


@pytest.mark.parametrize("name", ["view", "row_id", "logits", "input", "mask"])
def test_our_own_column_names_are_features_like_others(tmp_path, name):
    view = RNG.integers(0, 5, NUM_ROWS)
    size = RNG.integers(500, 4000, NUM_ROWS)
    rows = [
        f"{7_000_000_000 + row},{100_000 * a + 10 * b},{b},{a}"
        for row, (a, b) in enumerate(zip(view, size, strict=True))
    ]
    data = opened(csv(tmp_path / "houses.csv", [f"id,price,sqft_living,{name}", *rows]), target="price")
    assert data.splits["train"].source.feature_names == ("sqft_living", name)
    rows = data.splits["train"].source.read(0, NUM_ROWS)
    design = np.c_[rows.inputs, np.ones(NUM_ROWS)].astype(np.float64)
    residual = np.linalg.lstsq(design, rows.labels, rcond=None)[1]
    assert np.sqrt(residual[0] / NUM_ROWS) < 100
    assert "left out id (an id, 600 different in 600 rows; data.ignore=[] uses it)" in data.lines()[0]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("number", np.arange(NUM_ROWS)),
        ("number", np.arange(1, NUM_ROWS + 1)),
        ("id", RNG.permutation(NUM_ROWS) + 40),
        ("id", [f"row {number}" for number in range(NUM_ROWS)]),
        ("house_id", np.arange(NUM_ROWS) // 1.2),
        ("Unnamed: 0", RNG.permutation(NUM_ROWS)),
        ("__index_level_0__", RNG.permutation(NUM_ROWS)),
        ("", RNG.permutation(NUM_ROWS)),
    ],
)
@pytest.mark.parametrize("target", [None, "label"])
def test_numbers_of_rows_are_left_out_and_said(tmp_path, name, values, target):
    values = values.astype(int) if isinstance(values, np.ndarray) else values
    path = write(tmp_path / "rows.parquet", {name: values, "a": NOISE, "label": SIGNAL if target else LABEL})
    data = opened(path, target=target)
    assert data.splits["train"].source.feature_names == ("a",)
    assert f"left out {name or repr('')} (" in data.lines()[0]
    assert "data.ignore=[] uses it" in data.lines()[0]
    if not isinstance(values, list):
        assert opened(path, target=target, ignore=()).splits["train"].source.feature_names == (name, "a")


@pytest.mark.parametrize(
    ("name", "values"), [("year", 1990 + RNG.integers(0, 30, NUM_ROWS)), ("id", RNG.integers(0, 9, NUM_ROWS))]
)
def test_whole_numbers_that_repeat_are_features(tmp_path, name, values):
    path = write(tmp_path / "rows.parquet", {"a": NOISE, name: values, "label": LABEL})
    assert opened(path).splits["train"].source.feature_names == ("a", name)


def test_pandas_index_of_csv_has_no_name(tmp_path):
    rows = [f"{row},{value:.3f},{y}" for row, (value, y) in enumerate(zip(NOISE, LABEL, strict=True))]
    data = opened(csv(tmp_path / "rows.csv", [",a,label", *rows]))
    assert data.splits["train"].source.feature_names == ("a",)


def test_what_stands_beside_images_is_named(tmp_path):
    columns = {
        "image": hub_column(pictures(20)),
        "label": np.arange(20) % 2,
        "width": [1.5] * 20,
        "caption": ["x"] * 20,
    }
    data = opened(write(tmp_path / "rows.parquet", columns))
    assert data.input_shape == (6, 5, 1)
    assert "left out width, caption (beside images)" in data.lines()[0]


# names of Parquet columns


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("names", [("a", "a", "label"), ("a", "label", "label")])
def test_two_columns_of_one_name_are_a_line(tmp_path, names, suffix):
    if suffix == "csv":
        rows = [f"{value},{value},{y}" for value, y in zip(NOISE, LABEL, strict=True)]
        path = csv(tmp_path / "rows.csv", [",".join(names), *rows])
    else:
        import pyarrow.parquet as pq

        path = tmp_path / "rows.parquet"
        pq.write_table(
            pa.Table.from_arrays([pa.array(NOISE), pa.array(LABEL), pa.array(LABEL)], names=list(names)), path
        )
    with pytest.raises(UserError) as raised:
        opened(path)
    assert "2 columns have the name" in message(raised)


def test_dots_in_names_are_names(tmp_path):
    columns = {"a": SIGNAL, "a.b": NOISE, "a.b.c": SIGNAL * 2, "label": LABEL}
    rows = opened(write(tmp_path / "rows.parquet", columns, row_group_size=100)).splits["train"].source.read(250, 420)
    expected = np.stack([SIGNAL, NOISE, SIGNAL * 2], axis=1)[250:420]
    np.testing.assert_array_equal(rows.inputs, expected.astype(np.float32))


@pytest.mark.parametrize("kind", [pa.large_list(pa.float64()), pa.list_(pa.float32(), 2), pa.list_(pa.float16())])
def test_lists_of_every_kind_are_features(tmp_path, kind):
    path = write(tmp_path / "rows.parquet", {"v": pa.array(np.float16(LISTS).tolist(), kind), "label": LABEL}, 70)
    rows = opened(path).splits["train"].source.read(60, 200)
    np.testing.assert_array_equal(rows.inputs, np.float16(LISTS)[60:200].astype(np.float32))


def test_a_gap_in_a_list_is_named(tmp_path):
    lists = [[1.0, None, 2.0] if row == 3 else [1.0, 2.0, float(row)] for row in range(NUM_ROWS)]
    path = write(tmp_path / "rows.parquet", {"v": lists, "label": LABEL})
    with pytest.raises(UserError, match="row 3 has no value"):
        opened(path).splits["train"].source.read(0, NUM_ROWS)
