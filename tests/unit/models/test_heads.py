"""Batched heads against separate ones."""

import pytest
import torch
from torch import nn

from hydra_ray.models.heads import BatchedHeads

M, F, W, C, B = 4, 7, 5, 3, 6


def separate(heads):
    """The same heads as M stacks of nn.Linear."""
    stacks = []
    for head in range(heads.num_heads):
        layers = []
        for weight, bias in zip(heads.weights, heads.biases, strict=True):
            linear = nn.Linear(weight.shape[2], weight.shape[1])
            linear.load_state_dict({"weight": weight[head], "bias": bias[head]})
            layers += [linear, nn.ReLU()]
        stacks.append(nn.Sequential(*layers[:-1]))
    return stacks


@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_values_and_gradients_equal_those_of_separate_heads(depth):
    torch.manual_seed(0)
    heads = BatchedHeads(M, F, W, depth, C)
    stacks = separate(heads)
    features, targets = torch.randn(B, F, requires_grad=True), torch.randn(B, M, C)
    out, expected = heads(features), torch.stack([stack(features) for stack in stacks], 1)
    assert out.shape == (B, M, C)
    assert (out - expected).abs().max() < 1e-6
    gradient, expected_gradient = (
        torch.autograd.grad((values * targets).sum(), features, retain_graph=True)[0] for values in (out, expected)
    )
    assert (gradient - expected_gradient).abs().max() < 1e-6
    (out * targets).sum().backward()
    (expected * targets).sum().backward()
    for layer, (weight, bias) in enumerate(zip(heads.weights, heads.biases, strict=True)):
        linears = [stack[2 * layer] for stack in stacks]
        assert (weight.grad - torch.stack([linear.weight.grad for linear in linears])).abs().max() < 1e-5
        assert (bias.grad - torch.stack([linear.bias.grad for linear in linears])).abs().max() < 1e-5


def test_fresh_weights_are_spread_like_those_of_linear_layers():
    torch.manual_seed(0)
    heads, linear = BatchedHeads(50, 64, 32, 1, 10), nn.Linear(64, 1600)
    assert heads.weights[0].std().item() == pytest.approx(linear.weight.std().item(), rel=0.02)
    assert heads.weights[0].abs().max() <= 1 / 8
    assert heads.biases[1].abs().max() <= 1 / 32**0.5
    assert not torch.equal(heads.weights[0][0], heads.weights[0][1])


def test_expand_copies_one_head_with_a_small_seeded_difference():
    torch.manual_seed(0)
    one, before = BatchedHeads(1, 64, 32, 1, 10), torch.get_rng_state()
    heads, again, other = (one.expand(M, 0.1, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    for new, same, differs, old in zip(*(x.parameters() for x in (heads, again, other, one)), strict=True):
        assert torch.equal(new, same)
        assert not torch.equal(new, differs)
        assert not torch.equal(new[0], new[1])
        assert (new - old).std().item() == pytest.approx(0.1 * old.std(correction=0).item(), rel=0.35)
    features = torch.randn(B, 64)
    difference = (heads(features) - one(features)).std() / one(features).std()
    assert 0 < difference < 0.5


def test_expand_without_noise_copies_and_needs_one_head():
    one = BatchedHeads(1, F, W, 1, C)
    features = torch.randn(B, F)
    assert torch.allclose(one.expand(3, 0.0, 0)(features), one(features).expand(-1, 3, -1), atol=1e-6)
    with pytest.raises(ValueError, match="there are 4"):
        BatchedHeads(M, F, W, 1, C).expand(8, 0.1, 0)


def test_copies_keep_the_type():
    heads = BatchedHeads(1, F, W, 1, C).double()
    assert heads.expand(2, 0.1, 0).weights[0].dtype == torch.float64


@pytest.mark.parametrize("sizes", [(0, F, W, 1, C), (M, F, 0, 1, C), (M, F, W, -1, C), (M, F, W, 1, 0)])
def test_sizes_must_make_sense(sizes):
    with pytest.raises(ValueError, match="counts are at least 1"):
        BatchedHeads(*sizes)
    BatchedHeads(M, F, 0, 0, C)
