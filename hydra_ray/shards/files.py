"""Shards as files: opens one, tells a damaged or foreign file from a shard, and knows its size in memory.

What is in a shard is defined in `schema.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage import Folder, place_of

METADATA_KEY = b"hydra_ray"
COLUMNS = ("row_id", "view", "input", "label", "logits")
_TYPES = {  # column -> its types, and of a tensor the number of its axes
    "row_id": ((pa.int64(),), ()),
    "view": ((pa.int32(),), ()),
    "input": ((pa.uint8(), pa.float32()), (1, 3)),
    "label": ((pa.int64(), pa.float32()), ()),
    "logits": ((pa.float16(), pa.float32()), (2,)),
    "mask": ((pa.uint8(), pa.float32()), (1,)),
}
_EXTRA_BYTES = 20  # of a row: row_id, view and label
_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, OverflowError)  # what readers make of wrong bytes


@contextmanager
def opened(folder: Folder, name: str, content: bytes | None = None) -> Iterator[pq.ParquetFile]:
    """Open a shard's file; an error of the file inside the `with` block becomes a UserError.

    Args:
        folder: of the shard.
        name: of the file.
        content: its bytes, if they have been read already.

    Raises:
        UserError: the file is missing, not Parquet, or damaged, or its columns are not those of a shard.
    """
    try:
        source = folder.open_file(name) if content is None else pa.BufferReader(content)
        with pq.ParquetFile(source, page_checksum_verification=True) as file:
            _check_columns(f"{folder}/{name}", file.schema_arrow)
            yield file
    except FileNotFoundError:
        raise UserError(f"{folder}/{name}: no such file; run the predict stage first") from None
    except _DAMAGE as error:
        reason = reason_of(error, 120)
        raise UserError(f"{folder}/{name}: damaged or cut short ({reason}); {_way_out(folder)}") from None


def read_bytes(folder: Folder, name: str) -> bytes:
    """A shard's bytes.

    Raises:
        UserError: the file is missing, or cannot be read.
    """
    try:
        return folder.read(name)
    except FileNotFoundError:
        raise UserError(f"{folder}/{name}: no such file; run the predict stage first") from None
    except _DAMAGE as error:
        reason = reason_of(error, 120)
        raise UserError(f"{folder}/{name}: cannot be read ({reason}); {_way_out(folder)}") from None


def shard_names(folder: Folder) -> list[str]:
    """Names of the Parquet files, in order."""
    return sorted(name for name in folder.files() if name.endswith(".parquet"))


def required_names(folder: Folder) -> list[str]:
    """Names of the Parquet files, in order.

    Raises:
        UserError: there are none.
    """
    names = shard_names(folder)
    if not names:
        raise UserError(f"{folder}: no shards there; run the predict stage first")
    return names


def read_metadata(folder: Folder, name: str) -> dict[str, Any]:
    """The footer's metadata: schema version, split, members, class names, views.

    Raises:
        UserError: see `opened`; or the footer has none.
    """
    with opened(folder, name) as file:
        return metadata_of(f"{folder}/{name}", file.schema_arrow)


def metadata_of(subject: str, schema: pa.Schema) -> dict[str, Any]:
    """The footer's metadata from a file's schema; `subject` names the file.

    Raises:
        UserError: it has none.
    """
    raw = (schema.metadata or {}).get(METADATA_KEY, b"null")
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or "schema" not in found:
        raise UserError(f"{subject}: not a shard of predictions: its footer has no {METADATA_KEY.decode()} entry")
    return found


def count_rows(folder: Folder, name: str) -> int:
    """Number of rows in one shard."""
    with opened(folder, name) as file:
        return file.metadata.num_rows


def count_members(folder: Folder, name: str) -> int:
    """Number of members in one shard: the first length of its logits."""
    with opened(folder, name) as file:
        return _tensor_type(file, "logits").shape[0]


def bytes_per_row(folder: Folder, name: str, num_members: int) -> int:
    """Bytes in memory of one row of a shard with its first `num_members` members."""
    with opened(folder, name) as file:
        logits = _tensor_type(file, "logits")
        mask = _size(_tensor_type(file, "mask")) if "mask" in file.schema_arrow.names else 0
        of_members = (_size(logits) + mask) * num_members // logits.shape[0]
        return _size(_tensor_type(file, "input")) + of_members + _EXTRA_BYTES


def check_nulls(subject: str, table: pa.Table) -> None:
    """Check that only labels have nulls.

    Raises:
        UserError: another column has; `subject` names the file.
    """
    for column in ("row_id", "view", "input", "logits", "mask"):
        if column in table.column_names and any(_has_nulls(chunk) for chunk in table.column(column).chunks):
            raise UserError(f"{subject}: {column} has nulls; delete the file's folder to have it predicted again")


def _has_nulls(chunk: pa.Array) -> bool:
    if chunk.null_count:
        return True
    return isinstance(chunk, pa.ExtensionArray) and chunk.storage.flatten().null_count > 0


def _check_columns(subject: str, schema: pa.Schema) -> None:
    for column in COLUMNS:
        if column not in schema.names:
            raise UserError(f"{subject}: Parquet, but not a shard of predictions: it has no column {column}")
    for column, (kinds, dimensions) in _TYPES.items():
        found = [field.type for field in schema if field.name == column]
        if len(found) > 1:
            raise UserError(f"{subject}: not a shard of predictions: it has {len(found)} columns {column}")
        if found and not _is_of(found[0], kinds, dimensions):
            what = "a fixed-shape tensor of " if dimensions else ""
            names = " or ".join(str(kind) for kind in kinds)
            raise UserError(f"{subject}: not a shard of predictions: {column} is {found[0]}, not {what}{names}")


def _is_of(kind: pa.DataType, allowed: tuple[pa.DataType, ...], dimensions: tuple[int, ...]) -> bool:
    if not dimensions:
        return kind in allowed
    if not isinstance(kind, pa.FixedShapeTensorType):
        return False
    return kind.value_type in allowed and len(kind.shape) in dimensions and min(kind.shape) > 0


def _tensor_type(file: pq.ParquetFile, column: str) -> pa.FixedShapeTensorType:
    return cast(pa.FixedShapeTensorType, file.schema_arrow.field(column).type)


def _size(tensor: pa.FixedShapeTensorType) -> int:
    return int(np.prod(tensor.shape)) * tensor.value_type.bit_width // 8


def _way_out(folder: Folder) -> str:
    return f"delete {place_of(folder)} to have it predicted again"
