"""Shards that somebody else wrote, in the members' place: predictions stand beside the inputs, in the same files.

N rows, M members, C outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hydra_ray.config import OutputsSaid
from hydra_ray.data import DataSet, Rows, TableSource
from hydra_ray.errors import UserError
from hydra_ray.teachers.outputs import Found, as_outputs

_SAID: dict[str, OutputsSaid] = {"logits": "logits", "probabilities": "probabilities"}


@dataclass(frozen=True)
class ForeignShards:
    """Predictions in the columns `logits` or `probabilities`, and `mask`, of the data set's own files; small to pickle.

    Attributes:
        path: as the user gave it.
        num_members: M.
        data: read from the same files.
    """

    path: str
    num_members: int
    data: DataSet

    outputs: ClassVar[OutputsSaid] = "logits"

    def answer(self, split: str, rows_of: str, rows: Rows, view: int) -> Found:
        """What members said of rows of a predicted split; see `ArrayTeachers.answer`."""
        source = self._source(rows_of)
        row_id = rows.row_id
        column = self._column(source)
        names = [column, *(name for name in ("mask",) if name in source.column_names)]
        low = int(row_id[0])
        parts = [(first, batch.select(names)) for first, batch in source.whole_batches(low, int(row_id[-1]) + 1, names)]
        table = pa.Table.from_batches([batch for _, batch in parts]).take(pa.array(row_id - parts[0][0]))
        mask_NM = _array(table, "mask") if len(names) > 1 else None
        mask_NM = mask_NM.astype(np.bool_) if mask_NM is not None and mask_NM.dtype.kind == "u" else mask_NM
        values = _array(table, column)
        if self.data.task == "regression":
            said: OutputsSaid = "logits"  # means and LOG variances, as shards have them
        else:
            said = _SAID[column]
        answered = None if mask_NM is None else mask_NM > 0
        try:
            outputs = as_outputs(values, said, self.num_members, self.data.num_outputs, row_id, answered)
        except UserError as error:
            raise UserError(f"predict.shards={self.path}: {split}: {error}") from error
        return Found(outputs, mask_NM)

    def check_rows(self) -> None:
        """Check that no row is trained on under one view and measured under another.

        Raises:
            UserError: validation or test rows are cut off shards in which a row appears more than once.
        """
        train = self.data.splits["train"]
        if all(self.data.splits[name].source is not train.source for name in ("validation", "test")):
            return
        row_id = self._source("train").read_column("row_id")
        if len(np.unique(row_id)) < len(row_id):
            raise UserError(
                f"predict.shards={self.path}: rows appear under several views, so that validation rows cannot be cut "
                "off; give the folders transfer/, validation/ and test/"
            )

    def _source(self, rows_of: str) -> TableSource:
        source = self.data.splits[rows_of].source
        if not isinstance(source, TableSource):
            raise UserError(f"predict.shards={self.path}: must be a folder of Parquet files; see docs/shards.md")
        return source

    def _column(self, source: TableSource) -> str:
        found = [name for name in _SAID if name in source.column_names]
        if not found:
            raise UserError(
                f"predict.shards={self.path}: {source.name} has no column logits or probabilities; see docs/shards.md"
            )
        return found[0]


def _array(table: pa.Table, name: str) -> npt.NDArray[Any]:
    """A column of tensors, or of lists of one shape, as [N, ...]."""
    column: Any = table.column(name).combine_chunks()
    if isinstance(column, pa.FixedShapeTensorArray):
        return column.to_numpy_ndarray()
    return np.array(column.to_pylist())
