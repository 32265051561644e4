"""Shards from arrays of predictions that exist already, and the check of a folder of shards whoever wrote them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hydra_ray.data import LABEL_DTYPES, TaskName
from hydra_ray.errors import UserError
from hydra_ray.shards.checks import verify
from hydra_ray.shards.files import count_rows, read_metadata, required_names
from hydra_ray.shards.schema import no_labels, rows_table, with_logits, with_mask, write_shard
from hydra_ray.storage import Folder, files_of


def write_shards(
    folder: str | Path,
    inputs: np.ndarray,
    outputs_NMC: np.ndarray,
    labels: np.ndarray | None = None,
    mask: np.ndarray | None = None,
    *,
    row_id: np.ndarray | None = None,
    view: int = 0,
    classes: Sequence[str] = (),
    members: Sequence[str] | None = None,
    task: TaskName = "classification",
    rows_per_shard: int = 5000,
) -> list[str]:
    """Write predictions that exist already as shards (docs/shards.md).

    Args:
        folder: a new or empty folder, local or a URI.
        inputs: uint8 [N, H, W, channels] or float32 [N, D].
        outputs_NMC: logits [N, M, C]; in a regression means and LOG variances, C = 2.
        labels: [N], numbers of classes (-1: none) or targets (NaN: none); None for no labels.
        mask: bool [N, M], which members teach a row, or floats, how much; None for all alike.
        row_id: [N], positions in the source; None for 0, 1, 2, ...
        view: number of the view, 0 for untouched rows.
        classes: names of the C classes.
        members: names of the M members.
        task: decides the type of labels.
        rows_per_shard: rows of one Parquet file.

    Returns:
        The names of the files.

    Raises:
        UserError: arrays that do not fit each other, or a folder that holds shards already.
    """
    place = Folder.open(str(folder), "folder")
    _check(place, inputs, outputs_NMC, labels, mask)
    num_rows = len(inputs)
    known = no_labels(num_rows, task) if labels is None else np.asarray(labels).astype(LABEL_DTYPES[task])
    number = np.arange(num_rows) if row_id is None else np.asarray(row_id, np.int64)
    names = [f"member-{m:03d}" for m in range(outputs_NMC.shape[1])] if members is None else list(members)
    digests = _digests(outputs_NMC)
    footer = {
        "split": "transfer",
        "members": [{"id": name, "fingerprint": digest} for name, digest in zip(names, digests, strict=True)],
        "class_names": list(classes),
        "views": {str(view): {"view": "identity"}},
    }
    written = []
    for start in range(0, num_rows, rows_per_shard):
        rows = slice(start, start + rows_per_shard)
        table = with_logits(rows_table(number[rows], view, inputs[rows], known[rows]), outputs_NMC[rows])
        table = table if mask is None else with_mask(table, np.asarray(mask)[rows])
        written.append(f"part-{start // rows_per_shard:05d}.parquet")
        write_shard(place, written[-1], table, footer)
    return written


def verify_shards(folder: str | Path) -> dict[str, Any]:
    """Check a folder of shards: schema, types, shapes, nulls, finite values, labels, unique rows.

    Returns:
        `num_rows`, `num_members`, and the footer's `class_names` and `views`.

    Raises:
        UserError: the first thing that is wrong, with its file.
    """
    place = files_of(Folder.open(str(folder), "folder"))
    names = required_names(place)
    footer: Mapping[str, Any] = read_metadata(place, names[0])
    num_rows = sum(count_rows(place, name) for name in names)
    members = [member["fingerprint"] for member in footer.get("members", [])]
    verify(place, members=members, num_rows=num_rows)
    kept = {key: footer.get(key) for key in ("class_names", "views")}
    return {"num_rows": num_rows, "num_members": len(members), **kept}


def _check(
    folder: Folder, inputs: np.ndarray, outputs_NMC: np.ndarray, labels: np.ndarray | None, mask: np.ndarray | None
) -> None:
    if any(name.endswith(".parquet") for name in folder.files()):
        raise UserError(f"{folder}: holds Parquet files already; choose an empty folder")
    if outputs_NMC.ndim != 3 or len(outputs_NMC) != len(inputs) or not len(inputs):
        found = f"inputs {list(inputs.shape)} and outputs {list(outputs_NMC.shape)}"
        raise UserError(f"{folder}: {found} do not fit: give [N, ...] and [N, members, classes]")
    for name, array, wanted in (("labels", labels, outputs_NMC.shape[:1]), ("mask", mask, outputs_NMC.shape[:2])):
        if array is not None and np.shape(array) != wanted:
            raise UserError(f"{folder}: {name} {list(np.shape(array))}: must have the shape {list(wanted)}")
    if inputs.dtype not in (np.uint8, np.float32):
        raise UserError(f"{folder}: inputs are {inputs.dtype}: give uint8 pixels or float32 features")


def _digests(outputs_NMC: np.ndarray) -> list[str]:
    """What tells each member's predictions from others: a hash of them."""
    return [
        hashlib.sha256(np.ascontiguousarray(outputs_NMC[:, m]).tobytes()).hexdigest()[:16]
        for m in range(outputs_NMC.shape[1])
    ]
