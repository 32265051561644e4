"""Which rows belong to which split, and chunks of them."""

import hashlib
import tracemalloc

import numpy as np
import pytest
from helpers.dataset_files import (
    opened,
    read,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from hydra_ray.data import splits
from hydra_ray.data.rows import concatenate
from hydra_ray.data.splits import Shares, Split
from hydra_ray.randomness import seed_of, splitmix64


@pytest.mark.parametrize("rows_per_chunk", [1, 7, 100, 5000])
def test_chunks_hold_every_member_once(rows_per_chunk):
    data = opened("digits", max_train_rows=50)
    for split in data.splits.values():
        chunks = split.chunks(rows_per_chunk)
        rows = concatenate([split.read(*chunk) for chunk in chunks])
        np.testing.assert_array_equal(rows.row_id, split.read_all().row_id)
        assert all(len(split.read(*chunk)) for chunk in chunks)
        assert all(start % rows_per_chunk == 0 for start, _ in chunks)
        np.testing.assert_array_equal(rows.labels, split.read_labels())
        assert len(rows) == split.num_rows


def test_parts_are_disjoint_and_complete():
    data = opened("digits")
    row_ids = [data.splits[name].read_all().row_id for name in ("train", "validation", "test")]
    assert sorted(np.concatenate(row_ids)) == list(range(1797))
    assert [len(each) for each in row_ids] == [1258, 180, 359]


def members(**changed) -> dict[str, set]:
    return {name: set(each.read_all().row_id) for name, each in opened("digits", **changed).splits.items()}


def test_shares_move_only_what_they_must():
    base, more = members(), members(validation_fraction=0.3)
    assert more["test"] == base["test"]
    assert more["validation"] > base["validation"]
    few = members(max_train_rows=100)
    assert len(few["train"]) == 100
    assert few["train"] < base["train"]
    assert (few["validation"], few["test"]) == (base["validation"], base["test"])
    assert few["train"] < members(max_train_rows=200)["train"]
    assert members(max_train_rows=10_000) == base
    assert members(seed=1)["test"] != base["test"]


def test_membership_is_pinned():
    """Stored predictions name rows by position: another choice for the same seed would mix them up."""
    shares = Shares(1797, seed=3, validation=0.1, test=0.2, max_train_rows=None)
    split = Split("test", read("digits"), shares, "test")
    digest = hashlib.sha256(split.read_all().row_id.astype("<i8").tobytes()).hexdigest()
    assert digest.startswith("c3d64a8991e80934")


def test_splitmix64_is_the_published_one():
    outputs = splitmix64(0, np.arange(3)).tolist()
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(
    num_rows=st.integers(20, 300),
    seed=st.integers(-(2**70), 2**70),
    validation=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
@settings(max_examples=30, deadline=None)
def test_sizes_are_the_rounded_shares(num_rows, seed, validation, test):
    class Fake:
        def __init__(self):
            self.num_rows = num_rows

    shares = Shares(num_rows, seed, validation, test, None)
    sizes = {part: Split(part, Fake(), shares, part).num_rows for part in ("train", "validation", "test")}  # type: ignore[arg-type]
    assert sizes["test"] == round(test * num_rows)
    assert sizes["validation"] == round(validation * num_rows)
    assert sum(sizes.values()) == num_rows


def ranked(rows, seed, part):
    return rows[np.argsort(splitmix64(seed_of(seed, "split", part), rows), kind="stable")]


@pytest.mark.parametrize("block", [64, 1000, 1 << 18])
def test_membership_is_that_of_a_sort_of_all_rows(monkeypatch, block):
    monkeypatch.setattr(splits, "_BLOCK", block)
    cases = [(0.1, 0.2, None), (0.0, 0.5, 300), (0.3, 0.0, 5), (0.7, 0.299, 9999)]
    for number, (validation, test, most) in enumerate(cases):
        shares = Shares(2000, 70 + number, validation, test, most)
        parts = splits.known_parts.__wrapped__(shares)
        wanted = np.full(2000, 1)
        wanted[ranked(np.arange(2000), shares.seed, "test")[: round(test * 2000)]] = 3
        wanted[ranked(np.flatnonzero(wanted == 1), shares.seed, "validation")[: round(validation * 2000)]] = 2
        if most is not None:
            wanted[ranked(np.flatnonzero(wanted == 1), shares.seed, "train")[most:]] = 0
        np.testing.assert_array_equal(parts, wanted)


def test_membership_of_many_rows_takes_a_byte_a_row():
    shares = Shares(4_000_000, 0, 0.1, 0.1, 2_000_000)
    tracemalloc.start()
    try:
        splits.known_parts.__wrapped__(shares)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000 + 30_000_000, "a sort of them takes 130 MB"
    finally:
        tracemalloc.stop()


def test_rows_of_a_slice_are_those_of_the_whole_in_it():
    found = opened("digits").splits
    for split in (*found.values(), Split("test", read("digits"))):
        rows = split.row_ids()
        np.testing.assert_array_equal(np.concatenate([split.row_ids(0, 400), split.row_ids(400, 1797)]), rows)
        assert 0 < len(split.row_ids(0, 400)) < len(rows)
