"""Shards that are wrong inside: one good folder, one of its files changed in every way, each found with the file."""

import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.shards import NAMES, metadata, synthetic, write_views
from helpers.table_changes import Change, as_lists, changed_to, flat, null_inside, null_row, put, with_value

from hydra_ray.errors import UserError
from hydra_ray.shards.checks import check_content, row_digest, verify
from hydra_ray.shards.schema import METADATA_KEY, ShardReader, load, rows_table, with_logits, with_mask, write_shard
from hydra_ray.storage.folder import Folder

FILES = [f"part-{view:03d}-{part:05d}.parquet" for view in range(2) for part in range(3)]
FOOTER = metadata(3, class_names=["a", "b", "c", "d"], views={"0": {}, "1": {}})


def masked(rows) -> pa.Table:
    table = with_logits(rows_table(rows.row_id, int(rows.view[0]), rows.inputs, rows.labels), rows.logits_NMC)
    return with_mask(table, np.ones(rows.logits_NMC.shape[:2], np.bool_))


@pytest.fixture
def good(tmp_path):
    """Two views of 40 rows in six shards of three members and four classes, with masks."""
    folder = Folder.open(str(tmp_path / "shards"))
    for view in range(2):
        table = masked(synthetic(view=view, shape=(5,)))
        for part in range(3):
            write_shard(folder, f"part-{view:03d}-{part:05d}.parquet", table.slice(15 * part, 15), FOOTER)
    return folder


def verified(folder: Folder, **changed) -> None:
    verify(folder, **{"members": NAMES[:3], "num_rows": 80, **changed})


TABLES: dict[str, Change] = {
    # row_id and view
    "row_id null": flat("row_id", put(None), pa.int64()),
    "row_id text": flat("row_id", lambda ids: [str(each) for each in ids]),
    "row_id float": flat("row_id", lambda ids: ids.astype(np.float64)),
    "row_id int32": flat("row_id", lambda ids: ids.astype(np.int32)),
    "row_id uint64": flat("row_id", lambda ids: ids.astype(np.uint64)),
    "row_id negative": flat("row_id", put(-1), pa.int64()),
    "row_id far out": flat("row_id", put(1 << 60), pa.int64()),
    "row_id of another row": flat("row_id", put(1000), pa.int64()),
    "row_id twice": flat("row_id", lambda ids: [ids[1], *ids[1:]], pa.int64()),
    "row_ids reversed": flat("row_id", lambda ids: ids[::-1], pa.int64()),
    "row_ids shifted": flat("row_id", lambda ids: np.roll(ids, 1), pa.int64()),
    "view null": flat("view", put(None), pa.int32()),
    "view int64": flat("view", lambda views: views.astype(np.int64)),
    "view text": flat("view", lambda views: ["0" for _ in views]),
    "view of another number": flat("view", put(7), pa.int32()),
    "view negative": flat("view", put(-1), pa.int32()),
    "view huge": flat("view", put(1 << 21), pa.int32()),
    "view of the other": flat("view", lambda views: 1 - views, pa.int32()),
    # label
    "label out of range": flat("label", put(4), pa.int64()),
    "label huge": flat("label", put(1 << 40), pa.int64()),
    "label below": flat("label", put(-2), pa.int64()),
    "label int32": flat("label", lambda labels: labels.astype(np.int32)),
    "label uint64": flat("label", lambda labels: labels.astype(np.uint64)),
    "label float": flat("label", lambda labels: labels.astype(np.float32)),
    "label double": flat("label", lambda labels: labels.astype(np.float64)),
    "label text": flat("label", lambda labels: [str(each) for each in labels]),
    "label bool": flat("label", lambda labels: labels > 1),
    "label list": flat("label", lambda labels: [[each] for each in labels]),
    # logits
    "logits of fewer members": changed_to("logits", lambda logits: logits[:, :2]),
    "logits of more members": changed_to("logits", lambda logits: np.concatenate([logits, logits], 1)),
    "logits of fewer classes": changed_to("logits", lambda logits: logits[:, :, :3]),
    "logits of more classes": changed_to("logits", lambda logits: np.concatenate([logits, logits], 2)),
    "logits transposed": changed_to("logits", lambda logits: logits.transpose(0, 2, 1)),
    "logits flat": changed_to("logits", lambda logits: logits.reshape(len(logits), -1)),
    "logits of three axes": changed_to("logits", lambda logits: logits[..., None]),
    "logits float32 in one file": changed_to("logits", lambda logits: logits.astype(np.float32)),
    "logits float64": changed_to("logits", lambda logits: logits.astype(np.float64)),
    "logits int": changed_to("logits", lambda logits: logits.astype(np.int32)),
    "logits lists": as_lists("logits"),
    "logits fixed lists": as_lists("logits", fixed=True),
    "logits null": null_row("logits"),
    "logits null inside": null_inside("logits"),
    "logits nan": with_value("logits", (3, 1, 2), np.nan),
    "logits inf": with_value("logits", (3, 1, 2), np.inf),
    # input
    "input nan": with_value("input", (0, 0), np.nan),
    "input inf": with_value("input", (0, 0), -np.inf),
    "input null": null_row("input"),
    "input null inside": null_inside("input"),
    "input narrower": changed_to("input", lambda inputs: inputs[:, :4]),
    "input of two axes": changed_to("input", lambda inputs: inputs[:, None]),
    "input double": changed_to("input", lambda inputs: inputs.astype(np.float64)),
    "input uint8": changed_to("input", lambda inputs: inputs.astype(np.uint8)),
    "input int16": changed_to("input", lambda inputs: (300 * inputs).astype(np.int16)),
    "input lists": as_lists("input"),
    # mask
    "mask list": as_lists("mask"),
    "mask of fewer members": changed_to("mask", lambda mask: mask[:, :2]),
    "mask of more members": changed_to("mask", lambda mask: np.concatenate([mask, mask], 1)),
    "mask of two axes": changed_to("mask", lambda mask: mask[..., None]),
    "mask of whole numbers": changed_to("mask", lambda mask: mask.astype(np.int64)),
    "mask of negative weights": changed_to("mask", lambda mask: mask.astype(np.float32) - 2),
    "mask of weights that are not finite": changed_to("mask", lambda mask: mask / np.float32(0)),
    "mask of other values": with_value("mask", (2, 1), 2),
    "mask overflown": with_value("mask", (2, 1), 255),
    "mask null": null_row("mask"),
    "mask null inside": null_inside("mask"),
    "mask flat": flat("view", lambda views: views, pa.int64()),
    # whole columns and rows
    **{f"no {name}": lambda table, name=name: table.drop_columns([name]) for name in masked(synthetic(1)).column_names},
    "label twice": lambda table: table.append_column("label", table.column("label")),
    "a column more": lambda table: table.append_column("weight", table.column("label")),
    "a row fewer": lambda table: table.slice(1),
    "no rows": lambda table: table.slice(0, 0),
    "a row twice": lambda table: pa.concat_tables([table, table.slice(0, 1)]),
    "rows reversed": lambda table: table.take(list(range(table.num_rows))[::-1]),
    "rows of one more id": lambda table: pa.concat_tables(
        [table.slice(1), flat("row_id", put(99, 0))(table.slice(0, 1))]
    ),
}
FOOTERS: dict[str, object] = {
    "members swapped": {"members": [FOOTER["members"][place] for place in (1, 0, 2)]},
    "members fewer": {"members": FOOTER["members"][:2]},
    "members twice": {"members": [*FOOTER["members"][:2], FOOTER["members"][0]]},
    "members of another": {"members": metadata(3, names=NAMES[4:])["members"]},
    "members text": {"members": "abc"},
    "members numbers": {"members": [1, 2, 3]},
    "members without fingerprints": {"members": [{"id": "x"}] * 3},
    "members null": {"members": None},
    "members empty": {"members": []},
    "split another": {"split": "test"},
    "split null": {"split": None},
    "schema 2": {"schema": 2},
    "schema null": {"schema": None},
    "views list": {"views": [0, 1]},
    "views of others": {"views": {"5": {}}},
    "views text inside": {"views": {"zero": {}, "one": {}}},
    "classes fewer": {"class_names": ["a", "b"]},
    "classes others": {"class_names": ["b", "a", "c", "d"]},
    "classes text": {"class_names": "abcd"},
    "seed another": {"seed": 7},
    "one key more": {"surplus": 1},
}
RAW = {
    "list": b"[1, 2]",
    "null": b"null",
    "number": b"3",
    "text": b'"x"',
    "empty": b"",
    "cut": b'{"schema": 1, "split',
    "binary": b"\xff\xfe\x00",
    "deep": b"[" * 10_000,
}


def rewrite(folder: Folder, name: str, change: Change = lambda table: table, raw: bytes | None = None) -> None:
    """One file with another table or footer."""
    table = pq.read_table(f"{folder.path}/{name}")
    footer = table.schema.metadata[METADATA_KEY] if raw is None else raw
    changed = change(table).replace_schema_metadata({METADATA_KEY: footer})
    with folder.writing(name) as stream:
        pq.write_table(changed, stream)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_good_passes(good):
    verified(good)
    for name in FILES:
        rewrite(good, name)
    verified(good)
    rewrite(good, FILES[0], flat("label", put(None), pa.int64()))
    rewrite(good, FILES[1], flat("label", put(-1), pa.int64()))
    verified(good)


OTHER_ROWS = ["row_id of another row", "row_ids reversed", "row_ids shifted", "rows reversed", "rows of one more id"]
"""Wrong for a run alone, which knows its rows."""


@pytest.mark.parametrize("name", [FILES[0], FILES[-1]])
@pytest.mark.parametrize("damage", [name for name in TABLES if name not in OTHER_ROWS])
def test_a_table_that_is_wrong_inside(good, name, damage):
    rewrite(good, name, TABLES[damage])
    assert str(good) in refusal(lambda: verified(good))


@pytest.mark.parametrize("damage", OTHER_ROWS)
def test_a_table_of_other_rows_has_another_digest(good, damage):
    before = row_digest(0, load(good, names=[FILES[0]]).row_id)
    rewrite(good, FILES[0], TABLES[damage])
    verified(good)
    assert row_digest(0, load(good, names=[FILES[0]]).row_id) != before


@pytest.mark.parametrize("damage", [name for name in TABLES if name.split()[0] in ("logits", "input", "label", "mask")])
def test_what_a_files_columns_tell_is_said_with_the_file(good, damage):
    rewrite(good, FILES[3], TABLES[damage])
    text = refusal(lambda: verified(good))
    assert FILES[3] in text
    assert any(
        way_out in text for way_out in ("delete", "predict.dtype", "mend the data", "not a shard of predictions")
    )


@pytest.mark.parametrize("name", [FILES[0], FILES[-1]])
@pytest.mark.parametrize("damage", FOOTERS)
def test_a_footer_that_is_wrong(good, name, damage):
    rewrite(good, name, raw=json.dumps({"schema": 1, **FOOTER, **FOOTERS[damage]}).encode())
    assert str(good) in refusal(lambda: verified(good))


@pytest.mark.parametrize("damage", RAW)
def test_a_footer_that_is_none(good, damage):
    rewrite(good, FILES[2], raw=RAW[damage])
    assert f"{good}/{FILES[2]}: not a shard of predictions" in refusal(lambda: verified(good))


@pytest.mark.parametrize("damage", TABLES)
def test_no_reader_lets_out_another_exception(good, damage):
    """Who reads without verifying gets rows or one line."""
    rewrite(good, FILES[0], TABLES[damage])
    line = None
    try:
        load(good, names=[FILES[0]])
    except UserError as error:
        line = str(error)
    assert line is None or f"{good}/{FILES[0]}" in line


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"num_outputs": 5}, "holds 4 outputs a member, the task has 5"),
        ({"task": "regression"}, "labels are int64, which are not those of a regression"),
    ],
)
def test_a_shard_of_another_task(good, changed, expected):
    shard, _, footer = ShardReader(good).read_all(FILES[0])
    asked = {"task": "classification", "num_outputs": 4}
    check_content(FILES[0], good, shard, footer, **asked)
    assert expected in refusal(lambda: check_content(FILES[0], good, shard, footer, **asked | changed))


def test_a_folder_with_fewer_rows_than_there_are(good):
    assert "has 80 rows, must have 79" in refusal(lambda: verified(good, num_rows=79))


def test_the_digest_of_rows_tells_their_view():
    rows = np.arange(40)
    assert row_digest(0, rows) == row_digest(0, rows.astype(np.int32))
    assert row_digest(0, rows) != row_digest(1, rows)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_targets_that_are_infinite(tmp_path, value):
    folder = Folder.open(str(tmp_path))
    rows = synthetic(classes=2, shape=(5,))
    targets = np.linspace(0, 1, 40, dtype=np.float32)
    targets[4] = np.nan
    write_shard(
        folder, FILES[0], with_logits(rows_table(rows.row_id, 0, rows.inputs, targets), rows.logits_NMC), FOOTER
    )
    verified(folder, num_rows=40)
    targets[5] = value
    write_shard(
        folder, FILES[0], with_logits(rows_table(rows.row_id, 0, rows.inputs, targets), rows.logits_NMC), FOOTER
    )
    assert "targets are not finite" in refusal(lambda: verified(folder, num_rows=40))


def test_a_regression_has_two_outputs(tmp_path):
    folder = Folder.open(str(tmp_path))
    write_views(folder, 1, classes=3)
    rows = synthetic(classes=3)
    table = rows_table(rows.row_id, 0, rows.inputs, np.zeros(40, np.float32))
    for name in FILES[:3]:
        folder.delete(name)
    write_shard(folder, FILES[0], with_logits(table, rows.logits_NMC), metadata(3))
    assert "a regression has mean and log variance" in refusal(lambda: verify(folder, members=NAMES[:3], num_rows=40))
