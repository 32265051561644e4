"""Parameters, multiply-adds and latency."""

import pytest
import torch

from hydra_ray.models.cost import count_macs, latency_ms, num_parameters
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.models.networks import build_network, check_architecture
from hydra_ray.models.student import build_student

MLP = ModelSpec("member", "mlp", (28, 28, 1), 10)
MLP_MACS = 784 * 200 + 200 * 200 + 200 * 10


def test_a_member_and_an_ensemble_of_m():
    members = [build_member(MLP, member) for member in range(3)]
    assert num_parameters(members[0]) == MLP_MACS + 410
    assert count_macs(members[0], MLP.input_shape) == MLP_MACS
    for stacked in (True, False):
        ensemble = Ensemble(members, stacked=stacked)
        assert num_parameters(ensemble) == 3 * (MLP_MACS + 410)
        assert count_macs(ensemble, MLP.input_shape) == 3 * MLP_MACS


@pytest.mark.parametrize("architecture", ["cnn", "resnet20"])
def test_stacked_convolutions_count_the_same(architecture):
    spec = ModelSpec("member", architecture, (8, 8, 1), 10)
    members = [build_member(spec, member) for member in range(2)]
    one = count_macs(members[0], spec.input_shape)
    assert count_macs(Ensemble(members, stacked=True), spec.input_shape) == 2 * one


def test_a_student_costs_its_body_and_its_heads():
    spec = ModelSpec("student", "mlp", (64,), 10, {"hidden": [20]}, num_heads=5, head_width=8, head_depth=1)
    student = build_student(spec, 0)
    assert count_macs(student, (64,)) == 64 * 20 + 5 * (20 * 8 + 8 * 10)
    assert num_parameters(student) == 65 * 20 + 5 * (21 * 8 + 9 * 10)


def test_attention_is_counted():
    """torchvision states 17.56 G multiply-adds for vit_b_16 at 224 x 224 and 1000 classes."""
    network = check_architecture("vit_b_16", (224, 224, 3), 1000, {})
    assert count_macs(network, (3, 224, 224), torch.float32) / 1e9 == pytest.approx(17.56, abs=0.02)


def test_modes_are_put_back():
    network = build_network("cnn", (8, 8, 1), 10, {}).train()
    network.head.eval()
    before = {name: value.clone() for name, value in network.named_buffers()}
    count_macs(network, (1, 8, 8), torch.float32)
    assert network.training
    assert network.body.training
    assert not network.head.training
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())


def test_latency_is_positive_and_grows_with_the_batch():
    member = build_member(MLP, 0)
    one, many = (latency_ms(member, MLP.input_shape, size, repeats=5) for size in (1, 4096))
    assert 0 < one < many
