"""Small shards made without members: random rows, and logits in which member m disagrees with the others."""

import numpy as np

from hydra_ray.shards.schema import ShardRows, rows_table, with_logits, with_mask, write_shard
from hydra_ray.storage.folder import Folder

NAMES = tuple(f"{number:02d}fingerprint" for number in range(16))


def synthetic(num_rows=40, *, members=3, classes=4, shape=(4, 4, 1), seed=0, view=0, dtype=np.float16) -> ShardRows:
    """Rows whose logits depend on their inputs, a little differently for each member."""
    rng = np.random.default_rng((seed, view))
    pixels = len(shape) == 3
    inputs = rng.integers(0, 256, (num_rows, *shape), np.uint8) if pixels else rng.normal(size=(num_rows, *shape))
    flat = inputs.reshape(num_rows, -1) / (255 if pixels else 1)
    weights = np.random.default_rng(seed).normal(size=(members, flat.shape[1], classes))
    logits = np.einsum("nd,mdc->nmc", flat, weights[:1] + 0.3 * weights)
    labels = logits.mean(1).argmax(1)
    return ShardRows(
        np.arange(num_rows, dtype=np.int64),
        np.full(num_rows, view, np.int32),
        inputs if pixels else inputs.astype(np.float32),
        labels.astype(np.int64),
        logits.astype(dtype),
    )


def metadata(members=3, split="transfer", names=NAMES, **more):
    entries = [{"id": f"member-{number:03d}", "fingerprint": names[number]} for number in range(members)]
    return {"split": split, "members": entries, "class_names": [], "views": {}, "seed": 0, **more}


def write(folder: Folder, name: str, rows: ShardRows, facts=None) -> None:
    """One shard."""
    table = with_logits(rows_table(rows.row_id, int(rows.view[0]), rows.inputs, rows.labels), rows.logits_NMC)
    if rows.mask_NM is not None:
        table = with_mask(table, rows.mask_NM)
    write_shard(folder, name, table, facts or metadata(rows.logits_NMC.shape[1]))


def write_views(folder: Folder, num_views=2, rows_per_shard=15, **options) -> list[ShardRows]:
    """Shards of several views as `predict` names them; the rows of each view."""
    views = [synthetic(view=view, **options) for view in range(num_views)]
    for number, rows in enumerate(views):
        for start in range(0, len(rows), rows_per_shard):
            part = taken(rows, slice(start, start + rows_per_shard))
            write(folder, f"part-{number:03d}-{start // rows_per_shard:05d}.parquet", part)
    return views


def taken(rows: ShardRows, index) -> ShardRows:
    """Some rows."""
    parts = (rows.row_id, rows.view, rows.inputs, rows.labels, rows.logits_NMC)
    return ShardRows(*(part[index] for part in parts))
