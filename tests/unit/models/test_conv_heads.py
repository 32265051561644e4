"""Heads with convolutions of their own against separate networks, and which bodies can have them."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models.blocks import cut_body
from hydra_ray.models.conv_heads import ConvHeads
from hydra_ray.models.cost import count_macs
from hydra_ray.models.files import load_model, to_safetensors_bytes
from hydra_ray.models.members import ModelSpec
from hydra_ray.models.networks import build_network
from hydra_ray.models.student import body_and_heads, build_student, suited_head

M, F, W, C, B = 4, 7, 6, 3, 5
SPEC = ModelSpec(
    "student", "cnn", (16, 16, 3), C, {"widths": [4, 8]}, num_heads=M, head_width=W, head_depth=1, head="conv1x1"
)


def maps(num_rows=B):
    return torch.randn(num_rows, F, 3, 2, generator=torch.Generator().manual_seed(0))


def separate(heads):
    """The same heads as M networks of their own."""
    networks = []
    for head in range(heads.num_heads):
        channels = slice(head * W, (head + 1) * W)
        layers = nn.Sequential()
        for place, layer in enumerate(heads.convolutions):
            if isinstance(layer, nn.Conv2d):
                own = nn.Conv2d(F if place == 0 else W, W, 1, bias=False)
            elif isinstance(layer, nn.ReLU):
                own = nn.ReLU()
            else:
                own = nn.BatchNorm2d(W) if heads.by_batch else nn.GroupNorm(1, W)
            state = layer.state_dict()
            own.load_state_dict({name: value[channels] if value.ndim else value for name, value in state.items()})
            layers.append(own)
        linear = nn.Linear(W, C)
        linear.load_state_dict({"weight": heads.weight[head], "bias": heads.bias[head]})
        networks.append(nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    return networks


@pytest.mark.parametrize("by_batch", [True, False])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("depth", [1, 3])
def test_values_and_gradients_are_those_of_separate_networks(depth, training, by_batch):
    torch.manual_seed(0)
    heads = ConvHeads(M, F, W, depth, C, by_batch=by_batch)
    for buffer in heads.buffers():
        buffer.add_(torch.rand(buffer.shape).to(buffer.dtype))
    heads.train(training)
    values = maps().requires_grad_()
    found = heads(values)
    expected = torch.stack([network.train(training)(values) for network in separate(heads)], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    slopes = [torch.autograd.grad(each.square().sum(), values)[0] for each in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-4, atol=1e-4)


def test_copies_of_one_head_start_where_it_is_and_apart_from_each_other():
    torch.manual_seed(0)
    one = ConvHeads(1, F, W, 2, C, by_batch=True)
    for _ in range(3):
        one(maps(64))  # running statistics of its own
    before = torch.get_rng_state()
    exact, moved, again = one.expand(M, 0.0, 1).eval(), one.expand(M, 0.1, 1).eval(), one.expand(M, 0.1, 1).eval()
    assert torch.equal(before, torch.get_rng_state())
    start = one.eval()(maps())
    torch.testing.assert_close(exact(maps()), start.expand(-1, M, -1), rtol=1e-4, atol=1e-5)
    assert torch.equal(moved(maps()), again(maps()))
    assert moved(maps()).std(dim=1).min() > 0
    assert (moved(maps()) - start).abs().mean() < start.abs().mean()
    with pytest.raises(ValueError, match="there are 4"):
        moved.expand(8, 0.1, 0)
    with pytest.raises(ValueError, match="at least 1"):
        ConvHeads(M, F, W, 0, C, by_batch=True)


@pytest.mark.parametrize(
    ("architecture", "options", "shape"),
    [
        ("cnn", {"widths": [4, 8]}, (16, 16, 3)),
        ("resnet20", {"width": 4, "blocks_per_stage": 1}, (16, 16, 3)),
        ("resnet18", {}, (32, 32, 3)),
        ("resnet18", {}, (32, 32, 1)),
        ("timm:test_resnet", {}, (32, 32, 3)),
    ],
)
def test_the_mean_of_a_bodys_maps_are_its_features(architecture, options, shape):
    torch.manual_seed(0)
    network = build_network(architecture, shape, C, options).eval()
    images = torch.randn(2, shape[2], *shape[:2])
    with torch.no_grad():
        features = network.body(images)
        found = cut_body(network, shape, 0, architecture).shared(images)
    assert found.ndim == 4
    torch.testing.assert_close(found.mean((2, 3)), features)


@pytest.mark.parametrize("architecture", ["cnn", "resnet18"])
def test_a_student_with_such_heads_is_built_trained_saved_and_loaded(architecture):
    spec = replace(SPEC, architecture=architecture, options={} if architecture == "resnet18" else SPEC.options)
    student = build_student(replace(spec, num_heads=1), 0).expand(M, 0.1, 1)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    logits = student.train()(images)
    assert logits.shape == (4, M, C)
    logits.logsumexp(-1).sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert ModelSpec.from_json(student.spec.to_json()) == spec
    loaded = load_model(student.spec, to_safetensors_bytes(student))
    assert torch.equal(loaded(images), student.eval()(images))


def test_bodies_have_the_weights_that_other_heads_would_give_them():
    plain = build_student(replace(SPEC, head="mlp"), 3)
    for a, b in zip(build_student(SPEC, 3).body.parameters(), plain.body.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "head" not in plain.spec.to_json()


def test_its_cost_is_counted_before_pooling():
    """One 1 x 1 convolution of M W channels on 8 x 8 maps, and M lines from W to C."""
    student = build_student(SPEC, 0)
    body = count_macs(student.body, (3, 16, 16), torch.float32)
    assert count_macs(student, (16, 16, 3)) - body == 8 * (M * W) * 8 * 8 + M * W * C


@pytest.mark.parametrize("architecture", ["mlp", "vgg11"])
def test_a_body_without_a_mean_over_pixels_is_one_line(architecture):
    options = {"hidden": [8]} if architecture == "mlp" else {}
    network = build_network(architecture, (32, 32, 3), C, options)
    with pytest.raises(
        UserError, match=rf"^distill.head=conv1x1: the body {architecture} does not end .* or distill"
    ) as raised:
        body_and_heads(replace(SPEC, architecture=architecture, input_shape=(32, 32, 3)), network)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("architecture", "shape", "depth", "expected"),
    [("cnn", (8, 8, 1), 1, "conv1x1"), ("resnet20", (8, 8, 3), 1, "conv1x1"), ("cnn", (8, 8, 1), 0, "mlp"),
     ("mlp", (8, 8, 1), 1, "mlp"), ("mlp", (6,), 1, "mlp")],
)  # fmt: skip
def test_heads_that_nobody_names_stand_before_pooling_where_there_is_one(architecture, shape, depth, expected):
    before = torch.random.get_rng_state()
    spec = ModelSpec("student", architecture, shape, 3, {}, num_heads=2, head_depth=depth)
    assert suited_head(spec) == expected
    assert torch.equal(torch.random.get_rng_state(), before), "no other weights are drawn for it"
