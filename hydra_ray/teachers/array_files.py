"""Files of predictions that exist already, as arrays: `.npy`, `.npz`, `.csv` and Parquet.

N rows, M members, C outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pyarrow.types as pat

from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage import Folder

ROW_ID = "row_id"
VIEW = "view"
_PREDICTIONS = ("logits", "probabilities", "mean_variance", "mean")
"""Columns of arrays that hold predictions, one or the other."""


@dataclass(frozen=True)
class ArrayFile:
    """What is in one file of predictions.

    Attributes:
        values: [N, ...] as stored.
        ids: column of ids -> its values [N]; of a file without columns nothing.
    """

    values: npt.NDArray[Any]
    ids: dict[str, npt.NDArray[Any]]


def read_predictions(path: str, id_columns: Sequence[str]) -> ArrayFile:
    """The predictions in a file, or in all Parquet files of a folder.

    Args:
        path: of the file.
        id_columns: columns that say which row it is, where there are any.

    Raises:
        UserError: it is missing, damaged, or holds no predictions.
    """
    place = Folder.open(path, "ensemble.teachers.arrays")
    subject = f"ensemble.teachers: {path}"
    if not place.exists():
        raise UserError(f"{subject}: no such file; mend the path")
    try:
        if path.endswith((".npy", ".npz")):
            return ArrayFile(_numpy_array(place, subject), {})
        table = _table(place, path)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, EOFError, pa.ArrowException) as error:
        raise UserError(f"{subject}: cannot be read ({reason_of(error)}); write it again") from error
    ids = {name: table.column(name).to_numpy() for name in id_columns if name in table.column_names}
    return ArrayFile(_values(table, [*id_columns, ROW_ID, VIEW], subject), ids)


def _numpy_array(place: Folder, subject: str) -> npt.NDArray[Any]:
    """Read, not mapped: a file that is written to meanwhile would end the process.

    Several arrays of an archive are members in the order of the file.
    """
    with place.fs.open_input_file(place.path) as stream:
        found = np.load(stream, allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        arrays = [found[name] for name in found.files]
    if not arrays:
        raise UserError(f"{subject}: holds no array; write it again")
    return arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)


def _table(place: Folder, path: str) -> pa.Table:
    if path.endswith((".csv", ".csv.gz")):
        with place.fs.open_input_stream(place.path, compression="detect") as stream:
            return pyarrow.csv.read_csv(stream)
    if place.fs.get_file_info(place.path).type == pafs.FileType.Directory:
        names = sorted(name for name in place.files() if name.endswith(".parquet"))
        return pa.concat_tables([pq.read_table(f"{place.path}/{name}", filesystem=place.fs) for name in names])
    return pq.read_table(place.path, filesystem=place.fs)


def _values(table: pa.Table, others: Sequence[str], subject: str) -> npt.NDArray[Any]:
    """The one column of arrays, else all columns of numbers side by side, without those that say which row it is."""
    named = [name for name in _PREDICTIONS if name in table.column_names]
    if named:
        column: Any = table.column(named[0]).combine_chunks()
        return _column_values(column, f"{subject}: column {named[0]}")
    names = [name for name in table.column_names if name not in others]
    strange = [name for name in names if not _is_number(table.schema.field(name).type)]
    if strange or not names:
        problem = f"column {strange[0]} holds no numbers" if strange else "has no column of predictions"
        raise UserError(f"{subject}: {problem}; name a column of arrays one of {', '.join(_PREDICTIONS)}")
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def _column_values(column: Any, subject: str) -> npt.NDArray[Any]:
    if isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    if _is_number(column.type):
        return column.to_numpy(zero_copy_only=False)
    try:
        return np.array(column.to_pylist(), np.float64)  # lists of lists of one shape; None becomes NaN
    except (ValueError, TypeError) as error:
        raise UserError(f"{subject}: rows are not arrays of one shape; write [members, classes] in each") from error


def _is_number(kind: pa.DataType) -> bool:
    return pat.is_floating(kind) or pat.is_integer(kind) or pat.is_boolean(kind) or pat.is_null(kind)
