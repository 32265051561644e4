"""Heads with blocks of their own against separate networks, and where bodies can be cut."""

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models.architectures import GlobalMean
from hydra_ray.models.block_heads import BlockHeads
from hydra_ray.models.blocks import cut_body
from hydra_ray.models.cost import count_macs
from hydra_ray.models.files import load_model, to_safetensors_bytes
from hydra_ray.models.members import ModelSpec
from hydra_ray.models.networks import build_network
from hydra_ray.models.registry import Network
from hydra_ray.models.student import build_student

pytestmark = pytest.mark.usefixtures("one_thread")
M, C, B = 3, 4, 5
CNN = {"widths": [4, 6, 8]}
SMALL = {"width": 4, "blocks_per_stage": 1}
NETWORKS = {
    "cnn": ("cnn", CNN, 1),
    "cnn, group norm": ("cnn", {**CNN, "norm": "group"}, 2),
    "cnn, no norm": ("cnn", {**CNN, "norm": "none"}, 3),
    "resnet20, a stride": ("resnet20", SMALL, 1),
    "resnet20, group norm": ("resnet20", {**SMALL, "norm": "group"}, 2),
    "resnet20, all of it": ("resnet20", SMALL, 4),
    "torchvision, a shortcut with weights": ("resnet18", {}, 2),
    "torchvision, squeeze and excitation": ("regnet_y_400mf", {}, 2),
    "timm": ("timm:test_resnet", {}, 2),
}
SPEC = ModelSpec("student", "resnet20", (16, 16, 3), C, SMALL, num_heads=M, head="block", cut=1)


def cut_of(name, channels=3):
    torch.manual_seed(0)
    architecture, options, cut = NETWORKS[name]
    shape = (32, 32, channels)
    network = build_network(architecture, shape, C, options)
    return network, cut_body(network, shape, cut, f"distill.head=block: the body {architecture}")


def heads_of(name):
    """M heads that are apart in every tensor, running statistics too, and the block that they are made of."""
    network, cut = cut_of(name)
    heads = BlockHeads(cut.private, M, network.num_features, C)
    for tensor in heads.state_dict().values():
        if tensor.ndim:
            tensor.add_(0.2 * torch.rand(tensor.shape))
    return heads, cut


def rows_of(tensor, head):
    return tensor.unflatten(0, (M, -1))[head] if tensor.ndim else tensor


def separate(heads, block):
    """The same heads as M networks of their own, in plain PyTorch."""
    networks = []
    for head in range(M):
        own = copy.deepcopy(block)
        own.load_state_dict({name: rows_of(value, head) for name, value in heads.blocks.state_dict().items()})
        linear = nn.Linear(heads.num_features, C)
        linear.load_state_dict({name: rows_of(value, head) for name, value in heads.linear.state_dict().items()})
        networks.append(nn.Sequential(own, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear))
    return nn.ModuleList(networks)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_values_gradients_and_statistics_are_those_of_separate_networks(name, training):
    heads, cut = heads_of(name)
    networks = separate(heads, cut.private).train(training)
    heads.train(training)
    for module in [*heads.modules(), *networks.modules()]:
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    maps = torch.randn(B, *cut.maps.shape[1:], generator=torch.Generator().manual_seed(1)).requires_grad_()
    found = heads(maps)
    expected = torch.stack([network(maps) for network in networks], dim=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    slopes = [torch.autograd.grad(each.square().sum(), maps, retain_graph=True)[0] for each in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-3)
    found.square().sum().backward()
    expected.square().sum().backward()
    for head in range(M):
        own = dict(networks[head][0].named_parameters())
        for key, parameter in heads.blocks.named_parameters():
            scale = own[key].grad.abs().max().item()
            torch.testing.assert_close(
                rows_of(parameter.grad, head), own[key].grad, rtol=1e-3, atol=1e-3 * scale + 1e-5
            )
        for key, buffer in networks[head][0].named_buffers():
            torch.testing.assert_close(rows_of(heads.blocks.get_buffer(key), head), buffer, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_two_parts_of_a_body_make_its_features(name, channels):
    network, cut = cut_of(name, channels)
    network.eval()
    images = torch.randn(2, channels, 32, 32)
    with torch.no_grad():
        features = network.body(images)
        maps = cut.private(cut.shared(images))
    torch.testing.assert_close(maps.mean((2, 3)), features)
    there = network.body.state_dict()
    assert all(torch.equal(there[key], value) for key, value in cut.shared.state_dict().items())


def test_one_head_of_the_networks_own_weights_becomes_many_near_it():
    one = build_student(replace(SPEC, num_heads=1), 3).train()
    last = build_network_of(SPEC, 3).body[-2].state_dict()
    assert all(torch.equal(value, last[key.removeprefix("0.")]) for key, value in one.heads.blocks.state_dict().items())
    images = torch.randint(0, 256, (8, 16, 16, 3), dtype=torch.uint8)
    for _ in range(3):
        one(images)  # running statistics of its own
    before = torch.get_rng_state()
    exact, moved, again = one.expand(M, 0.0, 1), one.expand(M, 0.1, 1), one.expand(M, 0.1, 1)
    assert torch.equal(before, torch.get_rng_state())
    assert moved.spec == SPEC
    assert moved.heads.training
    start = one.eval()(images)
    torch.testing.assert_close(exact.eval()(images), start.expand(-1, M, -1), rtol=1e-4, atol=1e-4)
    answers = moved.eval()(images)
    assert torch.equal(answers, again.eval()(images))
    assert answers.std(dim=1).min() > 0
    assert (answers - start).abs().mean() < start.abs().mean()
    with pytest.raises(ValueError, match="there are 3"):
        moved.expand(8, 0.1, 0)


def build_network_of(spec, seed):
    torch.manual_seed(seed)
    return spec.build_network()


def test_heads_that_are_built_as_many_are_apart_as_networks_are():
    heads = build_student(SPEC, 0).heads
    weight = heads.blocks.get_parameter("0.conv1.weight").unflatten(0, (M, -1))
    one = build_student(replace(SPEC, num_heads=1), 0).heads.blocks.get_parameter("0.conv1.weight")
    assert not torch.equal(weight[0], weight[1])
    assert weight.std().item() == pytest.approx(one.std().item(), rel=0.1)
    assert heads.blocks.get_parameter("0.norm1.weight").eq(1).all()


@pytest.mark.parametrize("cut", [1, 2])
@pytest.mark.parametrize("architecture", ["cnn", "resnet20", "timm:test_resnet"])
def test_a_student_with_such_heads_is_built_trained_saved_and_loaded(architecture, cut):
    options = {"cnn": CNN, "resnet20": SMALL}.get(architecture, {})
    spec = replace(SPEC, architecture=architecture, options=options, cut=cut)
    student = build_student(replace(spec, num_heads=1), 0).expand(M, 0.1, 1)
    images = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    logits = student.train()(images)
    assert logits.shape == (4, M, C)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert ModelSpec.from_json(student.spec.to_json()) == spec
    loaded = load_model(student.spec, to_safetensors_bytes(student))
    assert torch.equal(loaded(images), student.eval()(images))


@pytest.mark.parametrize("name", ["cnn", "resnet20, group norm", "torchvision, a shortcut with weights"])
def test_its_cost_is_that_of_the_body_once_and_the_blocks_of_every_head(name):
    architecture, options, cut = NETWORKS[name]
    spec = replace(SPEC, architecture=architecture, options=options, cut=cut)
    parts = cut_body(build_network_of(spec, 0), spec.input_shape, cut, "")
    body = count_macs(parts.shared, (3, 16, 16), torch.float32)
    block = count_macs(parts.private, tuple(parts.maps.shape[1:]), torch.float32)
    student = build_student(spec, 0)
    assert count_macs(student, spec.input_shape) == body + M * (block + student.heads.num_features * C)


# a user's own


class InOrder(nn.Module):
    """Parts that are called in the order in which they are held."""

    def __init__(self, last):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2)
        self.stages = nn.ModuleList([nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()), last])

    def forward(self, images):
        values = self.stem(images)
        for stage in self.stages:
            values = stage(values)
        return values.mean((2, 3))


class Aside(nn.Module):
    """A part of which nobody knows what it calls."""

    def __init__(self, last):
        super().__init__()
        self.last = last
        self.first = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return F.relu(self.last(F.relu(self.first(images)))).mean((2, 3))


class Halves(nn.Module):
    """Mixes channels by itself: many of it cannot be one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)

    def forward(self, maps):
        one, other = self.conv(maps).chunk(2, dim=1)
        return torch.cat([other, one.sigmoid()], dim=1)


class Scaled(nn.Module):
    """Has a tensor of its own."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(6, 6, 1)
        self.gamma = nn.Parameter(torch.ones(6, 1, 1))

    def forward(self, maps):
        return self.conv(maps) * self.gamma


def own(body, width=6, cut=1):
    return cut_body(Network(body, nn.Linear(width, C), width), (16, 16, 3), cut, "distill.head=block: the body own")


def test_an_own_network_is_cut_between_the_parts_that_it_calls_in_order():
    last = nn.Sequential(nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6), nn.SiLU())
    assert list(own(InOrder(last)).private) == list(last)
    assert [len(own(InOrder(last), cut=cut).private) for cut in (2, 3)] == [5, 6]
    cut = own(nn.Sequential(nn.Conv2d(3, 6, 3), nn.Sequential(last), GlobalMean()))
    assert list(cut.private) == list(last)
    assert sorted(cut.shared.state_dict()) == ["0.bias", "0.weight"]


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (Aside(nn.Conv2d(4, 6, 3)), "distill.head=block: the body own does not end in a mean over pixels"),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 6)), "distill.head=block: the body own does not end in a mean"),
        (nn.Sequential(nn.Conv2d(3, 6, 3), nn.Flatten(), nn.Linear(1176, 6)), "does not end in a mean over pixels"),
    ],
)
def test_a_body_whose_blocks_are_unknown_is_one_line(body, line):
    with pytest.raises(UserError, match=line) as raised:
        own(body)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (InOrder(Halves()), "mix channels by more than convolutions"),
        (InOrder(Scaled()), r"Scaled \(0\) in the body's last blocks cannot be many in one"),
        (InOrder(nn.Sequential(nn.Conv2d(6, 6, 3), nn.LayerNorm(3))), r"LayerNorm \(1\) in the body's"),
        (InOrder(nn.Sequential(nn.Conv2d(6, 6, 3), nn.PReLU(6))), r"PReLU \(1\) in the body's"),
    ],
)
def test_blocks_of_which_many_cannot_be_one_are_one_line(body, line, tmp_path, monkeypatch):
    (tmp_path / "some_nets.py").write_text("def build(input_shape, num_outputs):\n    return BUILT\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import some_nets

    some_nets.BUILT = Network(body, nn.Linear(6, C), 6)
    spec = replace(SPEC, architecture="some_nets:build", options={})
    with pytest.raises(UserError, match=rf"^distill.head=block: .*{line}") as raised:
        build_student(spec, 0)
    assert "\n" not in str(raised.value)


def test_more_blocks_than_there_are_is_one_line():
    with pytest.raises(UserError, match=r"the body resnet20 has 4 blocks; set distill.cut=4 or less"):
        build_student(replace(SPEC, cut=5), 0)
