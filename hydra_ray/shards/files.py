"""Shards as files: opens one, tells a damaged or foreign file from a shard, and knows its size in memory.

What is in a shard is defined in `schema.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.errors import UserError, reason_of
from hydra_ray.storage import Folder, place_of

METADATA_KEY = b"hydra_ray"
_T = TypeVar("_T")
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


def reading(folder: Folder, name: str, read: Callable[[], _T]) -> _T:
    """What reads a shard's bytes, and an error of the file as a UserError.

    Raises:
        UserError: the file is missing, or cannot be read.
    """
    try:
        return read()
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


@dataclass(frozen=True)
class Sizes:
    """How many rows a folder's shards have, and how large they are.

    Attributes:
        rows: name of each file -> its number of rows, in order.
        num_members: of each row.
        member_bytes: in memory, of one member's outputs of a row.
        other_bytes: in memory, of the rest of a row.
    """

    rows: dict[str, int]
    num_members: int
    member_bytes: int
    other_bytes: int

    @classmethod
    def of(cls, folder: Folder, known: Mapping[str, int]) -> Self:
        """Reads the first footer, and those of files whose rows are not known.

        Args:
            folder: of the shards.
            known: name of a file -> its number of rows, as the manifest says.

        Raises:
            UserError: there are no shards, or see `opened`.
        """
        rows: dict[str, int] = {}
        names = required_names(folder)
        with opened(folder, names[0]) as file:
            logits = _tensor_type(file, "logits")
            mask = _size(_tensor_type(file, "mask")) if "mask" in file.schema_arrow.names else 0
            other_bytes = _size(_tensor_type(file, "input")) + _EXTRA_BYTES
            rows[names[0]] = file.metadata.num_rows
        for name in names[1:]:
            rows[name] = known[name] if name in known else count_rows(folder, name)
        members = logits.shape[0]
        return cls(rows, members, (_size(logits) + mask) // members, other_bytes)

    @property
    def num_rows(self) -> int:
        """Of all shards."""
        return sum(self.rows.values())

    def bytes(self, num_members: int) -> int:
        """Of all rows in memory, with their first `num_members` members."""
        return self.num_rows * (self.other_bytes + self.member_bytes * num_members)


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
