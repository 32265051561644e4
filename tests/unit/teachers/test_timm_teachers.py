"""Teachers of timm: checkpoints and folders of its own format, preprocessed as the library does."""

import sys

import numpy as np
import pytest
import torch
from helpers.teachers import answers, loaded
from PIL import Image
from safetensors.torch import save_file

from hydra_ray.errors import UserError
from hydra_ray.teachers.network_inputs import device_here, images_tensor
from hydra_ray.teachers.timm import preprocessed

timm = pytest.importorskip("timm", reason="pip install timm")
IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), np.uint8)
SMALL = "test_resnet"  # timm's own for tests, 160 x 160
CLASSES = ("a", "b", "c")


def network(seed, name=SMALL, **options):
    torch.manual_seed(seed)
    return timm.create_model(name, num_classes=3, **options).eval()


def teachers(*paths, classes=CLASSES, **options):
    return loaded("timm", *paths, classes=classes, shape=IMAGES.shape[1:], options=options)


def theirs(net, images, **config):
    """What the library's transform for evaluation and the network make of images, one by one."""
    from timm.data import create_transform, resolve_data_config

    transform = create_transform(**resolve_data_config(config, model=net), is_training=False)
    device = device_here()
    inputs = torch.stack([transform(Image.fromarray(image)) for image in images]).to(device)
    with torch.no_grad():
        return net.to(device)(inputs).cpu().numpy()


def test_checkpoints_are_members(tmp_path):
    nets = [network(seed) for seed in (1, 2)]
    paths = [tmp_path / "0.safetensors", tmp_path / "1.pth"]
    save_file(nets[0].state_dict(), paths[0])
    torch.save({"state_dict": nets[1].state_dict()}, paths[1])
    fits = np.random.default_rng(1).integers(0, 256, (3, 160, 160, 3), np.uint8)
    found = answers(teachers(*paths, model=SMALL, preprocessing={"crop_pct": 1.0}), fits)
    for place, net in enumerate(nets):
        assert found[:, place] == pytest.approx(theirs(net, fits, crop_pct=1.0), abs=1e-5)


def test_a_folder_says_architecture_preprocessing_and_names(tmp_path):
    net = network(1)
    net.pretrained_cfg = {**net.pretrained_cfg, "mean": (0.1, 0.2, 0.3)}
    named = {"label_names": ["b", "c", "a"]}
    timm.models.save_for_hf(net, tmp_path / "net", model_config=named, safe_serialization=True)
    found = answers(teachers(tmp_path / "net"), IMAGES)
    assert found[:, 0] == pytest.approx(theirs(net, IMAGES)[:, [2, 0, 1]], abs=2e-3)
    with pytest.raises(UserError, match="its classes are b, c, a, those of the data set are x, y, z"):
        teachers(tmp_path / "net", classes=("x", "y", "z"))


@pytest.mark.parametrize("config", [{}, {"crop_pct": 0.7}, {"interpolation": "bilinear", "input_size": (3, 32, 32)}])
def test_pixels_are_those_of_the_librarys_transform(config):
    """But for the last bit of a pixel: whole batches are resized, not one picture at a time."""
    from timm.data import create_transform, resolve_data_config

    config = resolve_data_config(config, model=network(1))
    transform = create_transform(**config, is_training=False)
    expected = torch.stack([transform(Image.fromarray(image)) for image in IMAGES])
    found = preprocessed(images_tensor(IMAGES, torch.device("cpu")), config)
    one_step = 1 / 255 / min(config["std"])
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1.1 * one_step


def test_grey_images_become_three_channels_or_the_network_takes_one(tmp_path):
    grey = IMAGES[..., :1]
    torch.save(network(1).state_dict(), tmp_path / "three.pth")
    torch.save(network(1, in_chans=1).state_dict(), tmp_path / "one.pth")
    as_three = answers(teachers(tmp_path / "three.pth", model=SMALL), grey)
    assert np.array_equal(as_three, answers(teachers(tmp_path / "three.pth", model=SMALL), grey.repeat(3, axis=-1)))
    of_one = {"model": SMALL, "model_options": {"in_chans": 1}}
    with pytest.raises(UserError, match=r"takes 1 channels, its configuration has input_size=\[3, 160, 160\]; set opt"):
        teachers(tmp_path / "one.pth", **of_one)
    grey_pixels = {"input_size": [1, 160, 160], "mean": [0.5], "std": [0.2]}
    one = teachers(tmp_path / "one.pth", **of_one, preprocessing=grey_pixels)
    assert answers(one, grey).shape == (4, 1, 3)
    with pytest.raises(UserError, match="takes images of 1 channels, those of the data set have 3"):
        answers(one, IMAGES)


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    torch.save(network(1).state_dict(), tmp_path / "m.pth")
    (tmp_path / "empty").mkdir()
    for options, name, line in [
        ({}, "m.pth", "options.model is missing: name the architecture of .*m.pth, such as resnet18"),
        ({"model": "resnet1"}, "m.pth", "options.model=resnet1: timm has no such model"),
        ({"model": "test_vit"}, "m.pth", "it is of another network, or of other options of it"),
        ({}, "empty", "empty has no config.json; give a folder that timm's save_for_hf wrote, or a checkpoint"),
    ]:
        with pytest.raises(UserError, match=line) as refused:
            teachers(tmp_path / name, **options)
        assert "\n" not in str(refused.value)
    with pytest.raises(UserError, match="answers for classifications; the data set is a regression"):
        teachers(tmp_path / "m.pth", classes=(), model=SMALL)
    with pytest.raises(UserError, match="the network takes images, but the data set is a table"):
        answers(teachers(tmp_path / "m.pth", model=SMALL), np.zeros((2, 5), np.float32))
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"kind=timm: needs timm; pip install timm"):
        teachers(tmp_path / "m.pth", model=SMALL)
