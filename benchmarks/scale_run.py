"""A run of any size whose rows are made up, for `scale_sim`: the plans that it makes are those of a real one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from hydra_ray.config import Config
from hydra_ray.data import DataSet, Ints, Rows, Split
from hydra_ray.data.rows import Bools
from hydra_ray.data.splits import Shares
from hydra_ray.runs import Run
from hydra_ray.shards import rows_table, with_logits

_VALIDATION_ROWS = 100_000
_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True)
class Scale:
    """How large.

    Attributes:
        rows: of the transfer set.
        views: that each source row has in it.
        members: M.
        shape: of an input, uint8.
        classes: C.
        rows_per_shard: `predict.rows_per_shard`.
    """

    rows: int
    views: int
    members: int
    shape: tuple[int, ...]
    classes: int
    rows_per_shard: int

    @property
    def shards(self) -> int:
        """Files of the transfer set."""
        return self.views * math.ceil(self.rows / self.views / self.rows_per_shard)

    def of_shards(self, number: int) -> Scale:
        """The same with about so many shards."""
        views = min(self.views, number)
        rows = number // views * views * self.rows_per_shard
        return Scale(rows, views, self.members, self.shape, self.classes, self.rows_per_shard)


@dataclass(frozen=True)
class MadeUpRows:
    """A source of random pixels and labels, of any number."""

    num_rows: int
    input_shape: tuple[int, ...]
    num_classes: int
    name: str = "made up"
    task: Any = "classification"
    dtype: Any = _UINT8
    feature_names: tuple[str, ...] | None = None
    categories: tuple[int, ...] = ()
    goes_with: tuple[int, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Numbers."""
        return tuple(map(str, range(self.num_classes)))

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """As in `Source`."""
        row_id = start + np.flatnonzero(np.ones(stop - start, np.bool_) if keep is None else keep)
        rng = np.random.default_rng(start)
        inputs = rng.integers(0, 256, (len(row_id), *self.input_shape), np.uint8)
        return Rows(row_id, inputs, rng.integers(0, self.num_classes, len(row_id)))

    def read_labels(self) -> Ints:
        """As in `Source`."""
        return np.arange(self.num_rows) % self.num_classes

    def fingerprint(self) -> dict[str, Any]:
        """As in `Source`."""
        return {"made up": self.num_rows}

    def require_unchanged(self) -> None:
        """As in `Source`."""


def run_of(scale: Scale) -> Run:
    """A run of such size, whose folder is in memory."""
    source_rows = scale.rows // scale.views
    views = [{"view": "identity"}, {"view": "affine", "count": scale.views - 1}]
    config = Config.model_validate(
        {
            "name": "scale",
            "storage": "memory://scale",
            "data": {"source": "made up"},
            "ensemble": {"num_members": scale.members, "architecture": "resnet20"},
            "transfer": {"views": views[: min(2, scale.views)]},
            "predict": {"rows_per_shard": scale.rows_per_shard},
            "distill": {"batch_size": 1024},
        }
    )
    run = Run(config)
    held = min(_VALIDATION_ROWS, source_rows // 10)
    # the source's rows are the transfer set's; some more are held out, as in a recipe with data.validation_fraction
    source = MadeUpRows(source_rows + held, scale.shape, scale.classes)
    shares = Shares(source.num_rows, 0, held / source.num_rows, 0.0, None)
    splits = {part: Split(part, source, shares, part) for part in ("train", "validation")}
    run.__dict__["data"] = DataSet(
        {**splits, "test": Split("test", MadeUpRows(1000, scale.shape, scale.classes))}, scale.shape, source.class_names
    )
    return run


def shard_table(scale: Scale, rows: int, view: int = 0, start: int = 0) -> pa.Table:
    """So many rows of a shard as `predict` writes them, random."""
    found = MadeUpRows(start + rows, scale.shape, scale.classes).read(start, start + rows)
    assert found.labels is not None
    logits = np.random.default_rng(view).normal(size=(rows, scale.members, scale.classes)).astype(np.float16)
    return with_logits(rows_table(found.row_id, view, found.inputs, found.labels), logits)
