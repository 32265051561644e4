"""Batches: the same rows for any number of ranks and any memory, gathered on the device or copied to it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.shards import metadata, synthetic, taken, write, write_views

from hydra_ray.errors import UserError
from hydra_ray.shards.loader import BatchReader, Feed
from hydra_ray.shards.schema import ShardReader, load, rows_table, with_logits, with_mask, write_shard
from hydra_ray.shards.sharing import Sharing
from hydra_ray.storage.folder import Folder

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    return Folder.open(str(tmp_path / "shards"))


def refusal(call) -> str:
    with pytest.raises(UserError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


def reader(folder, **changed):
    options = {"batch_size": 12, "seed": 0, "num_members": 3, "rank": 0, "num_ranks": 1, "max_bytes": 1 << 30}
    return BatchReader(folder, **{**options, **changed})


@pytest.fixture
def numbered(folder):
    """40 rows of two views in six shards, each input its own number."""
    for view in range(2):
        rows = synthetic(shape=(1,), view=view)
        rows = replace(rows, inputs=(rows.row_id + 100 * view).astype(np.float32)[:, None])
        for part in range(3):
            write(folder, f"part-{view:03d}-{part:05d}.parquet", taken(rows, slice(15 * part, 15 * part + 15)))
    return folder


def steps(batches, epoch=0, start=0):
    """The numbers of the rows of each step."""
    return [rows.inputs[:, 0].astype(int).tolist() for rows in batches.batches(epoch, start)]


SMALL = 600  # bytes: several windows


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("num_ranks", [2, 3, 5, 24])
def test_ranks_together_take_the_global_batches_of_one(numbered, num_ranks, max_bytes):
    alone = steps(reader(numbered, max_bytes=max_bytes))
    ranks = [reader(numbered, rank=rank, num_ranks=num_ranks, max_bytes=max_bytes) for rank in range(num_ranks)]
    assert {each.steps_per_epoch for each in ranks} == {len(alone)} == {6}
    together = [steps(each) for each in ranks]
    for step, rows in enumerate(alone):
        parts = [each[step] for each in together]
        assert {len(part) for part in parts} <= {12 // num_ranks, -(-12 // num_ranks)}
        assert (len({len(part) for part in parts}) == 1) == ranks[0].is_even
        assert sorted(rows) == sorted(row for part in parts for row in part)


@pytest.mark.parametrize("max_bytes", [1 << 30, 4 * SMALL, SMALL, 1])
def test_an_epoch_has_each_row_once_up_to_the_remainder(numbered, max_bytes):
    batches = reader(numbered, max_bytes=max_bytes)
    for epoch in range(3):
        found = steps(batches, epoch)
        assert [len(step) for step in found] == [12] * batches.steps_per_epoch == [12] * 6
        rows = [row for step in found for row in step]
        assert len(set(rows)) == len(rows) == 72


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
def test_epochs_and_seeds_have_orders_of_their_own_that_can_be_repeated(numbered, max_bytes):
    batches = reader(numbered, max_bytes=max_bytes)
    assert steps(batches, 0) == steps(reader(numbered, max_bytes=max_bytes), 0)
    assert steps(batches, 0) != steps(batches, 1)
    assert steps(batches, 0) != steps(reader(numbered, max_bytes=max_bytes, seed=1), 0)
    assert steps(batches, 0) == steps(batches, 0), "an epoch before does not matter"


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("start", [0, 1, 4, 6])
def test_an_epoch_goes_on_at_any_step(numbered, start, max_bytes):
    batches = reader(numbered, max_bytes=max_bytes)
    assert steps(batches, 2, start) == steps(batches, 2)[start:]


def test_small_memory_reads_a_part_at_a_time(numbered, monkeypatch):
    read, held = [], []
    real_read, real_rows = ShardReader.read, Sharing.rows

    def recorded(self, name, **options):
        rows = real_read(self, name, **options)
        read.append(len(rows))
        return rows

    def kept(self, parts):
        rows = real_rows(self, parts)
        held.append(len(rows))
        return rows

    monkeypatch.setattr(ShardReader, "read", recorded)
    monkeypatch.setattr(Sharing, "rows", kept)
    steps(reader(numbered, max_bytes=SMALL))
    assert max(held) <= 15 + 11, "a shard, and what is left of the one before"
    assert sum(read) == 80
    read.clear()
    held.clear()
    batches = reader(numbered)
    steps(batches, 0)
    steps(batches, 1)
    assert (sum(read), held) == (80, [80]), "what fits is read once"


def test_windows_mix_rows_of_different_shards(numbered):
    """A window's last rows wait for the next window, so that batches cross shards; the order of shards changes."""
    first = [min(step) // 100 for epoch in range(8) for step in steps(reader(numbered, max_bytes=SMALL), epoch)[:1]]
    assert set(first) == {0, 1}


def test_rows_in_memory_give_the_batches_of_rows_read(numbered):
    rows = load(numbered)
    batches = [reader(source, num_members=2).batches(1) for source in (numbered, rows)]
    for ours, theirs in zip(*batches, strict=True):
        for field in ("row_id", "view", "inputs", "labels", "logits_NMC"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))


def test_batches_hold_inputs_labels_and_the_first_members(folder):
    rows = write_views(folder, 1, members=5)[0]
    for max_bytes in (1 << 30, SMALL):
        for batch in reader(folder, num_members=2, max_bytes=max_bytes).batches(0):
            assert batch.logits_NMC.shape == (12, 2, 4)
            assert batch.mask_NM is None
            places = [int(np.flatnonzero((rows.inputs == each).all((1, 2, 3)))[0]) for each in batch.inputs]
            np.testing.assert_array_equal(batch.labels, rows.labels[places])
            np.testing.assert_array_equal(batch.logits_NMC, rows.logits_NMC[places, :2])


def masked_shards(folder):
    """Two shards of 20 rows and 3 members; row r of the first is learnt from member r % 3, the second has no mask."""
    first, second = (synthetic(20, view=view) for view in (0, 1))
    mask = np.arange(20)[:, None] % 3 == np.arange(3)
    table = with_logits(rows_table(first.row_id, 0, first.inputs, first.labels), first.logits_NMC)
    write_shard(folder, "part-000-00000.parquet", with_mask(table, mask), metadata(3))
    write(folder, "part-001-00000.parquet", second)
    return mask


@pytest.mark.parametrize("max_bytes", [1 << 30, 1])
def test_a_mask_travels_with_its_rows_and_no_mask_means_all_members(folder, max_bytes):
    mask = masked_shards(folder)
    seen = 0
    for batch in reader(folder, num_members=2, max_bytes=max_bytes).batches(0):
        expected = np.where(batch.view[:, None] == 0, mask[batch.row_id, :2], True)
        np.testing.assert_array_equal(np.ones_like(expected) if batch.mask_NM is None else batch.mask_NM, expected)
        seen += len(batch)
    assert seen == 36


def test_fewer_rows_than_a_batch_are_one_batch(numbered):
    assert [len(step) for step in steps(reader(numbered, batch_size=200))] == [80]
    for rank in range(3):
        found = steps(reader(numbered, batch_size=201, rank=rank, num_ranks=3))
        assert [len(step) for step in found] == [[27, 27, 26][rank]]


def test_more_members_than_the_shards_hold(numbered):
    text = refusal(lambda: reader(numbered, num_members=8))
    assert text.startswith(f"a student of 8 members, but the shards in {numbered} hold 3 members: ")
    assert text.endswith("predict again with ensemble.num_members=8 or more, or lower its num_heads to 3")


def test_readers_that_cannot_work(numbered, folder):
    assert "80 rows for 100 workers" in refusal(lambda: reader(numbered, batch_size=100, num_ranks=100))
    assert "no shards there" in refusal(lambda: reader(folder / "empty"))


# on a device


def half(folder, **options):
    """The second of two ranks."""
    return reader(folder, num_members=2, rank=1, num_ranks=2, **options)


@pytest.mark.parametrize("max_bytes", [1 << 30, 6000], ids=["all in memory", "windows"])
def test_rows_that_stay_on_the_device_are_those_that_are_copied(folder, max_bytes):
    write_views(folder, 2, num_rows=40, members=4)
    copied, resident = (
        list(Feed(half(folder, max_bytes=max_bytes), CPU, resident=stay).batches(1, 2)) for stay in (False, True)
    )
    assert len(copied) == 80 // 12 - 2
    assert copied[0].logits_BMC.shape[:2] == (6, 2)
    for one, other in zip(copied, resident, strict=True):
        assert one.mask_BM is other.mask_BM is None
        assert all(torch.equal(part, same) for part, same in zip(one[:3], other[:3], strict=True))


def test_rows_are_moved_to_the_device_once(folder, monkeypatch):
    write_views(folder, 2, num_rows=40, members=4)
    moved = []
    monkeypatch.setattr(
        Feed, "_moved", lambda feed, window, move=Feed._moved: moved.append(len(window)) or move(feed, window)
    )
    feed = Feed(half(folder), CPU, resident=True)
    for epoch in range(3):
        list(feed.batches(epoch))
    assert moved == [80]


@pytest.mark.parametrize("max_bytes", [1 << 30, SMALL])
@pytest.mark.parametrize("is_masked", [False, True])
def test_a_team_is_read_as_if_the_shards_held_no_other_members(folder, tmp_path, max_bytes, is_masked):
    team = [2, 0]
    others = Folder.open(str(tmp_path / "team"))
    for part in range(3):
        rows = synthetic(shape=(1,), view=0)
        mask_NM = np.arange(len(rows) * 3).reshape(-1, 3) % 5 > 0 if is_masked else None
        each = replace(rows, mask_NM=mask_NM).take(np.arange(15 * part, min(len(rows), 15 * part + 15)))
        write(folder, f"part-000-{part:05d}.parquet", each)
        write(others, f"part-000-{part:05d}.parquet", each.of_members(team))
    options = {"max_bytes": max_bytes, "num_members": 2}
    of_team, alone = reader(folder, members=team, **options), reader(others, **options)
    for one, other in zip(of_team.batches(0), alone.batches(0), strict=True):
        assert (one.row_id == other.row_id).all()
        assert (one.logits_NMC == other.logits_NMC).all()
        assert one.mask_NM is None if not is_masked else (one.mask_NM == other.mask_NM).all()
    assert "hold 3 members" in refusal(lambda: reader(folder, members=[0, 3], **options))
