"""Networks that this machine cannot hold: refused before memory is taken, and all others built as before."""

import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models import size
from hydra_ray.models.cost import num_parameters
from hydra_ray.models.heads import BatchedHeads
from hydra_ray.models.networks import build_network, check_architecture
from hydra_ray.models.size import check_size

IMAGES = (32, 32, 3)
NETWORKS = {
    "mlp": {"hidden": [50, 20]},
    "cnn": {},
    "resnet20": {},
    "resnet18": {},
    "densenet121": {},
}


@pytest.mark.parametrize("architecture", NETWORKS)
def test_the_count_is_that_of_the_network_itself(monkeypatch, architecture):
    """Of parameters, and of the few numbers beside them that a layer keeps (running means)."""

    def build():
        return build_network(architecture, IMAGES, 10, NETWORKS[architecture])

    number = num_parameters(build())
    monkeypatch.setattr(size, "memory_bytes", lambda: 16 * (number - 1))
    with pytest.raises(UserError, match="parameters or more"):
        check_size(build, "it")
    buffers = sum(buffer.numel() for buffer in build().buffers())
    monkeypatch.setattr(size, "memory_bytes", lambda: 16 * (number + 2 * buffers))
    check_size(build, "it")


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("mlp", {"hidden": [1_000_000_000]}),
        ("mlp", {"hidden": [10**18]}),
        ("mlp", {"hidden": [10**6, 10**6]}),
        ("cnn", {"widths": [10**9]}),
        ("resnet20", {"width": 10**7}),
    ],
)
def test_a_width_out_of_all_bounds_is_one_line_with_the_sizes(architecture, options):
    with pytest.raises(UserError, match=r"parameters or more, which take [\d,.]+ GB in training, but this") as raised:
        check_architecture(architecture, IMAGES, 10, options)
    assert str(raised.value).startswith(f"architecture={architecture} with options={options}: ")


@pytest.mark.parametrize(
    ("architecture", "options"), [("cnn", {"depth": 10**9}), ("resnet20", {"blocks_per_stage": 10**9})]
)
def test_layers_without_end_are_one_line(monkeypatch, architecture, options):
    monkeypatch.setattr(size, "_MOST_TENSORS", 1000)
    with pytest.raises(UserError, match=r"has more than 500 layers; use fewer"):
        check_architecture(architecture, IMAGES, 10, options)


def test_heads_are_counted():
    with pytest.raises(UserError, match=r"distill.head_width: 10,006,400,000 parameters or more"):
        check_size(lambda: BatchedHeads(1, 64, 100_000, 1000, 10), "distill.head_width")


def test_what_cannot_be_built_without_values_is_left_to_be_built():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.width = int(torch.ones(3).sum())

    check_size(Odd, "it")
    assert Odd().width == 3


def test_counting_leaves_the_generator_and_later_tensors_alone():
    torch.manual_seed(0)
    check_size(lambda: build_network("mlp", IMAGES, 10, {}), "it")
    found = torch.randn(3)
    torch.manual_seed(0)
    assert torch.equal(found, torch.randn(3))
    assert not torch.empty(1).is_meta
