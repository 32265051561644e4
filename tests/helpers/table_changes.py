"""Changes of a shard's table, each of one column: other values, other types, nulls."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

Change = Callable[[pa.Table], pa.Table]


def column(name: str, make: Callable[[pa.Table], object]) -> Change:
    """Another column in the place of one."""

    def change(table: pa.Table) -> pa.Table:
        made = make(table)
        return table.set_column(table.column_names.index(name), name, pa.chunked_array([made]))

    return change


def tensor(array) -> pa.Array:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def array_of(table: pa.Table, name: str) -> np.ndarray:
    found = table.column(name).combine_chunks()
    return found.to_numpy_ndarray().copy() if isinstance(found, pa.ExtensionArray) else np.array(found)


def changed_to(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    """A tensor column with another array."""
    return column(name, lambda table: tensor(make(array_of(table, name))))


def with_value(name: str, place: tuple[int, ...], value: float) -> Change:
    def make(array):
        array[place] = value
        return array

    return changed_to(name, make)


def flat(name: str, make: Callable[[np.ndarray], object], kind: pa.DataType | None = None) -> Change:
    return column(name, lambda table: pa.array(make(array_of(table, name)), kind))


def put(value, place=3):
    return lambda array: [value if at == place else each for at, each in enumerate(array)]


def null_inside(name: str) -> Change:
    """A null within a row's tensor."""

    def make(table):
        array = table.column(name).combine_chunks()
        values = array.storage.flatten().to_pylist()
        values[5] = None
        size = array.type.storage_type.list_size
        storage = pa.FixedSizeListArray.from_arrays(pa.array(values, array.type.value_type), size)
        return pa.ExtensionArray.from_storage(array.type, storage)

    return column(name, make)


def null_row(name: str) -> Change:
    def make(table):
        array = table.column(name).combine_chunks()
        rows = array.storage.to_pylist()
        rows[2] = None
        return pa.ExtensionArray.from_storage(array.type, pa.array(rows, array.type.storage_type))

    return column(name, make)


def as_lists(name: str, fixed: bool = False) -> Change:
    def make(table):
        rows = array_of(table, name).reshape(table.num_rows, -1)
        kind = pa.list_(pa.float32(), rows.shape[1]) if fixed else pa.list_(pa.float32())
        return pa.array([row.astype(np.float32).tolist() for row in rows], kind)

    return column(name, make)
