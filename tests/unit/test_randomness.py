"""Random streams: names, seeds that have nothing to do with each other, generators that leave no trace."""

import math
from itertools import pairwise
from typing import get_args

import numpy as np
import pytest
import torch

from hydra_ray.randomness import (
    STREAMS,
    Draws,
    StreamName,
    in_32_bits,
    numpy_generator,
    permutation,
    seed_generators,
    seed_of,
    seeded,
    splitmix64,
)


def uniform(seed: int, count: int) -> np.ndarray:
    """In [0, 1), as views draw it."""
    return Draws.of(seed, torch.arange(count)).uniform(0, 1)[:, 0].double().numpy()


def test_every_name_has_its_parts_in_the_registry():
    assert set(get_args(StreamName)) == set(STREAMS)


def test_arguments_that_differ_in_value_type_or_length_give_other_seeds():
    given = [
        (0, "fold"),
        (1, "fold"),
        (-1, "fold"),
        (2**64, "fold"),
        (0, "student weights", "1"),
        (0, "student weights", "a,b"),
    ]
    given += [(0, "member weights", 1), (0, "member weights", "1"), (0, "student weights", 1), (1, "member weights", 0)]
    given += [(0, "member order", 1, 11), (0, "member order", 11, 1), (0, "member order", 1, "1,1")]
    given += [(0, "view", "test", 1), (0, "view", 'test", 1', 1), (0, "share of a view", "test", 1)]
    seeds = [seed_of(*each) for each in given]
    assert len(set(seeds)) == len(given)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert seed_of(np.int64(3), "member weights", np.int32(2)) == seed_of(3, "member weights", 2)


def test_seeds_are_pinned():
    """Other seeds make other members: then STREAMS_VERSION must change, so that the old ones count as stale."""
    assert seed_of(3, "view", "unknown-letters", 2) == 5_206_612_514_360_575_798


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((0, "membr weights", 1), "no random stream is called 'membr weights'"),
        ((0, "member weights"), "has the parts \\('member',\\), not \\(\\)"),
        ((0, "member weights", 1, 2), "not \\(1, 2\\)"),
    ],
)
def test_a_stream_that_is_not_registered_is_an_error(arguments, line):
    with pytest.raises(ValueError, match=line):
        seed_of(*arguments)


def test_a_fraction_is_no_part():
    with pytest.raises(TypeError):
        seed_of(0, "member weights", 1.5)  # type: ignore[arg-type]


NEIGHBOURS = {
    "seeds": [(seed, "member weights", 0) for seed in range(20)],
    "members": [(0, "member weights", member) for member in range(20)],
    "views": [(0, "view", "test", view) for view in range(20)],
    "steps": [(0, "step of a fit", step, 0) for step in range(20)],
    "diagonal": [(seed, "member order", 20 - seed, 0) for seed in range(20)],
}


@pytest.mark.parametrize("neighbours", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_neighbours_do_not_correlate(neighbours):
    """Nor does one draw tell the next one's: 4.5 standard deviations of independent draws bound each figure."""
    count = 20_000
    rows = np.stack([uniform(seed_of(*each), count) for each in neighbours])
    assert abs(rows.mean(axis=1) - 0.5).max() < 4.5 / math.sqrt(12 * count)
    between = np.corrcoef(rows)[~np.eye(len(rows), dtype=bool)]
    assert abs(between).max() < 4.5 / math.sqrt(count)
    assert max(abs(np.corrcoef(one[:-1], two[1:])[0, 1]) for one, two in pairwise(rows)) < 4.5 / math.sqrt(count)
    assert max(abs(np.corrcoef(each[:-1], each[1:])[0, 1]) for each in rows) < 4.5 / math.sqrt(count)


def test_the_bits_of_seeds_are_fair():
    seeds = np.array([seed_of(0, "member weights", member) for member in range(4000)], np.uint64)
    ones = np.array([(seeds >> np.uint64(bit) & np.uint64(1)).mean() for bit in range(63)])
    assert abs(ones - 0.5).max() < 4.5 * 0.5 / math.sqrt(4000)
    assert len({in_32_bits(int(seed)) for seed in seeds}) > 3990
    assert all(in_32_bits(int(seed)) < 2**32 for seed in seeds)


def test_numpy_and_torch_count_the_same_rows():
    """`splitmix64` without torch is that of `Draws`."""
    assert splitmix64(5, np.arange(100)).astype(np.int64).tolist() == Draws(torch.tensor([5])).bits(0, 100)[0].tolist()


def test_generators_follow_from_the_seed_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    assert torch.equal(permutation(50, 4), permutation(50, 4))
    assert sorted(permutation(50, 4).tolist()) == list(range(50))
    assert not torch.equal(permutation(50, 4), permutation(50, 5))
    assert numpy_generator(2**63 - 1).random() == numpy_generator(2**63 - 1).random()
    with seeded(12):
        first = torch.rand(3)
    with seeded(12):
        assert torch.equal(first, torch.rand(3))
    assert torch.equal(before, torch.get_rng_state())
    with torch.random.fork_rng(devices=[]):
        seed_generators(12, torch.device("cpu"))
        assert torch.equal(first, torch.rand(3))
