"""The loop that fits anything: the same bits after an interruption, its schedule, clipping and precision."""

from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.bits import assert_same_bits
from safetensors.torch import load as load_tensors
from torch import nn

from hydra_ray.config.sections import Optimisation
from hydra_ray.losses.sums import Summed
from hydra_ray.models.tensors import to_safetensors
from hydra_ray.training.loop import TrainState, learning_rate
from hydra_ray.training.member import member_step

pytestmark = pytest.mark.usefixtures("one_thread")


def small_model(seed=0, dropout=0.5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def data(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def cross_entropy(outputs, labels):
    return Summed(F.cross_entropy(outputs, labels, reduction="sum"), len(labels))


def settings(**changed):
    return Optimisation(**{"learning_rate": 0.05, "weight_decay": 0.01, "warmup_fraction": 0.2, **changed})


def fitted(fitting, until):
    for step in range(fitting.num_done, until):
        inputs, labels = data(step)
        member_step(fitting, cross_entropy, inputs, labels)
    return fitting


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop_at", [0, 1, 5, 9])
def test_a_fit_that_is_continued_has_the_bits_of_one_that_was_not_interrupted(optimizer, stop_at):
    how = settings(optimizer=optimizer, clip_norm=1.0)
    whole = fitted(TrainState(small_model(), how, num_steps=10, seed=3), 10)
    begun = fitted(TrainState(small_model(), how, num_steps=10, seed=3), stop_at)
    again = TrainState(small_model(seed=9), how, num_steps=10, seed=3)
    again.load(load_tensors(to_safetensors(begun.state())))
    assert again.num_done == stop_at
    assert_same_bits(fitted(again, 10).model.state_dict(), whole.model.state_dict())


def test_dropout_draws_anew_at_each_step_and_from_the_seed():
    one, two, other = (fitted(TrainState(small_model(), settings(), num_steps=4, seed=seed), 4) for seed in (1, 1, 2))
    assert_same_bits(one.model.state_dict(), two.model.state_dict())
    assert not torch.equal(one.model[0].weight, other.model[0].weight)
    plain = [fitted(TrainState(small_model(dropout=0.0), settings(), num_steps=4, seed=seed), 4) for seed in (1, 2)]
    assert_same_bits(plain[0].model.state_dict(), plain[1].model.state_dict())


def test_the_learning_rate_warms_up_and_ends_at_zero():
    how = settings(learning_rate=0.1, warmup_fraction=0.25)
    rates = [learning_rate(how, step, 40) for step in range(41)]
    np.testing.assert_allclose(rates[:10], 0.1 * np.arange(1, 11) / 10)
    assert rates[10] == max(rates) == 0.1
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    np.testing.assert_allclose(rates[25], 0.05)
    assert abs(rates[40]) < 1e-12


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_the_shortest_fits_have_a_learning_rate(num_steps):
    rates = [learning_rate(settings(warmup_fraction=0.9), step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= 0.05 for rate in rates)


def test_the_rate_of_a_step_is_the_schedule_s():
    """SGD's first step without momentum's past: the weights move by the rate times (1 + 0.9) gradients."""
    fitting = TrainState(small_model(dropout=0.0), settings(optimizer="sgd", weight_decay=0.0), num_steps=10, seed=0)
    before = fitting.model[4].bias.detach().clone()
    inputs, labels = data(0)
    member_step(fitting, cross_entropy, inputs, labels)
    moved = before - fitting.model[4].bias.detach()
    torch.testing.assert_close(moved, learning_rate(fitting.settings, 0, 10) * 1.9 * fitting.model[4].bias.grad)


def test_gradients_are_clipped():
    def norm(clip_norm):
        fitting = TrainState(small_model(), settings(clip_norm=clip_norm), num_steps=4, seed=0)
        inputs, labels = data(0)
        member_step(fitting, lambda *pair: cross_entropy(*pair).scaled(1000), inputs, labels)
        return float(sum(each.grad.square().sum() for each in fitting.model.parameters()) ** 0.5)

    assert norm(None) > 10
    assert norm(0.5) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_precision(precision):
    seen = []
    model = nn.Sequential(nn.Linear(6, 3))
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    inputs, labels = data(0)
    fitting = TrainState(model, settings(precision=precision), num_steps=1, seed=0)
    loss = member_step(fitting, cross_entropy, inputs, labels)
    assert seen == [torch.bfloat16 if precision == "bfloat16" else torch.float32]
    assert loss.dtype == torch.float32
    assert not loss.requires_grad
