"""The prediction shards: the contract between whatever predicts and whatever learns (design.md section 5).

One row an input and view: `row_id`, `view`, `input`, `label`, `logits`, and `mask` where a row is learnt from some
members only. Plain Parquet with Arrow's canonical fixed-shape tensors, which pyarrow, pandas and DuckDB read without
this package. Writing, reading and verifying only:
who makes the rows is not known here, nor is Ray.

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

from hydra_ray.datasets.rows import Task
from hydra_ray.errors import UserError
from hydra_ray.manifests import check_bytes, read_manifest
from hydra_ray.shard_files import (
    METADATA_KEY,
    opened,
    read_bytes,
    read_metadata,
    required_names,
    shard_names,
)
from hydra_ray.storage import Folder

__all__ = [
    "METADATA_KEY",
    "NO_LABEL",
    "SCHEMA_VERSION",
    "Predictions",
    "ShardReader",
    "concatenate",
    "inputs_of",
    "is_labelled",
    "load",
    "member_fingerprints",
    "no_labels",
    "read_metadata",
    "read_shard",
    "rows_table",
    "shard_names",
    "verify",
    "with_logits",
    "write_shard",
]

SCHEMA_VERSION = 1
NO_LABEL = -1
SHARDS_MANIFEST = "manifest.json"
_ROW_GROUP_ROWS = 5000


@dataclass(frozen=True)
class Predictions:
    """Rows of shards as arrays.

    Attributes:
        row_id: int64 [N], position in the source split.
        view: int32 [N], which view; 0 is the untouched row.
        inputs: uint8 [N, H, W, channels] or float32 [N, D], as the members saw them.
        labels: int64 [N], `NO_LABEL` where unknown; regression: float32 [N], NaN where unknown.
        logits_NMC: float16 or float32 [N, M, C].
        mask_NM: bool [N, M], which members a row is learnt from; None for all.
    """

    row_id: np.ndarray
    view: np.ndarray
    inputs: np.ndarray
    labels: np.ndarray
    logits_NMC: np.ndarray
    mask_NM: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.row_id)

    def of_first(self, num_members: int) -> Predictions:
        """The same rows with the first `num_members` of their members."""
        mask_NM = None if self.mask_NM is None else self.mask_NM[:, :num_members]
        return replace(self, logits_NMC=self.logits_NMC[:, :num_members], mask_NM=mask_NM)

    def take(self, index: np.ndarray, num_members: int | None = None) -> Predictions:
        """The rows at `index` (int64 [n]), of their members the first `num_members`."""
        # `take` needs a fifth of the time of `array[index]`, as long as the array is contiguous
        mask_NM = None if self.mask_NM is None else self.mask_NM.take(index, 0)[:, :num_members]
        return Predictions(
            self.row_id.take(index, 0),
            self.view.take(index, 0),
            self.inputs.take(index, 0),
            self.labels.take(index, 0),
            self.logits_NMC.take(index, 0)[:, :num_members],
            mask_NM,
        )


def no_labels(num_rows: int, task: Task) -> np.ndarray:
    """Labels of rows that have none, of the type that the task's labels have."""
    return np.full(num_rows, NO_LABEL) if task == "classification" else np.full(num_rows, np.nan, np.float32)


def is_labelled(labels: np.ndarray) -> np.ndarray:
    """Which rows have a label: bool [N]."""
    return ~np.isnan(labels) if labels.dtype.kind == "f" else labels != NO_LABEL


def rows_table(row_id: np.ndarray, view: int, inputs: np.ndarray, labels: np.ndarray) -> pa.Table:
    """Rows that have not been predicted yet: every column but `logits`; `labels` as in `Predictions`."""
    label = pa.array(labels, pa.float32() if labels.dtype.kind == "f" else pa.int64(), mask=~is_labelled(labels))
    return pa.table(
        {
            "row_id": pa.array(row_id, pa.int64()),
            "view": pa.array(np.full(len(row_id), view, np.int32)),
            "input": _tensor(inputs),
            "label": label,
        }
    )


def with_logits(rows: pa.Table, logits_NMC: np.ndarray) -> pa.Table:
    """`rows` with the members' logits as the last column."""
    return rows.append_column("logits", _tensor(logits_NMC))


def with_mask(rows: pa.Table, mask_NM: np.ndarray) -> pa.Table:
    """`rows` with the members they are to be learnt from: uint8, 1 for yes."""
    return rows.append_column("mask", _tensor(mask_NM.astype(np.uint8)))


def with_inputs(rows: pa.Table, inputs: np.ndarray) -> pa.Table:
    """`rows` with other inputs."""
    return rows.set_column(rows.column_names.index("input"), "input", _tensor(inputs))


def inputs_of(rows: pa.Table) -> np.ndarray:
    """The `input` column as one array [N, ...]."""
    return _to_numpy(rows.column("input"))


def write_shard(folder: Folder, name: str, table: pa.Table, metadata: Mapping[str, Any]) -> None:
    """Write one shard whole or not at all, with `metadata` in the file's footer."""
    table = table.replace_schema_metadata({METADATA_KEY: json.dumps({"schema": SCHEMA_VERSION, **metadata})})
    with folder.writing(name) as stream:
        pq.write_table(
            table,
            stream,
            compression="zstd",
            use_dictionary=False,
            row_group_size=_ROW_GROUP_ROWS,
            store_schema=True,
            write_page_checksum=True,  # a flipped bit is noticed by whoever reads the file, without a manifest too
        )


class ShardReader:
    """Reads the shards of one folder; of a published one it compares each file's bytes with the manifest.

    That is done in the pass that reads them, once for each file and reader: a file that is read again each epoch is not
    hashed again. A folder without a manifest is one that is being written, or somebody else's.
    """

    def __init__(self, folder: Folder) -> None:
        """Reads the manifest, if there is one.

        Raises:
            UserError: the manifest is damaged.
        """
        self.folder = folder
        manifest = read_manifest(folder, SHARDS_MANIFEST)
        self._files: dict[str, Any] | None = None if manifest is None else manifest["files"]
        self._compared: set[str] = set()

    @property
    def names(self) -> list[str]:
        """Names of the Parquet files, in order."""
        return shard_names(self.folder)

    def read(self, name: str, *, num_members: int | None = None) -> Predictions:
        """One shard; of its members the first `num_members`.

        Raises:
            UserError: the file is not what was published, not readable Parquet, or not a shard.
        """
        with self.opened(name) as file:
            return _rows_of(file.read(), num_members)

    def load(self, *, num_members: int | None = None, names: Sequence[str] | None = None) -> Predictions:
        """All shards (or those named) as arrays, in the files' order.

        Raises:
            UserError: there are none, or see `read`.
        """
        names = required_names(self.folder) if names is None else names
        return concatenate([self.read(name, num_members=num_members) for name in names])

    @contextmanager
    def opened(self, name: str) -> Iterator[pq.ParquetFile]:
        """See `shard_files.opened`; its bytes compared."""
        content = read_bytes(self.folder, name)
        if self._files is not None and name not in self._compared:
            check_bytes(self.folder, name, content, self._files)
            self._compared.add(name)
        with opened(self.folder, name, content) as file:
            yield file


def read_shard(folder: Folder, name: str, *, num_members: int | None = None) -> Predictions:
    """One shard, see `ShardReader.read`."""
    return ShardReader(folder).read(name, num_members=num_members)


def load(folder: Folder, *, num_members: int | None = None, names: Sequence[str] | None = None) -> Predictions:
    """All shards of a folder (or those named), see `ShardReader.load`."""
    return ShardReader(folder).load(num_members=num_members, names=names)


def _rows_of(table: pa.Table, num_members: int | None) -> Predictions:
    label = table.column("label").combine_chunks()
    label = label.fill_null(float("nan") if pa.types.is_floating(label.type) else NO_LABEL)
    return Predictions(
        row_id=table.column("row_id").to_numpy(),
        view=table.column("view").to_numpy(),
        inputs=inputs_of(table),
        labels=label.to_numpy(zero_copy_only=False),
        logits_NMC=_to_numpy(table.column("logits"))[:, :num_members],
        mask_NM=_to_numpy(table.column("mask"))[:, :num_members] > 0 if "mask" in table.column_names else None,
    )


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Several shards' rows as one."""
    fields = ("row_id", "view", "inputs", "labels", "logits_NMC")
    columns = {field: np.concatenate([getattr(part, field) for part in parts]) for field in fields}
    masks = [np.ones(part.logits_NMC.shape[:2], np.bool_) if part.mask_NM is None else part.mask_NM for part in parts]
    is_masked = any(part.mask_NM is not None for part in parts)
    return Predictions(**columns, mask_NM=np.concatenate(masks) if is_masked else None)


def verify(folder: Folder, *, members: Sequence[str], num_rows: int, expected: Mapping[str, Any] | None = None) -> None:
    """Check a folder of shards before anything is learnt from it: one pass, one shard in memory at a time.

    Args:
        folder: the shards' folder.
        members: fingerprints of the members in the order of the `logits` axis.
        num_rows: rows over all shards.
        expected: further footer entries that every shard must have.

    Raises:
        UserError: another schema version, a shard of another ensemble, rows missing or twice, numbers not finite.
    """
    seen: list[np.ndarray] = []
    reader = ShardReader(folder)
    for name in shard_names(folder):
        shard = reader.read(name)
        _verify_metadata(folder, name, members, expected or {})
        if shard.logits_NMC.shape[1] != len(members):
            raise UserError(f"{folder}/{name}: holds {shard.logits_NMC.shape[1]} members, its footer {len(members)}")
        if shard.mask_NM is not None and shard.mask_NM.shape[1] != len(members):
            raise UserError(f"{folder}/{name}: masks {shard.mask_NM.shape[1]} members, its footer has {len(members)}")
        if not np.isfinite(shard.logits_NMC).all():
            raise UserError(
                f"{folder}/{name}: logits are not finite; with float16 they may overflow: predict.dtype=float32"
            )
        if not np.isfinite(shard.inputs).all():
            raise UserError(f"{folder}/{name}: inputs are not finite; mend the data set or the view that made them")
        seen.append((shard.row_id << 20) | shard.view)
    keys = np.concatenate(seen) if seen else np.empty(0, np.int64)
    if len(np.unique(keys)) != len(keys):
        raise UserError(f"{folder}: {len(keys) - len(np.unique(keys)):,} rows stand twice (same row_id and view)")
    if len(keys) != num_rows:
        raise UserError(f"{folder}: has {len(keys):,} rows, must have {num_rows:,}; delete it to have it made again")


def member_fingerprints(metadata: Mapping[str, Any]) -> list[str]:
    """Fingerprints of the members whose logits a shard holds, in order."""
    return [member["fingerprint"] for member in metadata.get("members", [])]


def _verify_metadata(folder: Folder, name: str, members: Sequence[str], expected: Mapping[str, Any]) -> None:
    metadata = read_metadata(folder, name)
    if metadata["schema"] != SCHEMA_VERSION:
        raise UserError(
            f"{folder}/{name}: schema {metadata['schema']}, this version reads {SCHEMA_VERSION}; predict again"
        )
    found = member_fingerprints(metadata)
    if found != list(members):
        raise UserError(
            f"{folder}/{name}: a shard from another ensemble (members {_brief(found)}, expected {_brief(members)}); "
            f"delete {folder} to have it predicted again"
        )
    for key, value in expected.items():
        if metadata.get(key) != value:
            raise UserError(f"{folder}/{name}: {key} is {metadata.get(key)}, expected {value}; delete {folder}")


def _brief(fingerprints: Sequence[str]) -> str:
    return f"{len(fingerprints)}: {', '.join(fingerprints[:2])}{', ...' if len(fingerprints) > 2 else ''}"


def _tensor(array: np.ndarray) -> pa.FixedShapeTensorArray:
    return pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(array))


def _to_numpy(column: pa.ChunkedArray) -> np.ndarray:
    return cast(pa.FixedShapeTensorArray, column.combine_chunks()).to_numpy_ndarray()
