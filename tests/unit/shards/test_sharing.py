"""Rows shared by the ranks of a node: the rows that one process alone reads, read by one of them."""

import os
import re
import tempfile
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from helpers.counted_reads import counted, record_of, times_read
from helpers.shards import synthetic, taken, write

from hydra_ray.errors import UserError
from hydra_ray.shards import BatchReader, Sharing, UnevenDraws, sharing
from hydra_ray.storage import Folder, sealed
from hydra_ray.storage.manifests import describe
from hydra_ray.training import DistributedContext

EPOCHS = 3
WINDOWS = 3_000  # bytes, for some windows
NODES = [1, 0, 1]
"""Node of each rank: the second rank is alone on its node, the third one shares with the first."""
_SECONDS = 200


class Case(NamedTuple):
    """How rows are read."""

    max_bytes: int = 1 << 30
    is_uneven: bool = False
    has_room: bool = True
    is_damaged: bool = False

    @property
    def times(self) -> int:
        """How often a node's reader reads a shard."""
        return 1 if self.max_bytes > WINDOWS else EPOCHS

    @property
    def times_of_first(self) -> int:
        """The same of rank 0, which where not all fit reads them once more to know how often they are drawn."""
        return self.times + (self.is_uneven and self.max_bytes == WINDOWS)


CASES = {
    "all in memory": Case(),
    "windows": Case(WINDOWS),
    "all, drawn unevenly": Case(is_uneven=True),
    "windows, drawn unevenly": Case(WINDOWS, is_uneven=True),
    "without room": Case(has_room=False),
    "damaged": Case(is_damaged=True),
    "damaged, windows": Case(WINDOWS, is_damaged=True),
}


def make_shards(place, is_damaged):
    """80 rows of two views in six published shards, one of them with a mask; a damaged one has a bit flipped."""
    folder = Folder.open(str(place / "shards"))
    for view in range(2):
        rows = synthetic(shape=(16, 16, 1), view=view)
        for part in range(3):
            each = taken(rows, slice(15 * part, 15 * part + 15))
            mask_NM = np.arange(3 * len(each)).reshape(-1, 3) % 4 > 0
            each = replace(each, mask_NM=mask_NM) if (view, part) == (1, 0) else each
            write(folder, f"part-{view:03d}-{part:05d}.parquet", each)
    files = {name: describe(folder, name) for name in folder.files()}
    folder.write_json("manifest.json", sealed({"fingerprint": "x", "key": {}, "files": files}))
    if is_damaged:
        content = bytearray(folder.read("part-001-00001.parquet"))
        content[len(content) // 4] ^= 1
        folder.write("part-001-00001.parquet", bytes(content))


def disagreement(rows):
    return np.abs(rows.logits_NMC.astype(np.float64)).mean((1, 2))


def batches_of(place, case, ranks):
    """Every field of every batch of some epochs, the second and later ones from a later step on; or the error."""
    draws = UnevenDraws(3.0, disagreement) if case.is_uneven else None
    try:
        reader = BatchReader(
            Folder.open(counted(place)) / "shards", batch_size=12, seed=0, num_members=2, max_bytes=case.max_bytes,
            rank=ranks.rank, num_ranks=ranks.num_ranks, draws=draws, sharing=ranks.sharing,
        )  # fmt: skip
        found = []
        for epoch in range(EPOCHS):
            for rows in reader.batches(epoch, start=epoch):
                fields = (rows.row_id, rows.view, rows.inputs, rows.labels, rows.logits_NMC, rows.mask_NM)
                found.append([torch.empty(0) if field is None else torch.from_numpy(field.copy()) for field in fields])
    except UserError as error:
        return str(error)
    return found


def on_rank(number, folder, place):
    """One rank, in a process of its own: what it finds in every case goes into a file."""
    torch.set_num_threads(1)
    node = NODES[number]
    shared = Sharing(node, NODES[:number].count(node), NODES.count(node), len(NODES))
    ranks = DistributedContext(number, len(NODES), shared)
    meet = f"file://{folder}/meet"
    limit = timedelta(seconds=_SECONDS)
    dist.init_process_group("gloo", init_method=meet, rank=number, world_size=len(NODES), timeout=limit)
    add = sharing._Writer.add
    found = {}
    for name, case in CASES.items():
        sharing._Writer.add = add if case.has_room else lambda writer, array: False
        found[name] = batches_of(place / name, case, ranks)
    dist.destroy_process_group()
    torch.save((os.getpid(), found), f"{folder}/{number}.pt")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of shards for each case."""
    place = tmp_path_factory.mktemp("stores")
    for name, case in CASES.items():
        make_shards(place / name, case.is_damaged)
    return place


@pytest.fixture(scope="module")
def ranks(place):
    """For each rank its process and what it found in each case."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(on_rank, (folder, place), nprocs=len(NODES))
        return [torch.load(f"{folder}/{number}.pt", weights_only=True) for number in range(len(NODES))]


pytestmark = pytest.mark.timeout(2 * _SECONDS)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_damaged])
def test_ranks_together_have_the_batches_of_one(place, ranks, name):
    since = len(record_of(place / name))
    alone = batches_of(place / name, CASES[name], DistributedContext())
    assert set(times_read(place / name, since).values()) == {CASES[name].times_of_first}
    assert {len(found[name]) for _, found in ranks} == {len(alone)}
    for step, whole in enumerate(alone):
        for field, values in enumerate(whole):
            for number, (_, found) in enumerate(ranks):
                part = values if values.shape == (0,) else values[number :: len(ranks)]
                assert torch.equal(found[name][step][field], part)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.is_damaged])
def test_a_shard_is_read_once_a_node_where_all_fit_and_else_once_an_epoch(place, ranks, name):
    case = CASES[name]
    first, second, third = (times_read(place / name, process=process) for process, _ in ranks)
    assert len(first) == 6
    if case.has_room:  # the reader that finds none begins again
        assert set(first.values()) == {case.times_of_first}
    assert set(second.values()) == {case.times}
    assert set(third.values()) == {0 if case.has_room else case.times}
    processes = {process for process, _ in ranks}
    footers = {each["process"] for each in record_of(place / name) if not each["whole"]}
    assert footers & processes == {ranks[0][0]}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.is_damaged])
def test_a_damaged_shard_is_one_line_on_every_rank(ranks, name):
    (line,) = {found[name] for _, found in ranks}
    assert re.fullmatch(r"counted://.*/part-001-00001.parquet: not the bytes that were published; delete .*", line)


def test_mapped_rows_can_be_changed_without_effect_on_others():
    parts = [taken(synthetic(), slice(0, 20)), taken(synthetic(), slice(20, 40))]
    with ExitStack() as files:
        offer = Sharing(0, 0, 2, 2)._offer(lambda: iter(parts), files)
        one, other = (sharing._opened(offer) for _ in range(2))
    one.logits_NMC[:] = 7
    np.testing.assert_array_equal(other.logits_NMC, synthetic().logits_NMC)
    np.testing.assert_array_equal(other.inputs, synthetic().inputs)
    assert other.mask_NM is None
