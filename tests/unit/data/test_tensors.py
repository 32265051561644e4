"""Tensors and lists of numbers: channels in front or at the end, every sort of Arrow list, nulls named by row."""

import numpy as np
import pyarrow as pa
import pytest
from helpers.dataset_files import encoded, message, opened, pictures, read, write

from hydra_ray.errors import UserError


def tensor(values: np.ndarray, names=None, permutation=None) -> pa.Array:
    """As stored: [n, ...] in the order of its dimensions."""
    kind = pa.from_numpy_dtype(values.dtype)
    shape = values.shape[1:]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), int(np.prod(shape)))
    typed = pa.fixed_shape_tensor(kind, shape, dim_names=names, permutation=permutation)
    return pa.ExtensionArray.from_storage(typed, flat)


def inputs_of(folder, column) -> np.ndarray:
    path = write(folder / "rows.parquet", {"x": column, "label": np.arange(len(column)) % 2})
    return read(path).read(0, len(column)).inputs


def first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(images, -1, 1))


# ---------------------------------------------------------------- channels


@pytest.mark.parametrize("names", [["C", "H", "W"], ["channels", "height", "width"], ["c", "y", "x"], None])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_in_front_are_brought_to_the_end(tmp_path, names, channels):
    images = pictures(6, (8, 9, channels))
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(first(images), names)), images)


@pytest.mark.parametrize(
    ("shape", "names"),
    [
        ((8, 8, 3), ["H", "W", "C"]),
        ((3, 8, 8), ["H", "W", "C"]),
        ((8, 8, 3), None),
        ((3, 8, 4), None),
        ((8, 9, 7), None),
    ],
)
def test_channels_at_the_end_stay_there(tmp_path, shape, names):
    images = pictures(6, shape)
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(images, names)), images)


def test_any_order_that_has_names_is_followed(tmp_path):
    images = pictures(6, (8, 9, 5))
    stored = np.ascontiguousarray(images.transpose(0, 2, 3, 1))  # width, channels, height
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(stored, ["W", "C", "H"])), images)
    grey = pictures(6, (8, 9))
    stored = np.ascontiguousarray(grey.transpose(0, 2, 1))
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(stored, ["W", "H"]))[..., 0], grey)


def test_arrows_permutation_is_followed_where_names_do_not_say_it(tmp_path):
    """Stored [3, 8, 9], meant as [8, 9, 3]."""
    images = pictures(6, (8, 9, 3))
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(first(images), permutation=[1, 2, 0])), images)
    odd = tensor(first(images), ["a", "b", "c"], [1, 2, 0])
    np.testing.assert_array_equal(inputs_of(tmp_path, odd), images)


def test_a_set_with_channels_in_front_is_one_of_8_by_8_pixels(tmp_path):
    """Case 10."""
    x, label = pictures(60, (8, 8, 3)), np.arange(60) % 2
    columns = {"image": tensor(first(x), ["C", "H", "W"]), "label": label}
    data = opened(write(tmp_path / "first.parquet", columns))
    assert data.input_shape == (8, 8, 3)
    last = write(tmp_path / "last.parquet", {"image": tensor(x, ["H", "W", "C"]), "label": label})
    rows = opened(last).splits["test"].read_all()
    np.testing.assert_array_equal(data.splits["test"].read_all().inputs, rows.inputs)


# ---------------------------------------------------------------- lists


def lists_of(depth: int, kind: str, value: pa.DataType) -> pa.DataType:
    for size in (3, 5, 4)[-depth:][::-1]:
        value = pa.list_(value, size) if kind == "fixed" else getattr(pa, kind)(value)
    return value


@pytest.mark.parametrize("kind", ["list_", "large_list", "list_view", "large_list_view", "fixed"])
@pytest.mark.parametrize("depth", [2, 3])
def test_nested_lists_are_pixels(tmp_path, kind, depth):
    images = pictures(9, (3, 5, 4)[-depth:])
    column = pa.array(images.tolist(), lists_of(depth, kind, pa.uint8()))
    found = inputs_of(tmp_path, column)
    np.testing.assert_array_equal(found, images if depth == 3 else images[..., None])
    assert found.dtype == np.uint8


@pytest.mark.parametrize("kind", ["list_", "large_list", "list_view", "large_list_view", "fixed"])
@pytest.mark.parametrize("value", ["float16", "float32", "float64", "int8", "uint8", "int64"])
def test_lists_are_features(tmp_path, kind, value):
    values = np.random.default_rng(0).integers(0, 100, (9, 4)).astype(value)
    typed = lists_of(1, kind, pa.from_numpy_dtype(values.dtype))
    found = inputs_of(tmp_path, pa.array([list(row) for row in values], typed))
    np.testing.assert_array_equal(found, values.astype(np.float32))
    assert found.dtype == np.float32


def test_halves_in_tensors_are_features(tmp_path):
    values = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float16)
    np.testing.assert_array_equal(inputs_of(tmp_path, tensor(values)), values.astype(np.float32))


@pytest.mark.parametrize("value", [pa.int64(), pa.int16(), pa.uint32()])
def test_whole_numbers_of_0_to_255_are_pixels(tmp_path, value):
    images = pictures(5, (3, 5))
    found = inputs_of(tmp_path, pa.array(images.tolist(), pa.list_(pa.list_(value))))
    np.testing.assert_array_equal(found[..., 0], images)
    assert found.dtype == np.uint8


def test_channels_in_front_are_found_in_lists_too(tmp_path):
    images = pictures(5, (8, 9, 3))
    np.testing.assert_array_equal(inputs_of(tmp_path, pa.array(first(images).tolist())), images)


def test_lists_of_many_row_groups_stay_in_order(tmp_path):
    values = np.random.default_rng(0).normal(size=(90, 3)).astype(np.float32)
    path = write(tmp_path / "rows.parquet", {"v": pa.array(list(values), pa.list_(pa.float32(), 3))}, row_group_size=7)
    keep = np.arange(90) % 3 == 1
    np.testing.assert_array_equal(read(path).read(0, 90, keep).inputs, values[keep])


# ---------------------------------------------------------------- what is refused


def floats_in_front() -> pa.Array:
    return tensor(np.zeros((3, 3, 8, 8), np.float32))


NESTED = [[[1, 2], [3, 4]]] * 3


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (lambda: pa.array([[1.0, 2.0], None, [1.0, 2.0]]), "row 1 has no value"),
        (lambda: pa.array([[1.0, 2.0], [1.0, 2.0], [None, 2.0]]), "row 2 has no value"),
        (lambda: pa.array([[1.0, 2.0], [1.0, 2.0], [None, 2.0]], pa.list_(pa.float32(), 2)), "row 2 has no value"),
        (lambda: pa.array([NESTED[0], [[1, 2], None], NESTED[0]]), "row 1 has no value"),
        (lambda: pa.array([NESTED[0], NESTED[0], [[1, 2], [3, None]]]), "row 2 has no value"),
        (lambda: pa.array([NESTED[0], [[1, 2], [3]], NESTED[0]]), "row 1 has a list of 1 values, those before it 2"),
        (lambda: pa.array([NESTED[0], NESTED[0], [[1, 2]]]), "row 2 has a list of 1 values, those before it 2"),
        (lambda: pa.array([[[1, 2], [3, 256]]] * 3), "row 0 is int64 of shape (2, 2) with values outside of 0 to 255"),
        (lambda: pa.array([[[1, 2], [3, -1]]] * 3), "with values outside of 0 to 255"),
        (lambda: pa.array([[[0.1, 0.2], [0.3, 0.4]]] * 3), "x 255"),
        (lambda: pa.array([[[[[1]]]]] * 3), "rows are int64 of shape (1, 1, 1, 1)"),
        (lambda: pa.array([[], [], []], pa.list_(pa.float32())), "no values"),
        (lambda: pa.array([[[]], [[]], [[]]], pa.list_(pa.list_(pa.uint8()))), "no values"),
        (floats_in_front, "x 255"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(tmp_path, column, expected):
    with pytest.raises(UserError) as raised:
        inputs_of(tmp_path, column())
    assert expected in message(raised)
    assert "data.source=" in message(raised)


def test_a_null_inside_a_tensor_is_no_zero(tmp_path):
    storage = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, None, 4.0], pa.float32()), 2)
    column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [2]), storage)
    with pytest.raises(UserError, match="row 1 has no value"):
        inputs_of(tmp_path, column)


def test_a_tensor_of_no_values_is_one_line(tmp_path):
    storage = pa.array([[]] * 4, pa.list_(pa.float32(), 0))
    column = pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(pa.float32(), [0]), storage)
    with pytest.raises(UserError) as raised:
        inputs_of(tmp_path, column)
    message(raised)


def test_the_hubs_struct_may_hold_views(tmp_path):
    images = pictures(4)
    rows = [{"bytes": encoded(each), "path": "a"} for each in images]
    column = pa.array(rows, pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]))
    np.testing.assert_array_equal(inputs_of(tmp_path, column)[..., 0], images)


@pytest.mark.parametrize(
    ("value", "problem"), [(1e300, "the value 1e+300, too large"), (np.inf, "a value that is not")]
)
def test_features_in_lists_that_float32_cannot_be_are_named(tmp_path, value, problem):
    rows = [[1.0, 2.0]] * 9 + [[1.0, value]]
    path = write(tmp_path / "rows.parquet", {"v": rows, "label": np.arange(10) % 2})
    with pytest.raises(UserError, match="row 9 has ") as raised:
        read(path).read(0, 10)
    assert problem in message(raised)
