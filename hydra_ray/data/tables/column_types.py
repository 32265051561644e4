"""Which Arrow types hold image files and which hold arrays of numbers; views of Arrow as plain types.

Views (`binary_view`, `string_view`, `list_view`) are another layout of the same values, for which Arrow has few
functions; they are cast when they are read, and nothing else needs to know them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pat


def is_encoded(kind: pa.DataType) -> bool:
    """Bytes of files: binary of every sort, or the hub's struct with a field `bytes`."""
    if pat.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and is_encoded(kind.field("bytes").type)
    return pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_fixed_size_binary(kind)


def is_tensor(kind: pa.DataType) -> bool:
    """One array of numbers a row: a tensor, or lists of numbers in any depth."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return True
    if not is_list(kind):
        return False
    value: pa.DataType = kind.value_type  # pyright: ignore[reportAttributeAccessIssue]
    return is_tensor(value) or pat.is_integer(value) or pat.is_floating(value)


def depth_of(kind: Any) -> int:
    """Dimensions of a row of a tensor, or levels of lists."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return len(kind.shape)
    return 1 + depth_of(kind.value_type) if is_list(kind) else 0


def is_list(kind: pa.DataType) -> bool:
    """Lists of every sort, as the only or the outermost level."""
    return pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind)


def schema_without_views(schema: pa.Schema) -> pa.Schema:
    """A schema with the plain type for every view in it."""
    return pa.schema([field.with_type(_without_views(field.type)) for field in schema], schema.metadata)


def batch_without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with plain columns for views."""
    kinds = [_without_views(field.type) for field in batch.schema]
    if kinds == batch.schema.types:
        return batch
    columns = [_as_plain(column, kind) for column, kind in zip(batch.columns, kinds, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _without_views(kind: Any) -> pa.DataType:
    """A type with the plain one for every view in it; the same where there is none."""
    if pat.is_string_view(kind):
        return pa.large_string()
    if pat.is_binary_view(kind):
        return pa.large_binary()
    if pat.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        plain = pa.struct([field.with_type(_without_views(field.type)) for field in fields])
        return kind if plain == kind else plain
    if pat.is_list_view(kind) or pat.is_large_list_view(kind):
        return pa.large_list(_without_views(kind.value_type))
    if pat.is_list(kind) or pat.is_large_list(kind):
        value = _without_views(kind.value_type)
        return kind if value == kind.value_type else pa.large_list(value)
    return kind


def _as_plain(column: Any, kind: Any) -> pa.Array:
    """A column as a type of `_without_views`.

    Lists are put together here: Arrow's own cast of list views (26.0) leaves out the last offset.
    """
    if column.type == kind:
        return column
    if not pat.is_large_list(kind):
        return column.cast(kind)
    lengths = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
    values = _as_plain(column.flatten(), kind.value_type)
    return pa.LargeListArray.from_arrays(pa.array(offsets), values, type=kind, mask=column.is_null())
