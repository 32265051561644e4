"""write-transfer: the rows of every predicted split, views included, as Parquet files for who cannot be called here.

Whoever adds predictions to these files gives them back by `ensemble.teachers.kind=arrays`, which matches them by
`row_id` and `view`. Rows are written as the data set's owner has them: pixels, or the table's own columns.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from hydra_ray.cluster.pipeline import check_own_session, clear_errors, works_here
from hydra_ray.cluster.place_of_work import stream
from hydra_ray.cluster.predict import plan_split
from hydra_ray.cluster.predict_steps import ReadRows, Work
from hydra_ray.cluster.session import check_storage, is_private, session
from hydra_ray.cluster.worker_setup import set_up_worker
from hydra_ray.errors import UserError
from hydra_ray.runs import Run, check_settings
from hydra_ray.shards import inputs_of
from hydra_ray.storage import Folder
from hydra_ray.teachers import batch_of


@dataclass(frozen=True)
class Written:
    """What there is to be answered."""

    rows: int
    splits: list[str]


def write_transfer(run: Run, out: str) -> Written:
    """Write the rows that teachers are to answer.

    Args:
        run: whose data set, views and seed.
        out: a new or empty folder; a folder a split is made in it.

    Raises:
        UserError: the folder cannot be written or holds something, or a view needs members.
    """
    check_storage(out, "OUT")
    check_settings(run)
    for split in run.split_names:
        if run.rows_follow_members(split):
            raise UserError("transfer.views: a view moves rows by the members' gradients; leave it out")
    folder = Folder.open(out, "OUT")
    if folder.files() or folder.folders():
        raise UserError(f"{out}: holds something already; name a new folder, or empty it")
    folder.check_writable("OUT")
    if is_private():
        check_own_session(run.config.cluster)
    is_local = works_here(run, "predict")
    place = nullcontext() if is_local else session(run.config.cluster)
    with run.working(is_local=is_local), place, clear_errors(folder, "write-transfer"):
        if not is_local:
            from hydra_ray.cluster.shared_folder import check_shared

            check_shared(folder, "OUT")
        return Written(_write_all(run, folder), run.split_names)


def _write_all(run: Run, folder: Folder) -> int:
    """Write the rows of all splits; how many they are."""
    work = Work(
        config=run.config,
        data=run.data,
        members=[],
        splits={},
        views={name: run.views(name) for name in run.split_names},
        reuse=dict.fromkeys(run.split_names, ()),
        metadata={},
        features=run.features,
        dtype=run.shard_dtype,
    )
    items = [{"item": item.to_text()} for split in run.split_names for item in plan_split(run, split)]
    return sum(row["rows"] for row in stream(items, run.config.cluster, _WriteInputs(work, folder)))


class _WriteInputs:
    """Writes the rows of plan items, a file each."""

    def __init__(self, work: Work, folder: Folder) -> None:
        self.work = work
        self.folder = folder

    def __call__(self, items: pa.Table) -> pa.Table:
        """What was written: item, rows."""
        set_up_worker(self.work.config.cluster)
        counts = [self._write(items.slice(place, 1)) for place in range(items.num_rows)]
        return items.append_column("rows", pa.array(counts))

    def _write(self, item: pa.Table) -> int:
        rows = ReadRows(self.work)(item)
        plan_item = self.work.item(item)
        table = _as_the_owner_has_them(self.work, rows)
        folder = self.folder / plan_item.split
        with folder.writing(self.work.name(plan_item)) as stream:
            pq.write_table(table, stream, compression="zstd")
        return table.num_rows


def _as_the_owner_has_them(work: Work, rows: pa.Table) -> pa.Table:
    """Columns `row_id`, `view` and `label`, and `input` or the table's own columns."""
    batch = batch_of(work.data, inputs_of(rows))
    known = rows.select(["row_id", "view", "label"])
    if not hasattr(batch, "columns"):
        return known.append_column("input", rows.column("input"))
    own = pa.Table.from_pandas(batch, preserve_index=False)
    for name in own.column_names:
        known = known.append_column(name, own.column(name))
    return known
