"""Arrow tensors and lists of numbers to arrays: uint8 pixels [n, H, W, channels] or float32 features [n, D].

Channels come last. Tensors whose dimensions have names are laid out by them; of others, arrays [channels, H, W] are
known by 1, 3 or 4 in front and none of 1 to 4 at the end, and are transposed.
Not here: image files (`images.py`), features in columns of their own (`decoding.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.rows import Inputs, Ints
from hydra_ray.data.tables.column_types import is_list
from hydra_ray.data.tables.numbers import TooLargeError, to_float32
from hydra_ray.errors import UserError

_AXES = {
    "channels": ("c", "ch", "chan", "channel", "channels"),
    "height": ("h", "height", "y", "row", "rows"),
    "width": ("w", "width", "x", "col", "cols", "column", "columns"),
}
_CHANNELS_IN_FRONT = (1, 3, 4)
_CHANNELS_AT_THE_END = (1, 2, 3, 4)


def decode_tensors(column: Any, row_id: Ints, place: str) -> Inputs:
    """Arrays of a column's rows: uint8 [n, H, W, channels] or float32 [n, D].

    Args:
        column: of n rows, of a type that `column_types.is_tensor` knows.
        row_id: int64 [n], positions in the source, for messages.
        place: key and path as messages name them.

    Raises:
        UserError: a row without values or of another shape than the first, arrays that are neither, or a number that
            float32 does not hold.
    """
    if isinstance(column, pa.FixedShapeTensorArray):
        values = _of_tensors(column, row_id, place)
    else:
        values = _channels_last(_of_lists(column, row_id, place))
    if 0 in values.shape[1:]:
        raise UserError(f"{place}: row {row_id[0]} is an array of no values; store features or pixels there")
    if values.ndim == 2:
        try:
            return to_float32(values)
        except TooLargeError as error:
            raise UserError(f"{place}: row {row_id[error.place]} {error}") from None
    return _as_pixels(values, row_id, place)


def _as_pixels(values: npt.NDArray[Any], row_id: Ints, place: str) -> Inputs:
    """uint8 [n, H, W, channels], of whole numbers that are pixels."""
    found = f"{values.dtype} of shape {values.shape[1:]}"
    if values.ndim not in (3, 4) or not np.issubdtype(values.dtype, np.integer):
        way = "store uint8 [H, W, channels] pixels (of floats in 0 to 1: x 255, rounded) or [D] features"
        raise UserError(f"{place}: rows are {found}; {way}")
    if values.dtype != np.uint8:
        wrong = np.flatnonzero(((values < 0) | (values > 255)).reshape(len(values), -1).any(axis=1))
        if len(wrong):
            problem = f"row {row_id[wrong[0]]} is {found} with values outside of 0 to 255"
            raise UserError(f"{place}: {problem}; store uint8 pixels, or [D] features")
        values = values.astype(np.uint8)
    return values[..., None] if values.ndim == 3 else values


def _of_tensors(column: Any, row_id: Ints, place: str) -> npt.NDArray[Any]:
    """[n, ...], dimensions in the order their names, else their permutation, say."""
    _no_nulls(column, row_id, place)
    kind = column.type
    storage = column.storage
    numbers = storage.flatten()
    per_row = int(np.prod(kind.shape))
    _no_nulls(numbers, np.repeat(row_id, per_row), place)
    values = numbers.to_numpy(zero_copy_only=False).reshape(len(column), *kind.shape)
    order = _named_order(kind.dim_names)
    if order is not None:
        return values.transpose(0, *(axis + 1 for axis in order))
    if kind.permutation is not None:
        values = values.transpose(0, *(axis + 1 for axis in kind.permutation))
    return _channels_last(values)


def _named_order(names: list[str] | None) -> list[int] | None:
    """The places of height, width and, where there are any, channels; None where names do not say it."""
    places: dict[str, int] = {}
    for place, name in enumerate(names or []):
        for axis, words in _AXES.items():
            if name and name.lower() in words:
                places[axis] = place
    wanted = [axis for axis in ("height", "width", "channels") if axis in places]
    is_clear = len(places) == len(names or []) and wanted[:2] == ["height", "width"]
    return [places[axis] for axis in wanted] if is_clear else None


def _channels_last(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[n, channels, H, W] as [n, H, W, channels], where sizes tell the two apart."""
    if values.ndim != 4 or values.shape[3] in _CHANNELS_AT_THE_END or values.shape[1] not in _CHANNELS_IN_FRONT:
        return values
    return values.transpose(0, 2, 3, 1)


def _of_lists(column: Any, row_id: Ints, place: str) -> npt.NDArray[Any]:
    """[n, ...] of lists in any depth, all of the first one's lengths."""
    rows = row_id
    shape = []
    values = column
    while is_list(values.type):
        _no_nulls(values, rows, place)
        length = _length(values, rows, place)
        rows = np.repeat(rows, length)
        shape.append(length)
        values = values.flatten()
    _no_nulls(values, rows, place)
    return values.to_numpy(zero_copy_only=False).reshape(len(column), *shape)


def _length(column: Any, rows: Ints, place: str) -> int:
    """How long all lists of a level are."""
    if pat.is_fixed_size_list(column.type):
        return column.type.list_size
    if not len(column):
        return 0
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    wrong = int(np.argmax(lengths != lengths[0]))
    if lengths[wrong] != lengths[0]:
        found = f"row {rows[wrong]} has a list of {lengths[wrong]} values, those before it {lengths[0]}"
        raise UserError(f"{place}: {found}; bring all rows to one shape")
    return int(lengths[0])


def _no_nulls(column: Any, rows: Ints, place: str) -> None:
    """Refuse a level of lists in which one is missing; `rows` [len(column)] are the rows its values belong to."""
    if column.null_count:
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        raise UserError(f"{place}: row {rows[missing[0]]} has no value; fill or remove it")
