"""Numbers as float32: offsets where it would lose digits, exact differences of whole numbers, text."""

import datetime

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import message, opened, write
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.data.tables.numbers import as_float32, exact_values, number_in, offset_for, proves_comma
from hydra_ray.errors import UserError

BASE = 1_760_000_000
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, 0),
        (-3.5, 4.5, 0),
        (1990, 2020, 0),
        (0, 2**40, 0),
        (BASE, BASE + 600, BASE + 300),
        (BASE + 0.25, BASE + 600.75, BASE + 300),
        (2**62, 2**62 + 5, 2**62 + 2),
        (BASE, BASE, 0),
        (float("-inf"), 3.0, 0),
    ],
)
def test_a_column_is_centred_where_float32_would_lose_it(low, high, expected):
    assert offset_for(low, high, centre=False) == expected


def test_times_are_centred_in_any_case():
    assert offset_for(0.0, 3e8, centre=True) == 150_000_000


def test_what_float32_has_no_digits_for_is_refused():
    with pytest.raises(ValueError, match="too small for float32"):
        offset_for(1e-300, 2e-300, centre=False)


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1), st.sampled_from([-(2**62), -7, 0, 2**53 + 1, 2**63 - 2**21]))
def test_differences_of_whole_numbers_are_exact(small, base):
    found = as_float32(pa.array([base + each for each in small], pa.int64()), base)
    np.testing.assert_array_equal(found, np.array(small, np.float32))


def test_unsigned_numbers_beyond_int64_are_exact():
    base = 2**63 + 2**62
    np.testing.assert_array_equal(as_float32(pa.array([base, base + 3], pa.uint64()), base + 1), [-1, 2])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_are_seconds_in_every_unit(unit):
    moments = pa.array([datetime.datetime(2026, 1, 1, 0, 0, second) for second in (1, 5)], pa.timestamp(unit))
    start = int(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp())
    np.testing.assert_array_equal(as_float32(moments, start), [1, 5])
    assert exact_values(moments)[0].dtype == np.int64


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([datetime.date(1970, 1, 2), datetime.date(1970, 1, 4)]), [86_400, 3 * 86_400]),
        (pa.array([datetime.date(1970, 1, 2)]).cast(pa.date64()), [86_400]),
        (pa.array([datetime.time(1, 0, 0)]), [3600]),
        (pa.array([datetime.time(1, 0, 0)]).cast(pa.time32("s")), [3600]),
        (pa.array([datetime.timedelta(minutes=2)]), [120]),
        (pa.array([True, False]), [1, 0]),
        (pa.array(["1.5", " -2e3 ", "7"]), [1.5, -2000, 7]),
        (pa.array(["a", "b"]).dictionary_encode(), None),
    ],
)
def test_every_type_of_number(values, expected):
    if expected is None:
        with pytest.raises(ValueError, match="a"):
            as_float32(values)
    else:
        np.testing.assert_array_equal(as_float32(values), expected)


@pytest.mark.parametrize(
    ("text", "decimal", "expected"),
    [
        ("1,5", ",", 1.5), ("1.234,5", ",", 1234.5), ("-,5", ",", -0.5), ("12", ",", 12), ("1.5", ",", None),
        ("1.5", ".", 1.5), ("1,234.5", ".", 1234.5), ("1,5", ".", None), ("?", ".", None), ("1e5", ".", 1e5),
        ("nan", ".", None), (",", ",", None), ("1_000", ".", None), ("", ",", float("nan")),
    ],
)  # fmt: skip
def test_numbers_in_text(text, decimal, expected):
    assert number_in(text, decimal) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("text", "expected"), [("0,126", True), ("1,25", True), ("1,234", False), ("1.234,5", True), ("12", False)]
)
def test_a_comma_that_can_only_be_a_decimal_one(text, expected):
    assert proves_comma(text) == expected


# whole data sets: unix time as a feature and as a target


def test_unix_time_as_a_feature_is_as_good_as_the_shifted_one(tmp_path):
    seconds = RNG.uniform(0, 600, 400)
    columns = {"other": RNG.normal(size=400), "y": np.sin(seconds / 60)}
    large = opened(write(tmp_path / "large.parquet", {"time": BASE + seconds, **columns}), target="y")
    small = opened(write(tmp_path / "small.parquet", {"time": seconds, **columns}), target="y")
    ((name, offset),) = large.splits["train"].source.columns.reading.offsets  # type: ignore[attr-defined]
    assert (name, offset) == ("time", pytest.approx(BASE + 300, abs=10))
    found, expected = (data.splits["train"].source.read(0, 400).inputs[:, 0] for data in (large, small))
    np.testing.assert_allclose(found + (offset - BASE), expected, atol=1e-4)
    assert f"time less {offset}" in large.lines()[0]
    assert large.describe()["splits"]["train"]["offsets"] == {"time": offset}
    assert opened(tmp_path / "large.parquet", target="y").fingerprint() == large.fingerprint()


def test_other_files_have_the_offset_of_the_training_rows(tmp_path):
    seconds = RNG.uniform(0, 600, 40)
    write(tmp_path / "train.parquet", {"time": BASE + seconds, "y": seconds})
    moments = pa.array([(BASE + 10_000) * 1000], pa.timestamp("ms"))
    write(tmp_path / "test.parquet", {"time": moments, "y": [1.0]})
    data = opened(tmp_path, target="y")
    ((_, offset),) = data.splits["train"].source.columns.reading.offsets  # type: ignore[attr-defined]
    assert data.splits["test"].read_all().inputs[0, 0] == BASE + 10_000 - offset


def test_a_feature_that_float32_makes_constant_is_not_constant(tmp_path):
    path = write(tmp_path / "rows.parquet", {"code": BASE + np.arange(40) % 2, "y": np.linspace(0, 1, 40)})
    inputs = opened(path, target="y").splits["train"].source.read(0, 40).inputs
    assert np.ptp(inputs) == 1


def test_a_target_that_float32_does_not_hold_is_named(tmp_path):
    path = write(tmp_path / "rows.parquet", {"x": RNG.normal(size=40), "arrival": BASE + 30 * RNG.normal(size=40)})
    with pytest.raises(
        UserError, match=r"data.target=arrival: .*lost in float32; store the column less 17(60|59)"
    ) as raised:
        opened(path, target="arrival")
    message(raised)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float64(), 2), pa.large_list(pa.int64())])
def test_lists_that_float32_does_not_hold_are_named(tmp_path, kind):
    values = pa.array([[row % 3, BASE + row] for row in range(40)], kind)
    path = write(tmp_path / "rows.parquet", {"v": values, "label": np.arange(40) % 2})
    with pytest.raises(
        UserError, match=r"value 1 of column v goes from 1760000000 to 1760000039.*store it less 17600000"
    ) as raised:
        opened(path)
    message(raised)
    small = pa.array([[row % 3, row] for row in range(40)], kind)
    assert opened(write(tmp_path / "small.parquet", {"v": small, "label": np.arange(40) % 2})).input_shape == (2,)


@pytest.mark.parametrize(
    "values", [{"v": [1e-300 * row for row in range(40)]}, {"v": [[1.0, 1e-300 * row] for row in range(40)]}]
)
def test_what_float32_has_no_digits_for_is_a_line(tmp_path, values):
    path = write(tmp_path / "rows.parquet", {**values, "label": np.arange(40) % 2})
    with pytest.raises(UserError, match=r"column v: values from 0 to 3\.9e-299 are too small for float32"):
        opened(path)
