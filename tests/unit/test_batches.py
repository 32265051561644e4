"""Batches on a device: gathered there or copied, the same rows."""

import pytest
import torch
from helpers.shards import write_views

from hydra_ray.batches import BatchReader, Feed
from hydra_ray.storage import Folder

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    place = Folder.open(str(tmp_path))
    write_views(place, 2, num_rows=40, members=4)
    return place


def reader(folder, **options):
    how = {"batch_size": 12, "seed": 3, "num_members": 2, "rank": 1, "num_ranks": 2, "max_bytes": 1 << 30, **options}
    return BatchReader(folder, **how)


@pytest.mark.parametrize("max_bytes", [1 << 30, 6000], ids=["all in memory", "windows"])
def test_rows_that_stay_on_the_device_are_those_that_are_copied(folder, max_bytes):
    copied, resident = (
        list(Feed(reader(folder, max_bytes=max_bytes), CPU, resident=stay).batches(1, 2)) for stay in (False, True)
    )
    assert len(copied) == 80 // 12 - 2
    assert copied[0].logits_BMC.shape[:2] == (6, 2)
    for one, other in zip(copied, resident, strict=True):
        assert one.mask_BM is other.mask_BM is None
        assert all(torch.equal(part, same) for part, same in zip(one[:3], other[:3], strict=True))


def test_rows_are_moved_to_the_device_once(folder, monkeypatch):
    moved = []
    monkeypatch.setattr(
        Feed, "_moved", lambda feed, window, move=Feed._moved: moved.append(len(window)) or move(feed, window)
    )
    feed = Feed(reader(folder), CPU, resident=True)
    for epoch in range(3):
        list(feed.batches(epoch))
    assert moved == [80]
