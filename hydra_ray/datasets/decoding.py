"""Arrow columns to arrays of inputs and labels, bit-exact. Where the columns come from is not known here."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat
from PIL import Image

from hydra_ray.datasets.columns import Columns
from hydra_ray.datasets.numbers import as_float32
from hydra_ray.datasets.rows import Floats, Inputs, Ints
from hydra_ray.errors import UserError

Pixels = npt.NDArray[np.uint8]
_KEPT_MODES = ("L", "LA", "RGB", "RGBA")


def decode_inputs(
    batch: pa.RecordBatch, columns: Columns, row_id: Ints, shape: tuple[int, ...] | None, place: str
) -> Inputs:
    """Inputs of the rows of a batch: uint8 [n, H, W, channels] or float32 [n, D].

    Args:
        batch: At least one row.
        columns: Which of its columns hold inputs.
        row_id: int64 [n], their positions in the source, for messages.
        shape: That of the source's rows, None to take the first row's.
        place: The key and path that messages name.

    Raises:
        UserError: a row that holds nothing usable, or rows of different shapes.
    """
    column = batch.column(columns.inputs[0])
    if columns.kind == "encoded":
        return _images(_bytes(column) if columns.is_struct else column, row_id, shape, place)
    if columns.kind == "tensor":
        inputs = _tensors(column, row_id, place)
    else:
        inputs = np.stack([_numbers(batch, name, columns, row_id, place) for name in columns.inputs], axis=1)
    _check_shape(inputs.shape[1:], shape or inputs.shape[1:], int(row_id[0]), place)
    return inputs if inputs.dtype == np.uint8 or columns.kind == "numbers" else _finite(inputs, row_id, place)


def decode_targets(batch: pa.RecordBatch, columns: Columns, row_id: Ints, place: str) -> Floats:
    """Targets of a regression: float32 [n].

    Raises:
        UserError: a row without target, or whose target is not finite; the line names column and row.
    """
    assert columns.label is not None
    return _numbers(batch, columns.label, columns, row_id, place)


def _check_shape(found: tuple[int, ...], expected: tuple[int, ...], row: int, place: str) -> None:
    """Refuse a row of another shape than those before it."""
    if found != expected:
        raise UserError(f"{place}: row {row} has shape {found}, rows before it {expected}; bring all rows to one shape")


def _bytes(column: Any) -> pa.Array:
    """The field `bytes` of a struct column, null where the struct is."""
    return column.flatten()[column.type.get_field_index("bytes")]


def _images(column: pa.Array, row_id: Ints, shape: tuple[int, ...] | None, place: str) -> Pixels:
    shape = shape or _image(column[0].as_py(), int(row_id[0]), place).shape
    images = np.empty((len(row_id), *shape), np.uint8)
    for index, (row, data) in enumerate(zip(row_id, column, strict=True)):
        images[index] = _fitted(_image(data.as_py(), int(row), place), shape, int(row), place)
    return images


def _fitted(image: Pixels, shape: tuple[int, ...], row: int, place: str) -> Pixels:
    """An image in the shape of the source: grey becomes colour, as in ImageNet; anything else is refused."""
    if image.shape[-1] == 1 and image.shape[:2] == shape[:2] and shape[2] == 3:
        return image.repeat(3, axis=-1)
    _check_shape(image.shape, shape, row, place)
    return image


def _image(data: bytes | None, row: int, place: str) -> Pixels:
    """Pixels as they are stored: [H, W, channels], 1 channel for grey; palettes are looked up."""
    if data is None:
        raise UserError(f"{place}: row {row} has no image bytes; store them in the file, not as a path")
    try:
        with Image.open(io.BytesIO(data)) as image:
            pixels = np.asarray(_plain(image))
    except (OSError, ValueError, SyntaxError) as error:
        found = f"row {row} is no image of 8 bits a channel ({' '.join(str(error).split())})"
        raise UserError(f"{place}: {found}; remove it") from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _plain(image: Image.Image) -> Image.Image:
    if image.mode in _KEPT_MODES:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise ValueError(f"pixels of mode {image.mode}")
    return image.convert("RGB")


def _tensors(column: pa.Array, row_id: Ints, place: str) -> Inputs:
    _no_nulls(column, row_id, place)
    if isinstance(column, pa.FixedShapeTensorArray):
        values = column.to_numpy_ndarray()
    else:
        values = _lists(column, row_id, place)
    if values.ndim == 2:
        with np.errstate(over="ignore"):
            return values.astype(np.float32)
    if values.dtype != np.uint8 or values.ndim not in (3, 4):
        found = f"{values.dtype} of shape {values.shape[1:]}"
        raise UserError(f"{place}: rows are {found}; store uint8 [H, W, channels] pixels or [D] features")
    return values[..., None] if values.ndim == 3 else values


def _lists(column: Any, row_id: Ints, place: str) -> npt.NDArray[Any]:
    if not pat.is_fixed_size_list(column.type):
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        wrong = int(np.argmax(lengths != lengths[0]))
        _check_shape((int(lengths[wrong]),), (int(lengths[0]),), int(row_id[wrong]), place)
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)


def _numbers(batch: pa.RecordBatch, name: str, columns: Columns, row_id: Ints, place: str) -> Floats:
    """A column of numbers, each less the column's offset."""
    column, place = batch.column(name), f"{place}: column {name}"
    _no_nulls(column, row_id, place)
    try:
        values = as_float32(column, dict(columns.offsets).get(name, 0), dict(columns.decimals).get(name, "."))
    except ValueError as error:
        raise UserError(f"{place}: {str(error)!r} is no number; mend it") from None
    return _finite(values, row_id, place)


def _no_nulls(column: pa.Array, row_id: Ints, place: str) -> None:
    if column.null_count:
        missing = np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
        raise UserError(f"{place}: row {row_id[missing[0]]} has no value; fill or remove it")


def _finite(values: Floats, row_id: Ints, place: str) -> Floats:
    """Values [n, ...], refused where one is not finite."""
    wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(wrong):
        raise UserError(f"{place}: row {row_id[wrong[0]]} has a value that is not finite; mend or remove it")
    return values
