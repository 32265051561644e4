"""predict: the shards are the members' own answers, complete, readable without us, and extended rather than redone."""

import json
import shutil
from types import SimpleNamespace

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support import WORKERS, copied, events, leftovers, tiny

from hydra_ray.cluster import item_streams, predict
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.model_store import load_published
from hydra_ray.runs.run import Run
from hydra_ray.shards.schema import read_metadata, shard_names
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(400)

# float16 has 11 significant bits: a relative error of 2**-11 at most; what the stacked product sums in another order
# comes on top, far below.
RELATIVE, ABSOLUTE = 2**-11, 2e-4


def tables(folder):
    return {path.name: pq.read_table(path) for path in sorted(folder.glob("*.parquet"))}


def answers(run, inputs):
    """float32 [N, M, C], each member asked alone."""
    with torch.no_grad():
        members = [load_published(member) for member in run.members()]
        return torch.stack([member(torch.from_numpy(inputs.copy())) for member in members], dim=1).numpy()


def logits_of(table):
    return table.column("logits").combine_chunks().to_numpy_ndarray()


@pytest.fixture
def run(small_run):
    return Run(tiny(small_run.parent))


def test_every_split_is_published_with_complete_and_unique_rows(run, small_run):
    assert run.split_names == ["transfer", "validation", "validation_views", "test", "unknown-photo_patches"]
    for name in run.split_names:
        assert run.shards(name).status() == "done"
        table = pa.concat_tables(tables(small_run / "predictions" / name).values())
        for view in run.views(name):
            chosen = table.filter(pa.compute.equal(table["view"], view))
            assert sorted(chosen["row_id"].to_pylist()) == run.rows_of_view(name, view).tolist(), (name, view)
        assert set(table["view"].to_pylist()) == set(run.views(name))
        assert table.num_rows == json.loads((small_run / "predictions" / name / "manifest.json").read_text())["rows"]


def test_an_unfinished_shard_without_its_end_is_made_again(small_run, tmp_path):
    attempt = Folder.open(str(shutil.copytree(small_run / "predictions" / "validation", tmp_path / "attempt")))
    whole = shard_names(attempt)[1:]
    assert whole
    (tmp_path / "attempt" / "part-000-00000.parquet").write_bytes(b"PAR1 and little more")
    said = []
    assert predict._finished(attempt, SimpleNamespace(say=said.append)) == set(whole)
    assert shard_names(attempt) == whole
    assert len(said) == 1
    assert "part-000-00000.parquet: cut short" in said[0]


@pytest.mark.parametrize("split", ["transfer", "unknown-photo_patches"])
def test_pyarrow_reads_what_the_members_answer(run, small_run, split):
    for name, table in tables(small_run / "predictions" / split).items():
        inputs = table.column("input").combine_chunks().to_numpy_ndarray()
        assert logits_of(table).dtype == np.float16
        assert logits_of(table).shape == (table.num_rows, 4, 10)
        np.testing.assert_allclose(logits_of(table), answers(run, inputs), RELATIVE, ABSOLUTE, err_msg=name)


def test_duckdb_reads_the_same_numbers_as_pyarrow(small_run):
    folder = small_run / "predictions" / "transfer"
    rows = duckdb.sql(f"select logits, row_id, view from '{folder}/*.parquet' order by view, row_id").fetchall()
    table = pa.concat_tables(tables(folder).values()).sort_by([("view", "ascending"), ("row_id", "ascending")])
    assert [row[1:] for row in rows] == list(zip(table["row_id"].to_pylist(), table["view"].to_pylist(), strict=True))
    by_duckdb = np.array([row[0] for row in rows], np.float32).reshape(-1, 4, 10)
    assert (by_duckdb == logits_of(table).astype(np.float32)).all()


def test_inputs_and_labels_are_those_of_the_data_set_and_mixed_rows_have_no_label(run, small_run):
    rows = run.data.splits["train"].read_all()
    place = {row: index for index, row in enumerate(rows.row_id.tolist())}
    for table in tables(small_run / "predictions" / "transfer").values():
        view = run.views("transfer")[table["view"][0].as_py()].label
        mine = [place[row] for row in table["row_id"].to_pylist()]
        assert table["label"].to_pylist() == ([None] * len(mine) if view == "mixup" else rows.labels[mine].tolist())
        inputs = table.column("input").combine_chunks().to_numpy_ndarray()
        assert (inputs == rows.inputs[mine]).all() == (view == "identity")


def test_footers_say_whose_answers_these_are(run, small_run):
    shards = run.shards("transfer")
    for name in shard_names(shards.folder):
        facts = read_metadata(shards.folder, name)
        assert [member["id"] for member in facts["members"]] == [f"member-{n:03d}" for n in range(4)]
        assert [member["fingerprint"] for member in facts["members"]] == list(shards.members)
        assert facts["class_names"] == [str(n) for n in range(10)]
        assert facts["views"]["3"]["view"] == "mixup"


def test_shards_of_one_worker_equal_those_of_two(small_run, chain, project):
    chain.require_success()
    for split in ("transfer", "test"):
        first = tables(small_run / "predictions" / split)
        second = tables(project / "runs" / "tiny" / "predictions" / split)
        assert first.keys() == second.keys()
        assert all(first[name].equals(second[name]) for name in first)


def test_actors_beside_tasks_write_the_same_shards(small_run, tmp_path, monkeypatch):
    """The way of rows with GPUs, whose number is 0 here: read by tasks, answered by an actor, written by tasks."""
    folder = copied(small_run, tmp_path)
    shutil.rmtree(folder / "predictions")
    monkeypatch.setattr(
        item_streams,
        "by_tasks",
        lambda items, cluster, make: item_streams.by_actors(
            items, cluster, predict.ReadRows(make.work), predict.AskMembers, make.work, predict.WriteShard(make.work)
        ),
    )
    run_stages(Run(tiny(tmp_path, *WORKERS)), ["predict"])
    for split in ("transfer", "unknown-photo_patches"):
        first, second = tables(small_run / "predictions" / split), tables(folder / "predictions" / split)
        assert first.keys() == second.keys()
        assert all(first[name].equals(second[name]) for name in first)


def test_further_members_are_asked_alone_and_finished_shards_are_left(extended_run, tmp_path, capsys):
    """Shards of 4 members become shards of 6; one of them lies finished in the attempt already."""
    folder = copied(extended_run, tmp_path)
    run = Run(tiny(tmp_path, "ensemble.num_members=6"))
    transfer = run.shards("transfer")
    assert transfer.reusable() == (0, 1, 2, 3, None, None)
    old = tables(folder / "predictions" / "transfer")
    done = "part-001-00000.parquet"
    finished = old[done]  # a stand-in: were this shard asked for again, the file would differ
    members = [{"id": each.folder.name, "fingerprint": each.digest()} for each in run.members()]
    metadata = {**json.loads(finished.schema.metadata[b"hydra_ray"]), "members": members}
    logits = np.repeat(logits_of(finished)[:, :1], 6, axis=1)
    finished = finished.drop_columns(["logits"]).append_column(
        "logits", pa.FixedShapeTensorArray.from_numpy_ndarray(logits)
    )
    with transfer.attempt.writing(done) as stream:
        pq.write_table(finished.replace_schema_metadata({"hydra_ray": json.dumps(metadata)}), stream)
    before = len(events(folder))

    run_stages(run, ["predict"])

    asked = [each for each in events(folder)[before:] if each["event"] == "shard" and each["split"] == "transfer"]
    new = tables(folder / "predictions" / "transfer")
    assert len(asked) == len(old) - 1
    for name, table in new.items():
        if name == done:
            assert (logits_of(table) == logits).all()
            continue
        assert table["row_id"].equals(old[name]["row_id"])
        assert (logits_of(table)[:, :4] == logits_of(old[name])).all()
        inputs = table.column("input").combine_chunks().to_numpy_ndarray()
        np.testing.assert_allclose(logits_of(table), answers(run, inputs), RELATIVE, ABSOLUTE)
    assert leftovers(folder) == []
    assert "affine x2" in capsys.readouterr().out


def test_students_of_the_first_members_outlive_further_ones(small_run):
    """3 heads of 4 members; of 6 members they would be the same three."""
    small, large = Run(tiny(small_run.parent)), Run(tiny(small_run.parent, "ensemble.num_members=6"))
    first, second = (run.student("hydra").key["transfer"] for run in (small, large))
    assert first == small.shards("transfer").digest_of(range(3))
    assert second == large.shards("transfer").digest_of(range(3))
    assert first == second


def test_shards_moved_by_members_are_those_of_a_fresh_run_whatever_was_there_before(extended_run, tmp_path):
    """4 members and then 6, 6 and then 4: rows of `ods` are moved by a random one of those there are."""
    found = {}
    for history in ((4,), (6,), (4, 6), (6, 4)):
        storage = tmp_path / "-".join(map(str, history))
        folder = copied(extended_run, storage)
        for members in history:
            words = [f"ensemble.num_members={members}", "transfer.views=[{view: identity}, {view: ods}]"]
            run_stages(Run(tiny(storage, *words)), ["predict"])
        found[history] = tables(folder / "predictions" / "transfer")
    assert found[4, 6] == found[6,]
    assert found[6, 4] == found[4,]
    assert not found[6,]["part-001-00000.parquet"]["input"].equals(found[4,]["part-001-00000.parquet"]["input"])
