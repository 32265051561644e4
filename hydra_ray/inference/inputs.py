"""Rows as people have them, brought to what a network was trained on.

Images: arrays or tensors of pixels, Pillow images, image files as bytes or paths; other sizes are resized and their
middle cropped (`data.fitted_pixels`), grey becomes colour and colour grey. Tables: pandas, Arrow, or columns by name,
in any order; or an array whose columns are in the training rows' order. Text becomes codes, and what stands for a
missing value is what the training rows' file decided. Nothing is guessed about values: floats for pixels are refused
(`models/input_check.py`), and so is a missing number in a column in which no training row lacked one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from torch import Tensor

from hydra_ray.data import InputFormat, fitted_pixels, shortened
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.decoding import decode_inputs
from hydra_ray.errors import UserError

PLACE = "inputs"


def batches_of(inputs: Any, form: InputFormat, batch_size: int) -> Iterator[np.ndarray]:
    """Stored rows, uint8 [B, H, W, channels] or float32 [B, D], at most `batch_size` at a time.

    Args:
        inputs: see the module; one image, or one row [D], counts as a batch of one.
        form: of the rows that the network was trained on.
        batch_size: rows that are converted at once.

    Raises:
        UserError: rows that cannot be brought to that form; one line with the way out.
    """
    rows = _as_rows(inputs, form)
    number = _length(rows)
    if number == 0:
        raise UserError(f"{PLACE}: no rows; give at least one")
    for start in range(0, number, batch_size):
        part = _part(rows, start, batch_size)
        yield image_rows(part, form.shape, start) if form.is_image else feature_rows(part, form, start)


def image_rows(images: np.ndarray | Sequence[Any], shape: tuple[int, ...], start: int = 0) -> np.ndarray:
    """Images of any size and kind as uint8 [n, H, W, channels].

    Args:
        images: an array [n, h, w, channels] (or [n, h, w], grey), or n images or image files.
        shape: of the rows that the network was trained on.
        start: row number of the first, for messages.

    Raises:
        UserError: one that is no image, or an array of another kind; the line names the row.
    """
    if isinstance(images, np.ndarray):
        if images.dtype != np.uint8 or images.shape[1:] == shape or not _is_images(images):
            return images  # as stored, or refused by the network's own check
        images = [Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image) for image in images]
    return np.stack([fitted_pixels(_opened(image), start + n, shape, PLACE) for n, image in enumerate(images)])


def feature_rows(rows: Any, form: InputFormat, start: int = 0, place: str = PLACE) -> np.ndarray:
    """Rows of a table as float32 [n, D].

    Args:
        rows: an Arrow table, or an array [n, D] of numbers.
        form: names of the features, and how they are read.
        start: row number of the first, for messages.
        place: where they come from, for messages.

    Raises:
        UserError: a column that is missing, or a value that is no number; the line names it.
    """
    if isinstance(rows, pa.Table):
        return _from_table(rows, form, start, place)
    names = form.names or ()
    if form.columns is None or rows.ndim != 2 or (form.is_plain and rows.shape[1:] != form.shape):
        return rows.astype(np.float32)
    if not form.is_plain and (rows.dtype != object or rows.shape[1] != len(names)):
        raise UserError(
            f"{place}: is an array of {rows.dtype} {list(rows.shape[1:])}, but the student takes columns of categories "
            f"or with missing values; give a table with the columns {shortened(names)}"
        )
    return _from_table(pa.table({name: list(rows[:, n]) for n, name in enumerate(names)}), form, start, place)


def check_columns(names: Sequence[str], form: InputFormat, place: str) -> None:
    """Check that a table with columns of these names has all that the network needs.

    Raises:
        UserError: it lacks one, or the network's features have no names.
    """
    if form.names is None:
        way = f"give an array of shape [N, {form.shape[0]}]"
        raise UserError(f"{place}: is a table, but the features that the student was trained on have no names; {way}")
    missing = [name for name in form.names if name not in names]
    if missing:
        has = ", ".join(names[:20])
        raise UserError(f"{place}: has no column {missing[0]}, which the student needs; its columns are {has}")


def _from_table(table: pa.Table, form: InputFormat, start: int, place: str) -> np.ndarray:
    check_columns(table.column_names, form, place)
    assert form.names is not None
    (batch,) = table.select(list(form.names)).combine_chunks().to_batches(max_chunksize=None)
    columns = form.columns or Columns(form.names, "numbers", is_struct=False, label=None)
    return decode_inputs(batch, columns, np.arange(start, start + batch.num_rows), form.shape, place)


def _as_rows(inputs: Any, form: InputFormat) -> Any:
    """An array, an Arrow table or a list; one row alone as a batch of one."""
    if isinstance(inputs, Tensor):
        inputs = inputs.detach().cpu().numpy()
    if isinstance(inputs, np.ndarray):
        return _with_batch(inputs, form)
    if isinstance(inputs, (Image.Image, bytes, Path, str)):
        return [inputs]
    if form.is_image:
        return list(inputs)
    if isinstance(inputs, (pa.Table, pa.RecordBatch)):
        return inputs if isinstance(inputs, pa.Table) else pa.Table.from_batches([inputs])
    return _as_table(inputs, form)


def _as_table(inputs: Any, form: InputFormat) -> Any:
    """A pandas frame, a mapping of columns, or records; else what numpy makes of it."""
    if hasattr(inputs, "columns") and hasattr(inputs, "iloc"):
        wanted = [name for name in form.names or () if name in inputs.columns] or list(inputs.columns)
        return _arrow({name: inputs[name] for name in wanted})
    if isinstance(inputs, Mapping):
        return _arrow(inputs)
    rows = list(inputs)
    if rows and isinstance(rows[0], Mapping):
        return _arrow({name: [row.get(name) for row in rows] for name in rows[0]})
    return _with_batch(np.asarray(rows), form)


def _arrow(columns: Mapping[str, Any]) -> pa.Table:
    """Columns by name as an Arrow table; one of values of several types, as numbers among text, as text."""
    found = {}
    for name, values in columns.items():
        try:
            is_arrow = isinstance(values, (pa.Array, pa.ChunkedArray))
            found[name] = values if is_arrow else pa.array(values, from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            from pandas import isna

            found[name] = pa.array([None if isna(value) else str(value) for value in values], pa.string())
    return pa.table(found)


def _with_batch(array: np.ndarray, form: InputFormat) -> np.ndarray:
    """[N, ...]; grey images without a channel get one."""
    if array.shape == form.shape or (form.is_image and array.ndim == 2):
        array = array[None]
    return array[..., None] if form.is_image and array.ndim == 3 else array


def _is_images(images: np.ndarray) -> bool:
    """Whether an array is [n, h, w, channels] with grey or colour last."""
    return images.ndim == 4 and images.shape[-1] in (1, 3) and 0 not in images.shape


def _opened(image: Any) -> Image.Image | bytes:
    if isinstance(image, (Path, str)):
        try:
            return Path(image).read_bytes()
        except OSError as error:
            raise UserError(
                f"{PLACE}: {image} cannot be read ({error.strerror}); give a path of an image file"
            ) from None
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, np.ndarray):
        return Image.fromarray(image.squeeze(-1) if image.ndim == 3 and image.shape[-1] == 1 else image)
    return image


def _length(rows: Any) -> int:
    return rows.num_rows if isinstance(rows, pa.Table) else len(rows)


def _part(rows: Any, start: int, number: int) -> Any:
    return rows.slice(start, number) if isinstance(rows, pa.Table) else rows[start : start + number]
