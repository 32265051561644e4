"""Counter-based random numbers: the published ones, addressed, and random enough."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hydra_ray.randomness import Draws, child


def test_draws_are_the_published_splitmix64():
    outputs = [child(0, index) for index in range(3)]
    assert outputs == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    bits = Draws(torch.zeros(1, dtype=torch.int64)).bits(0, 3)[0].tolist()
    assert [each % 2**64 for each in bits] == outputs


@given(seed=st.integers(-(2**70), 2**70), key=st.integers(-(2**62), 2**62), index=st.integers(0, 2**40))
def test_tensors_and_whole_numbers_agree(seed, key, index):
    draws = Draws.of(seed, torch.tensor([key]))
    assert int(draws.bits(index, 1)) % 2**64 == child(child(child(seed, 0), key), index)


def test_draws_are_addressed_not_consumed():
    draws = Draws.of(3, torch.arange(5))
    assert torch.equal(draws.uniform(0, 8)[:, 5:], draws.uniform(5, 3))


def test_uniform_numbers_look_uniform():
    values = Draws.of(0, torch.arange(1000)).uniform(0, 200).double()
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean() == pytest.approx(1 / 2, abs=0.003)
    assert values.var() == pytest.approx(1 / 12, abs=0.001)
    counts = torch.histc(values, 64, 0, 1)
    assert float(((counts - 3125) ** 2 / 3125).sum()) < 120  # chi-square, 63 degrees of freedom
    correlations = torch.corrcoef(values.T) - torch.eye(200)
    assert correlations.abs().max() < 0.16  # five standard errors


def test_normal_numbers_look_normal():
    values = Draws.of(0, torch.arange(1000)).normal(0, 200).double()
    assert values.isfinite().all()
    assert values.mean() == pytest.approx(0, abs=0.01)
    assert values.var() == pytest.approx(1, abs=0.02)
    assert (values**4).mean() == pytest.approx(3, abs=0.1)
    assert (values.abs() < 1).double().mean() == pytest.approx(0.6827, abs=0.005)
