"""Arrow columns to arrays of inputs and labels, bit-exact. Where the columns come from is not known here.

Image files are decoded in `images.py`, tensors in `tensors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from hydra_ray.data.rows import Bools, Floats, Inputs, Ints
from hydra_ray.data.tables.categories import as_codes
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.gaps import is_there, mask_of
from hydra_ray.data.tables.numbers import TooLargeError, as_float32
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.tensors import decode_tensors
from hydra_ray.errors import UserError


def decode_inputs(
    batch: pa.RecordBatch, columns: Columns, row_id: Ints, shape: tuple[int, ...] | None, place: str
) -> Inputs:
    """Tensors, or numbers and codes of categories, of the rows of a batch: uint8 [n, H, W, channels] or float32 [n, D].

    Args:
        batch: At least one row.
        columns: Which of its columns hold inputs.
        row_id: int64 [n], their positions in the source, for messages.
        shape: That of the source's rows, None to take the first row's.
        place: The key and path that messages name.

    Raises:
        UserError: a row that holds nothing usable, or rows of different shapes.
    """
    if columns.kind == "numbers":
        return np.stack([*_features(batch, columns, row_id, place)], axis=1)
    inputs = decode_tensors(batch.column(columns.inputs[0]), row_id, place)
    _check_shape(inputs.shape[1:], shape or inputs.shape[1:], int(row_id[0]), place)
    return inputs if inputs.dtype == np.uint8 else _finite(inputs, row_id, place)


def image_files(batch: pa.RecordBatch, columns: Columns) -> list[bytes | None]:
    """The image files of a batch's rows, None where there is none."""
    column = batch.column(columns.inputs[0])
    if columns.is_struct:
        column = column.flatten()[column.type.get_field_index("bytes")]  # null where the struct is
    return column.to_pylist()


def decode_targets(batch: pa.RecordBatch, columns: Columns, row_id: Ints, place: str) -> Floats:
    """Targets of a regression: float32 [n].

    Raises:
        UserError: a row without target, or whose target is not finite; the line names column and row.
    """
    assert columns.label is not None
    column = batch.column(columns.label)
    place = f"{place}: column {columns.label}"
    _no_nulls(column, row_id, place)
    return _numbers(column, columns.label, columns.reading, row_id, place)


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...], row: int, place: str) -> None:
    """Refuse a row of another shape than those before it."""
    if found != expected:
        raise UserError(f"{place}: row {row} has shape {found}, rows before it {expected}; bring all rows to one shape")


def _features(batch: pa.RecordBatch, columns: Columns, row_id: Ints, place: str) -> Iterator[Floats]:
    """Each column of features, then of each that may lack values, where they are missing; every one float32 [n]."""
    reading = columns.reading
    codes = dict(reading.codes)
    medians = dict(reading.medians)
    there: dict[str, Bools] = {}
    for name in columns.inputs:
        column = batch.column(name)
        where = f"{place}: column {name}"
        if name in codes:
            yield as_codes(column, codes[name])
        elif name in medians:
            there[name] = is_there(column, reading.value_test(name))
            yield _with_median(column, there[name], name, reading, row_id, where)
        else:
            _no_nulls(column, row_id, where, ", and no training row lacks one there")
            yield _numbers(column, name, reading, row_id, where)
    for name in medians:
        yield (~there[name]).astype(np.float32)


def _with_median(column: Any, there: Bools, name: str, reading: Reading, row_id: Ints, place: str) -> Floats:
    """A column of numbers, each less the column's offset; the median where `there` is false."""
    median = dict(reading.medians)[name] - dict(reading.offsets).get(name, 0)
    filled = np.full(len(there), median, np.float32)
    filled[there] = _numbers(column.filter(mask_of(there)), name, reading, row_id[there], place)
    return filled


def _numbers(column: Any, name: str, reading: Reading, row_id: Ints, place: str) -> Floats:
    """A column of numbers without nulls, each less the column's offset."""
    offset = dict(reading.offsets).get(name, 0)
    try:
        column = reading.as_written(column, name)
        values = as_float32(column, offset, dict(reading.decimals).get(name, "."))
    except pa.ArrowInvalid:
        texts = column.unique().to_pylist()
        raise UserError(f"{place}: holds {texts[0]!r}, in the training rows dates; mend it") from None
    except ValueError as error:
        raise UserError(f"{place}: {str(error)!r} is no number; mend it") from None
    except TooLargeError as error:
        raise UserError(f"{place}: row {row_id[error.place]} {error}") from None
    return _finite(values, row_id, place)


def _no_nulls(column: pa.Array, row_id: Ints, place: str, beside: str = "") -> None:
    if column.null_count:
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        raise UserError(f"{place}: row {row_id[missing[0]]} has no value{beside}; fill or remove it")


def _finite(values: Floats, row_id: Ints, place: str) -> Floats:
    """Values [n, ...], refused where one is not finite."""
    wrong = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
    if len(wrong):
        raise UserError(f"{place}: row {row_id[wrong[0]]} has a value that is not finite; mend or remove it")
    return values
