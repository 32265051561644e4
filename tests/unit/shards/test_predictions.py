"""Shards: what is written is what anybody reads, and what is wrong is found."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.shards import NAMES, metadata, synthetic, taken, write, write_views

from hydra_ray.data.rows import TaskName
from hydra_ray.errors import UserError
from hydra_ray.shards.checks import verify
from hydra_ray.shards.schema import (
    NO_LABEL,
    ShardReader,
    concatenate,
    inputs_of,
    is_labelled,
    load,
    member_fingerprints,
    no_labels,
    read_metadata,
    read_shard,
    rows_table,
    shard_names,
    with_logits,
    with_mask,
    write_shard,
)
from hydra_ray.storage.folder import Folder
from hydra_ray.storage.manifests import check_bytes, describe, sealed

NAME = "part-000-00000.parquet"


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "shards"))


def assert_same(one, two):
    for field in ("row_id", "view", "inputs", "labels", "logits_NMC"):
        first, second = getattr(one, field), getattr(two, field)
        assert first.dtype == second.dtype, field
        np.testing.assert_array_equal(first, second, err_msg=field)


def refusal(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# writing and reading


@pytest.mark.parametrize("shape", [(4, 4, 1), (3, 5, 3), (6,)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_come_back(folder, shape, dtype):
    rows = synthetic(shape=shape, dtype=dtype, view=3)
    write(folder, NAME, rows)
    assert_same(read_shard(folder, NAME), rows)


def test_rows_of_several_row_groups_come_back(folder):
    rows = synthetic(11_003, shape=(2,), members=2, classes=2)
    write(folder, NAME, rows)
    with pq.ParquetFile(f"{folder.path}/{NAME}") as file:
        assert file.num_row_groups > 1
    assert_same(read_shard(folder, NAME), rows)


def test_unknown_labels_are_null_in_the_file(folder):
    rows = replace(synthetic(), labels=np.full(40, NO_LABEL))
    write(folder, NAME, rows)
    assert pq.read_table(f"{folder.path}/{NAME}").column("label").null_count == 40
    assert_same(read_shard(folder, NAME), rows)


def test_inputs_of_rows_that_are_not_predicted_yet():
    rows = synthetic(shape=(3, 5, 3))
    np.testing.assert_array_equal(inputs_of(rows_table(rows.row_id, 0, rows.inputs, rows.labels)), rows.inputs)


def test_targets_are_float32_and_null_where_there_is_none(folder):
    targets = np.linspace(-3, 3, 40, dtype=np.float32)
    targets[7] = np.nan
    rows = replace(synthetic(), labels=targets)
    write(folder, NAME, rows)
    column = pq.read_table(f"{folder.path}/{NAME}").column("label")
    assert (column.type, column.null_count, column[7].as_py()) == (pa.float32(), 1, None)
    assert_same(read_shard(folder, NAME), rows)
    assert is_labelled(targets).sum() == 39


def test_a_view_without_labels_has_the_type_of_those_with_labels(folder):
    kinds: dict[TaskName, pa.DataType] = {"classification": pa.int64(), "regression": pa.float32()}
    for task, kind in kinds.items():
        write(folder, NAME, replace(synthetic(), labels=no_labels(40, task)))
        column = pq.read_table(f"{folder.path}/{NAME}").column("label")
        assert (column.type, column.null_count) == (kind, 40)
        assert not is_labelled(read_shard(folder, NAME).labels).any()


def test_the_first_members_are_read_alone(folder):
    rows = synthetic(members=5)
    write(folder, NAME, rows)
    assert_same(read_shard(folder, NAME, num_members=2), replace(rows, logits_NMC=rows.logits_NMC[:, :2]))


def test_a_folder_is_read_in_the_order_of_its_names(folder):
    views = write_views(folder, 2)
    folder.write("notes.json", b"{}")
    assert shard_names(folder) == [f"part-{view:03d}-{part:05d}.parquet" for view in range(2) for part in range(3)]
    assert_same(load(folder), concatenate(views))
    assert_same(load(folder, names=shard_names(folder)[3:]), views[1])


def test_published_files_are_hashed_once_a_reader_in_the_pass_that_reads_them(folder, monkeypatch):
    views = write_views(folder, 1)
    files = {name: describe(folder, name) for name in shard_names(folder)}
    folder.write_json("manifest.json", sealed({"fingerprint": "x", "key": {}, "files": files}))
    hashed = []

    def recorded(folder, name, content, files):
        hashed.append(name)
        check_bytes(folder, name, content, files)

    monkeypatch.setattr("hydra_ray.shards.schema.check_bytes", recorded)
    reader = ShardReader(folder)
    for _ in range(3):
        assert_same(reader.load(), views[0])
    assert hashed == shard_names(folder)
    ShardReader(folder).load()
    assert hashed == 2 * shard_names(folder)


def test_a_flipped_bit_is_noticed_without_a_manifest_too(folder):
    """Parquet's page checksums, which other readers know as well."""
    write(folder, NAME, synthetic(shape=(6,)))
    content = folder.read(NAME)
    place = len(content) // 2
    folder.write(NAME, content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "damaged or cut short" in refusal(lambda: read_shard(folder, NAME))


def test_an_empty_folder_is_an_error(folder):
    assert refusal(lambda: load(folder)) == f"{folder}: no shards there; run the predict stage first"


def test_every_reader_gets_the_same_numbers(folder):
    """Plain pyarrow and DuckDB know nothing of us; both must give the members' [M, C], to the bit."""
    import duckdb

    rows = synthetic(members=5)
    write(folder, NAME, rows)
    path = f"{folder.path}/{NAME}"
    column = pq.read_table(path).column("logits").combine_chunks()
    assert column.type.shape == [5, 4]
    np.testing.assert_array_equal(column.to_numpy_ndarray(), rows.logits_NMC)

    found = duckdb.sql(f"select row_id, view, label, logits, input from '{path}' order by row_id").fetchall()
    np.testing.assert_array_equal([row[0] for row in found], rows.row_id)
    np.testing.assert_array_equal([row[2] for row in found], rows.labels)
    np.testing.assert_array_equal(np.array([row[3] for row in found]).reshape(40, 5, 4), rows.logits_NMC)
    np.testing.assert_array_equal(np.array([row[4] for row in found]).reshape(40, 4, 4, 1), rows.inputs)


def test_the_footer_says_what_the_numbers_are(folder):
    write(folder, NAME, synthetic(), metadata(3, "test", class_names=["a", "b"], views={"0": {"view": "identity"}}))
    found = read_metadata(folder, NAME)
    assert (found["schema"], found["split"], found["class_names"]) == (1, "test", ["a", "b"])
    assert member_fingerprints(found) == list(NAMES[:3])
    assert [member["id"] for member in found["members"]] == ["member-000", "member-001", "member-002"]
    footer = pq.read_schema(f"{folder.path}/{NAME}").metadata
    assert json.loads(footer[b"hydra_ray"]) == found


def test_columns_have_the_types_of_the_contract(folder):
    write(folder, NAME, synthetic(dtype=np.float16))
    schema = pq.read_schema(f"{folder.path}/{NAME}")
    assert schema.names == ["row_id", "view", "input", "label", "logits"]
    assert schema.field("row_id").type == pa.int64()
    assert schema.field("view").type == pa.int32()
    assert schema.field("label").type == pa.int64()
    assert schema.field("logits").type == pa.fixed_shape_tensor(pa.float16(), [3, 4])
    assert schema.field("input").type == pa.fixed_shape_tensor(pa.uint8(), [4, 4, 1])


# verifying


@pytest.fixture
def good(folder):
    """Two views of 40 rows, in six shards of three members."""
    write_views(folder, 2)
    verified(folder)
    return folder


def verified(folder, **changed):
    verify(folder, **{"members": NAMES[:3], "num_rows": 80, **changed})


def rewritten(folder, change, name=NAME, facts=None):
    """A shard replaced by a changed one."""
    write(folder, name, change(read_shard(folder, name)), facts)


def test_a_row_that_stands_twice(good):
    rewritten(good, lambda rows: replace(rows, row_id=np.r_[rows.row_id[:-1], rows.row_id[:1]]))
    assert refusal(lambda: verified(good)) == (
        f"{good}: 1 rows stand twice (same row_id and view); delete it to have it made again"
    )


def test_a_row_that_is_missing(good):
    rewritten(good, lambda rows: taken(rows, slice(1, None)))
    assert refusal(lambda: verified(good)).startswith(f"{good}: has 79 rows, must have 80; delete it")


def test_a_shard_that_is_missing(good):
    good.delete(NAME)
    assert "has 65 rows, must have 80" in refusal(lambda: verified(good))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite(good, value):
    def change(rows):
        logits = rows.logits_NMC.copy()
        logits[3, 1, 2] = value
        return replace(rows, logits_NMC=logits)

    rewritten(good, change)
    text = refusal(lambda: verified(good))
    assert text.startswith(f"{good}/{NAME}: logits are not finite")
    assert "predict.dtype=float32" in text


def test_inputs_that_are_not_finite(folder):
    rows = synthetic(shape=(6,))
    rows.inputs[0, 0] = np.nan
    write(folder, NAME, rows)
    assert "inputs are not finite" in refusal(lambda: verified(folder, num_rows=40))


def test_a_shard_of_another_ensemble(good):
    rewritten(good, lambda rows: rows, facts=metadata(3, names=NAMES[1:]))
    text = refusal(lambda: verified(good))
    assert text.startswith(f"{good}/{NAME}: a shard from another ensemble (members 3: ")
    assert text.endswith(f"delete {good} to have it predicted again")


def test_a_shard_of_fewer_members(good):
    rewritten(good, lambda rows: replace(rows, logits_NMC=rows.logits_NMC[:, :2]))
    assert "a shard from another ensemble (members 2: " in refusal(lambda: verified(good))


def test_a_shard_whose_footer_lies_about_its_members(good):
    rewritten(good, lambda rows: replace(rows, logits_NMC=rows.logits_NMC[:, :2]), facts=metadata(3))
    assert "holds 2 members, its footer 3" in refusal(lambda: verified(good))


def test_a_mask_of_another_number_of_members_is_refused(folder):
    rows = synthetic(20)
    table = with_logits(rows_table(rows.row_id, 0, rows.inputs, rows.labels), rows.logits_NMC)
    write_shard(folder, "part-000-00000.parquet", with_mask(table, np.ones((20, 2))), metadata(3))
    with pytest.raises(UserError, match="masks 2 members, its footer has 3"):
        verify(folder, members=NAMES[:3], num_rows=20)


def test_a_shard_of_another_schema(good):
    rewritten(good, lambda rows: rows, facts=metadata(3, schema=2))
    assert "schema 2, this version reads 1; predict again" in refusal(lambda: verified(good))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_shard(good, share):
    content = good.read(NAME)
    good.write(NAME, content[: int(len(content) * share)])
    text = refusal(lambda: verified(good))
    assert text.startswith(f"{good}/{NAME}: damaged or cut short (")
    assert text.endswith(f"delete {good} to have it predicted again")


def test_bytes_that_changed_inside(good):
    content = bytearray(good.read(NAME))
    for place in range(100, 400):
        content[place] ^= 0xFF
    good.write(NAME, bytes(content))
    assert "damaged or cut short" in refusal(lambda: verified(good))


def test_a_file_that_is_not_parquet(good):
    good.write(NAME, b"row_id,view\n1,2\n" * 100)
    assert "damaged or cut short" in refusal(lambda: verified(good))


def plain(folder, table, entry=None):
    with folder.writing(NAME) as stream:
        pq.write_table(table.replace_schema_metadata({"hydra_ray": json.dumps(entry)} if entry else None), stream)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda table: pa.table({"a": [1]}), "Parquet, but not a shard of predictions: it has no column row_id"),
        (lambda table: table.drop_columns(["logits"]), "it has no column logits"),
        (lambda table: table.drop_columns(["input"]).append_column("input", table["row_id"]), "input is int64, not a"),
        (lambda table: table, "its footer has no hydra_ray entry"),
    ],
)
def test_parquet_that_is_not_a_shard(folder, change, expected):
    write(folder, NAME, synthetic())
    plain(folder, change(pq.read_table(f"{folder.path}/{NAME}")))
    assert expected in refusal(lambda: verified(folder))


def test_a_footer_that_is_not_ours(folder):
    write(folder, NAME, synthetic())
    plain(folder, pq.read_table(f"{folder.path}/{NAME}"), entry=["other"])
    assert "its footer has no hydra_ray entry" in refusal(lambda: verified(folder))


def test_a_shard_that_is_gone(folder):
    assert refusal(lambda: read_shard(folder, NAME)).endswith("no such file; run the predict stage first")
