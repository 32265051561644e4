"""The schema of the prediction shards, between whatever predicts and whatever trains on them (docs/shards.md).

One row an input and view: `row_id`, `view`, `input`, `label`, `logits`, and `mask` if only some members teach a row, or
some more than others.
Plain Parquet with Arrow's canonical fixed-shape tensors, which pyarrow, pandas and DuckDB read without this package.

N rows, M members, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.data import LABEL_DTYPES, TaskName
from hydra_ray.errors import UserError
from hydra_ray.shards.files import (
    METADATA_KEY,
    Sizes,
    check_nulls,
    metadata_of,
    opened,
    read_metadata,
    reading,
    required_names,
    shard_names,
)
from hydra_ray.storage import Folder, WrittenFile, check_bytes, find_published

__all__ = [
    "METADATA_KEY",
    "NO_LABEL",
    "SCHEMA_VERSION",
    "ShardReader",
    "ShardRows",
    "concatenate",
    "inputs_of",
    "is_labelled",
    "joined_logits",
    "load",
    "member_fingerprints",
    "no_labels",
    "read_finished",
    "read_metadata",
    "read_shard",
    "rows_of",
    "rows_table",
    "shard_names",
    "with_logits",
    "write_shard",
]

SCHEMA_VERSION = 1
NO_LABEL = -1
SHARDS_MANIFEST = "manifest.json"
_ROW_GROUP_ROWS = 5000


@dataclass(frozen=True)
class ShardRows:
    """Rows of shards as arrays.

    Attributes:
        row_id: int64 [N], position in the source split.
        view: int32 [N], which view; 0 is the untouched row.
        inputs: uint8 [N, H, W, channels] or float32 [N, D], as the members saw them.
        labels: int64 [N], `NO_LABEL` where unknown; regression: float32 [N], NaN where unknown.
        logits_NMC: float16 or float32 [N, M, C].
        mask_NM: bool [N, M], which members teach a row, or float32, how much; None for all alike.
    """

    row_id: np.ndarray
    view: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    logits_NMC: np.ndarray
    mask_NM: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.row_id)

    def __getitem__(self, rows: slice) -> ShardRows:
        """Rows that follow each other, in the same memory."""
        mask_NM = None if self.mask_NM is None else self.mask_NM[rows]
        return ShardRows(
            self.row_id[rows], self.view[rows], self.inputs[rows], self.labels[rows], self.logits_NMC[rows], mask_NM
        )

    def of_members(self, members: Sequence[int] | None) -> ShardRows:
        """The same rows with these members alone, in this order; None for all."""
        if members is None:
            return self
        mask_NM = None if self.mask_NM is None else self.mask_NM[:, members]
        return replace(self, logits_NMC=self.logits_NMC[:, members], mask_NM=mask_NM)

    def of_first(self, num_members: int | None) -> ShardRows:
        """The same rows with their first `num_members` members; None for all."""
        mask_NM = None if self.mask_NM is None else self.mask_NM[:, :num_members]
        return replace(self, logits_NMC=self.logits_NMC[:, :num_members], mask_NM=mask_NM)

    def take(self, index: np.ndarray, num_members: int | None = None) -> ShardRows:
        """The rows at `index` (int64 [n]) with their first `num_members` members."""
        # `take` needs a fifth of the time of `array[index]`, as long as the array is contiguous
        mask_NM = None if self.mask_NM is None else self.mask_NM.take(index, 0)[:, :num_members]
        return ShardRows(
            self.row_id.take(index, 0),
            self.view.take(index, 0),
            self.inputs.take(index, 0),
            self.labels.take(index, 0),
            self.logits_NMC.take(index, 0)[:, :num_members],
            mask_NM,
        )


def no_labels(num_rows: int, task: TaskName) -> np.ndarray:
    """The labels of rows that have none, in the data type of the task's labels."""
    dtype = LABEL_DTYPES[task]
    return np.full(num_rows, NO_LABEL if dtype.kind == "i" else np.nan, dtype)


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Which rows have a label: bool [N]."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != NO_LABEL


def rows_table(row_id: np.ndarray, view: int, inputs: np.ndarray, labels: np.ndarray) -> pa.Table:
    """A table of rows that are not predicted yet: all columns but `logits`; `labels` as in `ShardRows`."""
    label = pa.array(labels, pa.float32() if labels.dtype.kind == "f" else pa.int64(), mask=~is_labelled(labels))
    return pa.table(
        {
            "row_id": pa.array(row_id, pa.int64()),
            "view": pa.array(np.full(len(row_id), view, np.int32)),
            "input": _tensor(inputs),
            "label": label,
        }
    )


def with_logits(rows: pa.Table, logits_NMC: np.ndarray, column: str = "logits") -> pa.Table:
    """`rows` with the members' logits as the last column."""
    return rows.append_column(column, _tensor(logits_NMC))


def with_mask(rows: pa.Table, mask_NM: np.ndarray) -> pa.Table:
    """`rows` with a column `mask`: uint8, 1 for members that teach a row, or float32, the members' weights."""
    return rows.append_column("mask", _tensor(mask_NM.astype(np.float32 if mask_NM.dtype.kind == "f" else np.uint8)))


def with_inputs(rows: pa.Table, inputs: np.ndarray) -> pa.Table:
    """`rows` with other inputs."""
    return rows.set_column(rows.column_names.index("input"), "input", _tensor(inputs))


def inputs_of(rows: pa.Table) -> np.ndarray:
    """The `input` column as one array [N, ...]."""
    return _to_numpy(rows.column("input"))


def joined_logits(rows: pa.Table, columns: Sequence[str], places: Sequence[int]) -> pa.Table:
    """`rows` with columns of logits joined to one, `logits`; `places`: of each member among those of all columns."""
    logits = np.concatenate([_to_numpy(rows.column(column)) for column in columns], axis=1)
    return with_logits(rows.drop_columns(list(columns)), logits[:, places])


def write_shard(folder: Folder, name: str, table: pa.Table, metadata: Mapping[str, Any]) -> WrittenFile:
    """Write one shard whole or not at all, with `metadata` in the file's footer."""
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps({"schema": SCHEMA_VERSION, **metadata})})
    content = pa.BufferOutputStream()
    pq.write_table(
        table,
        content,
        compression="zstd",
        use_dictionary=False,
        row_group_size=_ROW_GROUP_ROWS,
        store_schema=True,
        write_page_checksum=True,  # a flipped bit is noticed by whoever reads the file, without a manifest too
    )
    return WrittenFile.write(folder, name, content.getvalue())


class ShardReader:
    """Reads the shards of one folder; in a published one, each file is checked against the manifest.

    The check is part of reading, and done once for each file and reader: a file that is read again each epoch is not
    hashed again. A folder without a manifest is still being written, or was written by another program.
    """

    def __init__(self, folder: Folder, members: Sequence[int] | None = None) -> None:
        """Read the manifest, if there is one.

        Args:
            folder: of the shards.
            members: those that are read, in this order, by their places in the shards; None for all.

        Raises:
            UserError: the manifest is damaged.
        """
        manifest, self.folder = find_published(folder, SHARDS_MANIFEST)
        self._members = members
        self._files: dict[str, Any] | None = None if manifest is None else manifest["files"]
        self._rows: dict[str, int] = {} if manifest is None else manifest.get("shard_rows", {})
        self._compared: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names of the Parquet files, in order."""
        return shard_names(self.folder)

    def sizes(self) -> Sizes:
        """How many rows each file has, and how large they are in memory.

        Raises:
            UserError: see `Sizes.of`.
        """
        return Sizes.of(self.folder, self._rows)

    def read(self, name: str, *, num_members: int | None = None) -> ShardRows:
        """One shard with the first `num_members` of its members, or of those that this reader reads.

        Raises:
            UserError: the file is damaged, not readable as Parquet, or not a shard.
        """
        with self._opened(name) as file:
            return rows_of(f"{self.folder}/{name}", file.read()).of_members(self._members).of_first(num_members)

    def read_all(self, name: str) -> tuple[ShardRows, pa.Schema, dict[str, Any]]:
        """One shard with its columns' types and its footer.

        Raises:
            UserError: see `read`; or the footer is not that of a shard.
        """
        subject = f"{self.folder}/{name}"
        with self._opened(name) as file:
            return rows_of(subject, file.read()), file.schema_arrow, metadata_of(subject, file.schema_arrow)

    def load(self, *, num_members: int | None = None, names: Sequence[str] | None = None) -> ShardRows:
        """All shards, or those in `names`, as arrays in the order of the files.

        Raises:
            UserError: there are none, or see `read`.
        """
        names = required_names(self.folder) if names is None else names
        return concatenate([self.read(name, num_members=num_members) for name in names])

    @contextmanager
    def _opened(self, name: str) -> Iterator[pq.ParquetFile]:
        content = reading(self.folder, name, lambda: self.folder.read(name))
        if self._files is not None and name not in self._compared:
            check_bytes(self.folder, name, content, self._files)
            self._compared.add(name)
        with opened(self.folder, name, content) as file:
            yield file


def read_shard(folder: Folder, name: str, *, num_members: int | None = None) -> ShardRows:
    """One shard, see `ShardReader.read`."""
    return ShardReader(folder).read(name, num_members=num_members)


def read_finished(folder: Folder, name: str) -> tuple[ShardRows, dict[str, Any], WrittenFile]:
    """A shard of a folder that is not published yet: its rows, its footer, and what a manifest says of its file.

    Raises:
        UserError: see `ShardReader.read_all`.
    """
    subject = f"{folder}/{name}"
    written, content = reading(folder, name, lambda: WrittenFile.read(folder, name))
    with opened(folder, name, content) as file:
        return rows_of(subject, file.read()), metadata_of(subject, file.schema_arrow), written


def load(folder: Folder, members: Sequence[int] | None = None, *, names: Sequence[str] | None = None) -> ShardRows:
    """All shards of a folder, or those in `names`; see `ShardReader`."""
    return ShardReader(folder, members).load(names=names)


def rows_of(subject: str, table: pa.Table) -> ShardRows:
    """A shard's table as arrays; `subject` names the file.

    Raises:
        UserError: a column has nulls where none may be, or the mask is none.
    """
    check_nulls(subject, table)
    label = table.column("label").combine_chunks()
    label = label.fill_null(float("nan") if pa.types.is_floating(label.type) else NO_LABEL)
    return ShardRows(
        row_id=table.column("row_id").to_numpy(),
        view=table.column("view").to_numpy(),
        inputs=inputs_of(table),
        labels=label.to_numpy(zero_copy_only=False),
        logits_NMC=_to_numpy(table.column("logits")),
        mask_NM=_mask_of(subject, table),
    )


def _mask_of(subject: str, table: pa.Table) -> np.ndarray | None:
    if "mask" not in table.column_names:
        return None
    mask_NM = _to_numpy(table.column("mask"))
    way_out = "delete the file's folder to have it predicted again"
    if mask_NM.dtype.kind == "f":
        if not (np.isfinite(mask_NM).all() and (mask_NM >= 0).all()):
            raise UserError(f"{subject}: mask holds weights that are negative or not finite; {way_out}")
        return mask_NM
    if (mask_NM > 1).any():
        raise UserError(f"{subject}: mask holds {mask_NM.max()}, not 0 and 1 alone; {way_out}")
    return mask_NM > 0


def concatenate(parts: Sequence[ShardRows]) -> ShardRows:
    """Several shards' rows as one."""
    fields = ("row_id", "view", "inputs", "labels", "logits_NMC")
    columns = {field: np.concatenate([getattr(part, field) for part in parts]) for field in fields}
    return ShardRows(**columns, mask_NM=joined_masks([(part.mask_NM, part.logits_NMC.shape[:2]) for part in parts]))


def joined_masks(masks: Sequence[tuple[np.ndarray | None, tuple[int, ...]]]) -> np.ndarray | None:
    """Several shards' masks as one; each may be None for all members, and so has its shape (N, M) beside it."""
    if all(mask_NM is None for mask_NM, _ in masks):
        return None
    return np.concatenate([np.ones(shape, np.bool_) if mask_NM is None else mask_NM for mask_NM, shape in masks])


def member_fingerprints(metadata: Mapping[str, Any]) -> list[str]:
    """The fingerprints of a shard's members, in order."""
    return [member["fingerprint"] for member in metadata.get("members", [])]


def _tensor(array: np.ndarray) -> pa.FixedShapeTensorArray:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    return cast(pa.FixedShapeTensorArray, column.combine_chunks()).to_numpy_ndarray()
