"""Teachers of TorchUncertainty: checkpoints of its routines.

It needs a lightning that does not go with this environment's packages. Where it is installed the tests ask its
networks; elsewhere a stand-in whose network answers as its ensembles do, one row a member and input, member by member.
"""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from helpers.teachers import answers, loaded, rows
from torch import nn

from hydra_ray.errors import UserError

try:
    import torch_uncertainty.models.classification as theirs
except ImportError:
    theirs = None

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
CLASSES = ("a", "b", "c")
OPTIONS = {"in_channels": 3, "num_classes": 3, "arch": 18, "num_estimators": 4, "conv_bias": False}


class Packed(nn.Module):
    """Answers [M * B, C]."""

    def __init__(self, in_channels, num_classes, arch, num_estimators, conv_bias):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(in_channels, num_classes) for _ in range(num_estimators)])

    def forward(self, images):
        return torch.cat([layer(images.mean((2, 3))) for layer in self.layers])


class Plain(nn.Module):
    """Answers with a normal distribution, as its networks for regressions do."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        loc, scale = self.layer(x).chunk(2, dim=1)
        return {"loc": loc, "scale": nn.functional.softplus(scale)}


@pytest.fixture
def packed(monkeypatch):
    """Import path of a network with four members in one: the library's, or the stand-in."""
    module = ModuleType("nets_of_tu")
    module.Plain = Plain
    module.packed = theirs.packed_resnet if theirs is not None else Packed
    monkeypatch.setitem(sys.modules, "nets_of_tu", module)
    if theirs is None:
        monkeypatch.setitem(sys.modules, "torch_uncertainty", ModuleType("torch_uncertainty"))
    return module.packed


def saved(path, net):
    """As a routine of lightning keeps it."""
    torch.save({"state_dict": {f"model.{name}": value for name, value in net.state_dict().items()}, "epoch": 3}, path)
    return path


def made(packed, seed):
    torch.manual_seed(seed)
    options = {"alpha": 2, "gamma": 1, **OPTIONS} if theirs is not None else OPTIONS
    return packed(**options).eval(), {"network": "nets_of_tu:packed", "network_options": options}


def test_members_in_one_network_are_taken_apart(packed, tmp_path):
    net, options = made(packed, 0)
    teachers = loaded("torch_uncertainty", saved(tmp_path / "m.ckpt", net), classes=CLASSES, options=options)
    found = answers(teachers, IMAGES)
    with torch.no_grad():
        expected = net(torch.tensor(IMAGES).permute(0, 3, 1, 2) / 255)
    assert found.shape == (5, 4, 3)
    for member in range(4):
        assert found[:, member] == pytest.approx(expected[5 * member : 5 * member + 5].numpy(), abs=1e-5)


def test_several_files_are_a_network_each_and_hold_one_member(packed, tmp_path):
    net, options = made(packed, 0)
    paths = [saved(tmp_path / f"{place}.ckpt", net) for place in (0, 1)]
    with pytest.raises(UserError, match="each checkpoint holds 4 members; give one file"):
        answers(loaded("torch_uncertainty", *paths, classes=CLASSES, options=options), IMAGES)


def test_normal_distributions_are_means_and_variances(packed, tmp_path):
    nets = [Plain().eval(), Plain().eval()]
    paths = [saved(tmp_path / f"{place}.ckpt", net) for place, net in enumerate(nets)]
    options = {"network": "nets_of_tu:Plain", "outputs": "mean_variance"}
    found = answers(loaded("torch_uncertainty", *paths, options=options), rows(6))
    with torch.no_grad():
        expected = nets[1](torch.tensor(rows(6)))
    assert found.shape == (6, 2, 2)
    assert found[:, 1, 0] == pytest.approx(expected["loc"][:, 0].numpy(), abs=1e-6)
    assert found[:, 1, 1] == pytest.approx(expected["scale"][:, 0].numpy() ** 2, abs=1e-6)


def test_what_does_not_suit_is_one_line(packed, tmp_path, monkeypatch):
    _, options = made(packed, 0)
    path = saved(tmp_path / "m.ckpt", nn.Linear(2, 2))
    with pytest.raises(UserError, match=r"m.ckpt: has no .*; it is of another network, or of other options of it"):
        loaded("torch_uncertainty", path, classes=CLASSES, options=options)
    monkeypatch.setitem(sys.modules, "torch_uncertainty", None)
    with pytest.raises(
        UserError, match=r"kind=torch_uncertainty: needs torch_uncertainty; pip install torch-uncertain"
    ):
        loaded("torch_uncertainty", path, classes=CLASSES, options=options)
