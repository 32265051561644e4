"""Teachers of PyTorch: a network of the user's own and a checkpoint a member, answered as the network answers."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from helpers.teachers import answers, loaded, rows, shard_outputs
from safetensors.torch import save_file

from hydra_ray.config import TeachersConfig
from hydra_ray.errors import UserError
from hydra_ray.teachers import network_inputs
from hydra_ray.teachers.keys import teachers_key

MODULE = """
from torch import nn

def small(channels=3, outputs=4, width=5):
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, outputs),
    )

def of_features(outputs=2):
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, outputs))

def wrong():
    return 3
"""
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), np.uint8)
CLASSES = ("a", "b", "c", "d")


@pytest.fixture
def nets(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "nets_of_a_test.py").write_text(MODULE)
    monkeypatch.delitem(__import__("sys").modules, "nets_of_a_test", raising=False)
    return __import__("nets_of_a_test")


def network(make, seed, **options):
    torch.manual_seed(seed)
    net = make(**options)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # that it is in its mode for evaluation shows
            module.running_mean.uniform_()
    return net.eval()


def image_teachers(*paths, network="nets_of_a_test:small", trust=False, **options):
    options = {"network": network, **options}
    return loaded("torch_checkpoints", *paths, classes=CLASSES, shape=(8, 9, 3), options=options, trust=trust)


def test_a_checkpoint_is_a_member_and_pixels_are_normalised(nets, tmp_path):
    members = [network(nets.small, seed) for seed in (1, 2, 3)]
    save_file(members[0].state_dict(), tmp_path / "0.safetensors")
    torch.save(members[1].state_dict(), tmp_path / "1.pt")
    wrapped = {"epoch": 3, "state_dict": {f"module.model.{k}": v for k, v in members[2].state_dict().items()}}
    torch.save(wrapped, tmp_path / "2.ckpt")
    mean, std = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
    paths = [tmp_path / name for name in ("0.safetensors", "1.pt", "2.ckpt")]
    found = answers(image_teachers(*paths, mean=mean, std=std), IMAGES)
    device = network_inputs.device_here()
    pixels = torch.tensor(IMAGES).permute(0, 3, 1, 2) / 255
    inputs = (pixels - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
    with torch.no_grad():
        expected = torch.stack([each.to(device)(inputs.to(device)) for each in members], 1).cpu()
    assert found == pytest.approx(expected.numpy(), abs=1e-6)


def test_options_of_the_network_of_the_pixels_and_of_the_classes(nets, tmp_path):
    net = network(nets.small, 1, width=7)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    options = {
        "network": "nets_of_a_test:small",
        "network_options": {"width": 7},
        "divide": 1.0,
        "classes": list("dcba"),
    }
    found = answers(loaded("torch_checkpoints", tmp_path / "m.pt", classes=CLASSES, options=options), IMAGES)
    with torch.no_grad():
        expected = net(torch.tensor(IMAGES).permute(0, 3, 1, 2).float()).numpy()
    assert found[:, 0] == pytest.approx(expected[:, ::-1], rel=1e-5)


def test_keys_follow_the_text_of_the_networks_module(nets, tmp_path):
    torch.save(network(nets.small, 1).state_dict(), tmp_path / "m.pt")
    options = {"network": "nets_of_a_test:small"}
    config = TeachersConfig(kind="torch_checkpoints", files=[str(tmp_path / "m.pt")], options=options)
    before = teachers_key(config)
    assert teachers_key(config) == before
    (tmp_path / "nets_of_a_test.py").write_text(f"{MODULE}\n# another")
    assert teachers_key(config) != before


def test_tables_are_floats_and_regressions_means_or_means_and_variances(nets, tmp_path):
    X = rows(5)
    net = network(nets.of_features, 1, outputs=1)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    options = {"network": "nets_of_a_test:of_features", "network_options": {"outputs": 1}}
    frame = pd.DataFrame(X, columns=list("wxyz"))
    teachers = loaded("torch_checkpoints", tmp_path / "m.pt", options=options)
    with torch.no_grad():
        expected = net(torch.tensor(X)).numpy()
    assert shard_outputs(teachers, frame, 1, 2)[:, 0, :1] == pytest.approx(expected, abs=1e-6)
    torch.save(network(nets.of_features, 1).state_dict(), tmp_path / "two.pt")
    options = {"network": "nets_of_a_test:of_features", "outputs": "mean_variance"}
    assert loaded("torch_checkpoints", tmp_path / "two.pt", options=options).outputs == "mean_variance"
    with pytest.raises(
        UserError, match="column t holds text, but this kind takes numbers; write a teacher of kind call"
    ):
        answers(teachers, frame.assign(t="text"))


class Anything:
    """What a training loop may keep beside the weights."""


def test_checkpoints_with_other_objects_need_trust(nets, tmp_path):
    net = network(nets.small, 1)
    torch.save({"state_dict": net.state_dict(), "more": Anything()}, tmp_path / "m.ckpt")
    with pytest.raises(UserError, match=r"m.ckpt holds other objects than tensors.*say ensemble.teachers.trust=true"):
        image_teachers(tmp_path / "m.ckpt")
    assert answers(image_teachers(tmp_path / "m.ckpt", trust=True), IMAGES).shape == (6, 1, 4)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"network": "nets_of_a_test:nothing"}, "options.network=nets_of_a_test:nothing: cannot be imported"),
        ({"network": "nets_of_a_test:wrong"}, "options.network=nets_of_a_test:wrong: returns a int, not an nn.Module"),
        ({"network_options": {"wide": 1}}, r"fails with network_options \(TypeError"),
        ({"network_options": {"width": 6}}, r"0.weight is \[5, 3, 3, 3\], in the network \[6, 3, 3, 3\]; it is of ano"),
        ({"network": "nets_of_a_test:of_features"}, r"0.weight is|has no|which the network has not"),
        ({"network": "small"}, 'options.network="small": String should match'),
    ],
)
def test_what_is_wrong_with_the_network_is_one_line(nets, tmp_path, options, line):
    torch.save(network(nets.small, 1).state_dict(), tmp_path / "m.pt")
    with pytest.raises(UserError, match=line) as refused:
        image_teachers(tmp_path / "m.pt", **options)
    assert "\n" not in str(refused.value)


def test_what_is_wrong_with_the_file_is_one_line(nets, tmp_path):
    (tmp_path / "none.pt").write_text("nothing at all")
    (tmp_path / "none.safetensors").write_text("nothing at all")
    torch.save([1, 2], tmp_path / "list.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"a": Anything()}))
    for name, line in [
        ("none.pt", "none.pt holds other objects than tensors, .* or is damaged"),
        ("none.safetensors", "none.safetensors cannot be loaded"),
        ("list.pt", "list.pt holds no state of a network; save network.state_dict"),
        ("pickle.pt", "pickle.pt holds other objects"),
    ]:
        with pytest.raises(UserError, match=line) as refused:
            image_teachers(tmp_path / name)
        assert "\n" not in str(refused.value)


def test_means_of_other_channels_are_refused_when_they_are_asked(nets, tmp_path):
    torch.save(network(nets.small, 1).state_dict(), tmp_path / "m.pt")
    with pytest.raises(UserError, match=r"options.mean has 2 numbers, but the data set has 3 channels or features"):
        answers(image_teachers(tmp_path / "m.pt", mean=[0.5, 0.5]), IMAGES)
