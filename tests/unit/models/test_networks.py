"""Architectures: sizes, where body and head part, names, options and what users are told."""

import subprocess
import sys
from types import ModuleType

import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models.cost import count_macs, num_parameters
from hydra_ray.models.networks import Network, build_network, check_architecture
from hydra_ray.randomness import seeded

IMAGE = (8, 8, 1)


class Tiny(nn.Module):
    """What a user may write without knowing our class: the three attributes, no forward."""

    def __init__(self, body, head, num_features):
        super().__init__()
        self.body, self.head, self.num_features = body, head, num_features


def check(architecture, input_shape=IMAGE, num_outputs=10, **options):
    return check_architecture(architecture, input_shape, num_outputs, options)


@pytest.fixture
def users_module(monkeypatch):
    module = ModuleType("users_networks")
    monkeypatch.setitem(sys.modules, "users_networks", module)
    return module


def test_mlp_has_the_papers_parameters_and_its_body_is_useful_alone():
    assert num_parameters(check("mlp", (28, 28, 1))) == 784 * 200 + 200 + 200 * 200 + 200 + 2010
    network = build_network("mlp", (64,), 3, {"hidden": [20]})
    assert network.num_features == 20
    assert network.body(torch.rand(5, 64)).shape == (5, 20)
    assert check("mlp", (4,), hidden=[]).num_features == 4


def test_resnet20_has_269722_parameters_and_4055_million_macs():
    network = check("resnet20", (32, 32, 3))
    assert num_parameters(network) == 269_722
    assert round(count_macs(network, (3, 32, 32), torch.float32) / 1e6, 2) == 40.55
    assert network.num_features == 64


def test_resnet_depth_and_width():
    resnet32 = check("resnet20", (32, 32, 3), blocks_per_stage=5)
    assert num_parameters(resnet32) == 464_154
    assert check("resnet20", width=8, norm="group").num_features == 32


def test_a_growing_block_halves_odd_images_too():
    assert build_network("resnet20", (7, 9, 2), 3, {"blocks_per_stage": 1})(torch.rand(2, 2, 7, 9)).shape == (
        2,
        3,
    )


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
@pytest.mark.parametrize("input_shape", [(8, 8, 1), (28, 28, 1), (32, 32, 3)])
def test_cnn_takes_small_images(input_shape, norm):
    network = check("cnn", input_shape, widths=[4, 12], depth=2, norm=norm)
    assert network.num_features == 12


@pytest.mark.parametrize(
    ("name", "input_shape", "num_features"),
    [
        ("resnet18", (32, 32, 3), 512),
        ("mobilenet_v3_small", (32, 32, 1), 1024),
        ("vit_b_16", (32, 32, 3), 768),
        ("googlenet", (32, 32, 3), 1024),
    ],
)
def test_torchvision_names_are_split(name, input_shape, num_features):
    network = check(name, input_shape)
    assert network.num_features == num_features
    assert isinstance(network.head, nn.Linear)


def test_a_torchvision_model_keeps_its_function_and_repeats_grey_images():
    torchvision = pytest.importorskip("torchvision")
    with seeded(3):
        network = build_network("mobilenet_v3_small", (32, 32, 1), 7, {"dropout": 0.1}).eval()
    with seeded(3):
        whole = torchvision.models.mobilenet_v3_small(num_classes=7, dropout=0.1).eval()
    images = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.equal(network(images), whole(images.repeat(1, 3, 1, 1)))


def test_torchvision_is_not_imported_for_our_own():
    script = (
        "import sys; from hydra_ray.models.networks import build_network; "
        "build_network('mlp', (4,), 2, {}); sys.exit('torchvision' in sys.modules or 'ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_users_function_is_called_with_shape_outputs_and_options(users_module):
    def tiny(input_shape, num_outputs, width=3):
        return Tiny(nn.Linear(input_shape[0], width), nn.Linear(width, num_outputs), width)

    users_module.tiny = tiny
    network = check("users_networks:tiny", (4,), 2, width=5)
    assert isinstance(network, Network)
    assert network.num_features == 5
    with pytest.raises(UserError, match=r"options\.depth=1: unknown key; nearest: options\.width"):
        check("users_networks:tiny", (4,), 2, depth=1)


def test_a_users_function_may_look_at_values(users_module):
    def picky(input_shape, num_outputs):
        assert torch.rand(3).sum().item() > 0
        return Network(nn.Flatten(), nn.Linear(4, num_outputs), 4)

    users_module.picky = picky
    assert check("users_networks:picky", (4,)).num_features == 4


@pytest.mark.parametrize(
    ("architecture", "input_shape", "options", "message"),
    [
        ("resnet21", IMAGE, {}, "did you mean resnet20"),
        ("???", IMAGE, {}, "use one of mlp, cnn, resnet20"),
        ("mlp", IMAGE, {"width": 3}, r"options\.width=3: unknown key; .*hidden"),
        ("mlp", IMAGE, {"hiden": [3]}, r"options\.hiden=\[3\]: unknown key; nearest: options\.hidden"),
        ("mlp", IMAGE, {"hidden": 200}, r"options\.hidden=200: must be a valid list"),
        ("mlp", IMAGE, {"hidden": [200, 0]}, r"options\.hidden\.1=0: must be greater than or equal to 1"),
        ("cnn", IMAGE, {"widths": []}, r"options\.widths=\[\]: List should have at least 1 item"),
        ("cnn", IMAGE, {"norm": "layer"}, r"options\.norm=\"layer\": must be 'batch', 'group' or 'none'"),
        ("cnn", (2, 2, 1), {}, r"cannot run on inputs of shape \[2, 2, 1\].*use larger inputs"),
        ("cnn", (20,), {}, r"takes images .* inputs are \[20\]; use architecture=mlp"),
        ("resnet20", IMAGE, {"blocks_per_stage": True}, r"options\.blocks_per_stage=true: must be a valid integer"),
        ("resnet18", (32, 32, 2), {}, "takes 1 or 3 channels, the inputs have 2"),
        (
            "resnet18",
            (32, 32, 3),
            {"depth": 3},
            r"options\.depth=3: unknown key; valid here: groups, width_per_group, zero",
        ),
        ("resnet18", (32, 32, 3), {"groups": 2}, "refuses inputs of shape .*groups"),
        ("squeezenet1_0", (32, 32, 3), {}, "does not end in a linear layer of 10 outputs"),
        ("vit_b_16", (28, 28, 1), {}, r"cannot run on inputs of shape \[28, 28, 1\].*indivisible"),
        ("no_such_module:f", IMAGE, {}, "cannot be imported"),
        ("math:no_such_function", IMAGE, {}, "cannot be imported"),
        ("math:pi", IMAGE, {}, "is a float, not a function"),
    ],
)
def test_what_users_are_told(architecture, input_shape, options, message):
    with pytest.raises(UserError, match=message) as error:
        check(architecture, input_shape, **options)
    assert "\n" not in str(error.value)


def test_a_users_network_must_have_the_three_parts_and_keep_its_word(users_module):
    users_module.bare = lambda input_shape, num_outputs: nn.Linear(4, num_outputs)
    users_module.wrong = lambda input_shape, num_outputs: Network(nn.Flatten(), nn.Linear(4, num_outputs), 7)
    users_module.short = lambda input_shape, num_outputs: Network(nn.Flatten(), nn.Linear(4, 1), 4)
    with pytest.raises(UserError, match="returned a Linear without body"):
        check("users_networks:bare", (4,))
    with pytest.raises(UserError, match=r"its body gives \[2, 4\] for 2 inputs instead of \[2, 7\]"):
        check("users_networks:wrong", (4,))
    with pytest.raises(UserError, match=r"its head gives \[2, 1\] for 2 inputs instead of \[2, 10\]"):
        check("users_networks:short", (4,))


def test_seeded_weights_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    with seeded(12):
        first = torch.rand(3)
    check("cnn")
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(100)
    with seeded(12):
        assert torch.equal(first, torch.rand(3))
