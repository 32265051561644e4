"""What trials draw: within their space, from seed, kind and number, and with Optuna from results before."""

import math

import pytest

from hydra_ray.training.search_space import drawn

SPACE = {
    "head_width": [8, 16, 32],
    "body_options": [None, {"hidden": [4]}],
    "num_heads": {"low": 2, "high": 5},
    "batch_size": {"low": 16, "high": 512, "log": True},
    "temperature": {"low": 1.0, "high": 3.0},
    "learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
}


def check(found):
    assert list(found) == list(SPACE)
    assert found["head_width"] in SPACE["head_width"]
    assert found["body_options"] in SPACE["body_options"]
    for key in ("num_heads", "batch_size", "temperature", "learning_rate"):
        assert SPACE[key]["low"] <= found[key] <= SPACE[key]["high"]
        assert type(found[key]) is type(SPACE[key]["low"])


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_draws_lie_within_their_space_and_depend_on_seed_kind_and_number(sampler):
    found = [
        drawn(SPACE, sampler, seed, kind, number) for seed in (0, 1) for kind in ("hydra", "kd") for number in (0, 1)
    ]
    for each in found:
        check(each)
    assert len({each["learning_rate"] for each in found}) == len(found)
    assert drawn(SPACE, sampler, 1, "kd", 1) == found[-1]
    assert drawn({"temperature": SPACE["temperature"]}, sampler, 1, "kd", 1).keys() == {"temperature"}


def test_random_draws_cover_their_space():
    found = [drawn(SPACE, "random", 0, "hydra", number) for number in range(60)]
    assert {each["num_heads"] for each in found} == {2, 3, 4, 5}
    assert {each["head_width"] for each in found} == {8, 16, 32}
    assert 15 < sum(each["learning_rate"] < 10**-2.5 for each in found) < 45, "half of a logarithmic range"


def test_optuna_draws_near_what_was_good():
    space = {"temperature": {"low": 0.0, "high": 10.0}, "head_width": [8, 16]}
    known = [
        ({"temperature": float(place), "head_width": 8 if place % 2 else 16}, (abs(place - 7.0),))
        for place in [*range(11), *range(11)]
    ]
    near = [abs(drawn(space, "optuna", 0, "hydra", number, known)["temperature"] - 7) for number in range(20)]
    assert sum(near) / 20 < 1.5, "3 on the average for draws that know nothing"
    assert drawn(space, "random", 0, "hydra", 3, known) == drawn(space, "random", 0, "hydra", 3)


def test_of_two_objectives_optuna_draws_near_what_was_good_in_either():
    """The front is from 6 to 8; each end is best in one of the two."""
    space = {"temperature": {"low": 0.0, "high": 10.0}}
    known = [
        ({"temperature": place / 2}, (abs(place / 2 - 6.0), math.inf if place == 3 else abs(place / 2 - 8.0)))
        for place in range(21)
    ]
    found = [drawn(space, "optuna", 0, "hydra", number, known, 2)["temperature"] for number in range(30)]
    assert sum(5 < value < 9 for value in found) > 20, "12 of 30 for draws that know nothing"
    assert found[3] == drawn(space, "optuna", 0, "hydra", 3, known, 2)["temperature"]
