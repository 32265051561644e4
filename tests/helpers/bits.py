"""Weights compared bit by bit."""

import torch


def assert_same_bits(one, two):
    """Two state dicts hold the same tensors."""
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name
