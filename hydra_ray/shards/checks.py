"""Checks the content of shards before a student trains on them: types, shapes, nulls, labels, masks, rows, footers.

Bytes that changed after they were published are noticed when they are read (`schema.ShardReader`).

N rows, M members, C classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from hydra_ray.data import LABEL_DTYPES, TaskName
from hydra_ray.errors import UserError
from hydra_ray.shards.schema import NO_LABEL, SCHEMA_VERSION, ShardReader, ShardRows
from hydra_ray.storage import Folder, place_of

_VIEW_BITS = 20


def verify(folder: Folder, *, members: Sequence[str], num_rows: int) -> None:
    """Check the content of a folder of shards in one pass, one shard in memory at a time.

    Args:
        folder: of the shards.
        members: fingerprints of the members in the order of the `logits` axis.
        num_rows: number of rows in all shards.

    Raises:
        UserError: another schema version; a shard of another ensemble; missing or duplicate rows; columns of wrong
            types or shapes; nulls; labels that are no classes; numbers that are not finite.
    """
    reader = ShardReader(folder)
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    first: tuple[pa.Schema, dict[str, Any]] | None = None
    for name in reader.names:
        shard, schema, footer = reader.read_all(name)
        subject = f"{folder}/{name}"
        _check_footer(subject, folder, footer, members)
        first = first or (schema, footer)
        _check_like_first(subject, folder, (schema, footer), first)
        check_content(subject, folder, shard, footer)
        seen.append((shard.row_id, shard.view))
    _check_rows(folder, seen, num_rows)


def check_content(
    subject: str,
    folder: Folder,
    shard: ShardRows,
    footer: Mapping[str, Any],
    task: TaskName | None = None,
    num_outputs: int | None = None,
) -> None:
    """Check the shapes and values of one shard, written or about to be.

    Args:
        subject: names its file.
        folder: of the shards.
        shard: its rows.
        footer: its members, class names and views.
        task: of the run; None where it is not known.
        num_outputs: C; None where it is not known.

    Raises:
        UserError: shapes that do not fit the footer, labels that are no classes, or numbers that are not finite.
    """
    _check_shapes(subject, folder, shard, footer, task, num_outputs)
    _check_values(subject, folder, shard, footer)


def row_digest(view: int, row_id: np.ndarray) -> str:
    """Hash of a shard's rows: their row_id (int64 [n]) in order, and the number of their view."""
    return hashlib.sha256(np.append(row_id, view).astype("<i8").tobytes()).hexdigest()


def _check_footer(subject: str, folder: Folder, footer: Mapping[str, Any], members: Sequence[str]) -> None:
    if footer["schema"] != SCHEMA_VERSION:
        raise UserError(f"{subject}: schema {footer['schema']}, this version reads {SCHEMA_VERSION}; predict again")
    kinds = {"members": list, "views": dict, "class_names": list}
    for key, kind in kinds.items():
        if not isinstance(footer.get(key, kind()), kind):
            raise _wrong(subject, folder, f"its footer's {key} is {footer[key]!r:.60}, not a {kind.__name__}")
    entries = footer.get("members", [])
    if not all(isinstance(entry, dict) and isinstance(entry.get("fingerprint"), str) for entry in entries):
        raise _wrong(subject, folder, "its footer's members are no list of {id, fingerprint}")
    found = [entry["fingerprint"] for entry in entries]
    if found != list(members):
        raise UserError(
            f"{subject}: a shard from another ensemble (members {_brief(found)}, expected {_brief(members)}); "
            f"delete {place_of(folder)} to have it predicted again"
        )


def _check_like_first(
    subject: str, folder: Folder, shard: tuple[pa.Schema, Mapping[str, Any]], first: tuple[pa.Schema, Mapping[str, Any]]
) -> None:
    """Check that every file has the same columns and footer as the first."""
    schema, footer = shard
    first_schema, first_footer = first
    for field in first_schema:
        if field.name not in schema.names:
            raise _wrong(subject, folder, f"it has no column {field.name}, other shards have")
        if schema.field(field.name).type != field.type:
            raise _wrong(subject, folder, f"{field.name} is {schema.field(field.name).type}, in others {field.type}")
    if len(schema.names) != len(first_schema.names):
        raise _wrong(subject, folder, f"it has columns {', '.join(schema.names)}, others have not")
    for key in first_footer.keys() | footer.keys():
        if footer.get(key) != first_footer.get(key):
            raise _wrong(subject, folder, f"its footer's {key} differs from other shards'")


def _check_shapes(
    subject: str, folder: Folder, shard: ShardRows, footer: Mapping[str, Any], task: TaskName | None, wanted: int | None
) -> None:
    _, num_members, num_outputs = shard.logits_NMC.shape
    known = len(footer.get("members", []))
    if num_members != known:
        raise _wrong(subject, folder, f"holds {num_members} members, its footer {known}")
    if shard.mask_NM is not None and shard.mask_NM.shape[1] != known:
        raise _wrong(subject, folder, f"masks {shard.mask_NM.shape[1]} members, its footer has {known}")
    if wanted is not None and num_outputs != wanted:
        raise _wrong(subject, folder, f"holds {num_outputs} outputs a member, the task has {wanted}")
    is_regression = shard.labels.dtype.kind == "f"
    if task is not None and shard.labels.dtype.kind != LABEL_DTYPES[task].kind:
        raise _wrong(subject, folder, f"labels are {shard.labels.dtype}, which are not those of a {task}")
    if is_regression and num_outputs != 2:
        raise _wrong(subject, folder, f"holds {num_outputs} outputs a member, a regression has mean and log variance")
    names = footer.get("class_names", [])
    if names and not is_regression and len(names) != num_outputs:
        raise _wrong(subject, folder, f"holds {num_outputs} outputs a member, its footer names {len(names)} classes")


def _check_values(subject: str, folder: Folder, shard: ShardRows, footer: Mapping[str, Any]) -> None:
    if not np.isfinite(shard.logits_NMC).all():
        raise UserError(f"{subject}: logits are not finite; with float16 they may overflow: predict.dtype=float32")
    if not np.isfinite(shard.inputs).all():
        raise UserError(f"{subject}: inputs are not finite; mend the data set or the view that made them")
    labels = shard.labels
    num_outputs = shard.logits_NMC.shape[2]
    if labels.dtype.kind == "f":
        if np.isinf(labels).any():
            raise _wrong(subject, folder, "targets are not finite")
    elif ((labels != NO_LABEL) & ((labels < 0) | (labels >= num_outputs))).any():
        other = labels[(labels < NO_LABEL) | (labels >= num_outputs)][0]
        raise _wrong(subject, folder, f"label {other} is none of the classes 0 to {num_outputs - 1}")
    if (shard.row_id < 0).any() or (shard.view < 0).any() or (shard.view >= 1 << _VIEW_BITS).any():
        raise _wrong(subject, folder, "a row_id or view is out of range")
    views = footer.get("views", {})
    strange = [view for view in np.unique(shard.view) if views and str(view) not in views]
    if strange:
        raise _wrong(subject, folder, f"view {strange[0]} is none of its footer's")


def _check_rows(folder: Folder, seen: Sequence[tuple[np.ndarray, np.ndarray]], num_rows: int) -> None:
    row_id = np.concatenate([row_id for row_id, _ in seen] or [np.empty(0, np.int64)])
    view = np.concatenate([view for _, view in seen] or [np.empty(0, np.int32)])
    keys = (row_id << _VIEW_BITS) | view
    num_twice = len(keys) - len(np.unique(keys))
    if num_twice:
        twice = f"{num_twice:,} rows stand twice (same row_id and view)"
        raise UserError(f"{folder}: {twice}; delete it to have it made again")
    if len(keys) != num_rows:
        raise UserError(f"{folder}: has {len(keys):,} rows, must have {num_rows:,}; delete it to have it made again")


def _wrong(subject: str, folder: Folder, what: str) -> UserError:
    return UserError(f"{subject}: {what}; delete {place_of(folder)} to have it predicted again")


def _brief(fingerprints: Sequence[str]) -> str:
    return f"{len(fingerprints)}: {', '.join(fingerprints[:2])}{', ...' if len(fingerprints) > 2 else ''}"
