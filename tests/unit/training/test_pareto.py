"""What several objectives leave to choose from, what is taken, and which trials are beaten by half of the others."""

import math
import statistics

import numpy as np
import pytest

from hydra_ray.training.pareto import Earlier, dominates, nearest_to_ideal, on_front

RNG = np.random.default_rng(0)


def beats(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


@pytest.mark.parametrize("num_objectives", [1, 2, 3])
def test_the_front_is_what_no_other_trial_dominates(num_objectives):
    badness = RNG.integers(0, 6, (30, num_objectives)).astype(float)
    badness[3, 0] = math.inf
    expected = [not any(beats(other, own) for other in badness) for own in badness]
    assert on_front(badness).tolist() == expected
    assert 0 < sum(expected) < 30
    assert dominates(badness[0], badness).tolist() == [beats(badness[0], other) for other in badness]


def test_of_a_front_the_middle_is_taken_whatever_the_units():
    front = np.array([[0.0, 10.0], [1.0, 2.0], [9.0, 1.0], [10.0, 0.0]])
    assert nearest_to_ideal(front) == 1
    assert nearest_to_ideal(front * [1e6, 1e-3] + [5, -7]) == 1
    assert nearest_to_ideal(front[:, ::-1]) == 1


def test_with_one_objective_the_best_is_taken_and_of_equal_ones_the_first():
    assert nearest_to_ideal([[0.3], [0.1], [0.1], [0.4]]) == 1
    assert nearest_to_ideal([[1.0, 2.0], [1.0, 2.0]]) == 0


def test_what_has_no_value_is_the_furthest():
    assert nearest_to_ideal([[math.inf, 0.0], [5.0, 1.0]]) == 1
    assert nearest_to_ideal([[math.inf, 3.0], [math.inf, 1.0]]) == 1
    assert nearest_to_ideal([[math.inf], [math.inf]]) == 0


def test_one_objective_is_compared_with_the_median_of_those_before():
    values = RNG.random(40).round(1).tolist()
    earlier = Earlier(1)
    for place, value in enumerate(values):
        is_worse = place > 0 and value > statistics.median(values[:place])
        assert earlier.is_beaten_by_half((value,)) == is_worse


def test_several_are_compared_by_how_many_are_better_in_all_of_them():
    badness = [tuple(row) for row in RNG.integers(0, 8, (40, 2)).astype(float)]
    earlier = Earlier(2)
    num_beaten = 0
    for place, own in enumerate(badness):
        seen = badness[: place + 1]
        better = [sum(beats(other, each) for other in seen) for each in seen]
        is_worse = place > 0 and better[-1] > statistics.median(better[:-1])
        assert earlier.is_beaten_by_half(own) == is_worse
        assert better[-1] > 0 or not is_worse, "what is on the front goes on"
        num_beaten += is_worse
    assert 5 < num_beaten < 35


def test_an_objective_in_which_all_trials_are_equal_changes_nothing():
    values = RNG.permutation(25).astype(float)
    one, two = Earlier(1), Earlier(2)
    for place, value in enumerate(values):
        found = two.is_beaten_by_half((value, 7.0))
        if place % 2:  # of an odd number of others; else their median lies between two of them
            assert found == one.is_beaten_by_half((value,))
        else:
            one.is_beaten_by_half((value,))
