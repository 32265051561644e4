"""Trained weights for bodies: each kind of file fits, a wrong one is named, and nothing is fetched unasked."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision import models as torchvision_models

from hydra_ray.errors import UserError
from hydra_ray.models import load_pretrained, put_body, to_safetensors_bytes, weights_key
from hydra_ray.models.members import ModelSpec, Normalise, build_member
from hydra_ray.models.networks import build_network
from hydra_ray.models.student import build_student

SMALL = "shufflenet_v2_x0_5"
PUBLISHED = "ShuffleNet_V2_X0_5_Weights.DEFAULT"
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
COLOUR = (32, 32, 3)
MEMBER = ModelSpec("member", "cnn", (8, 8, 1), 4, {"widths": [4, 8]})


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """torchvision's folder of weights, with one file whose values are made up."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.manual_seed(3)
    state = torchvision_models.get_model(SMALL).state_dict()
    url = torchvision_models.get_weight(PUBLISHED).url
    torch.save(state, folder / url.rsplit("/", 1)[-1])
    return state


def loaded(weights, architecture, shape=COLOUR, options=None):
    return load_pretrained(str(weights), architecture, shape, options or {}, download=False)


def test_torchvisions_weights_become_the_body_and_normalise_as_their_transforms(hub):
    found = loaded(PUBLISHED, SMALL)
    assert found.body.keys() == {name for name in hub if not name.startswith("fc.")}
    assert all(torch.equal(value, hub[name]) for name, value in found.body.items())
    member = build_member(ModelSpec("member", SMALL, COLOUR, 4), 0, found.normalise)
    put_body(member.network.body, found.body)
    whole = torchvision_models.get_model(SMALL)
    whole.load_state_dict(hub)
    whole.fc = torch.nn.Identity()
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))
    by_them = torchvision_models.get_weight(PUBLISHED).transforms(resize_size=224)
    with torch.no_grad():
        expected = whole.eval()(by_them(pixels.permute(0, 3, 1, 2)))
        features = member.eval().network.body(member.normalise(pixels))
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


def test_grey_images_take_the_same_body(hub):
    found = loaded(PUBLISHED, SMALL, (32, 32, 1))
    put_body(build_network(SMALL, (32, 32, 1), 4, {}).body, found.body)
    assert found.normalise is not None
    torch.testing.assert_close(found.normalise.mean, torch.tensor([np.mean(IMAGENET[0]) * 255], dtype=torch.float32))


def test_a_file_of_the_networks_own_state(hub, tmp_path):
    save_file(hub, tmp_path / "own.safetensors")
    found = loaded(tmp_path / "own.safetensors", SMALL)
    assert all(torch.equal(value, hub[name]) for name, value in found.body.items())
    assert found.normalise is not None
    torch.testing.assert_close(found.normalise.std, torch.tensor(IMAGENET[1]) * 255)


@pytest.mark.parametrize("kind", ["member", "student"])
def test_the_file_of_a_member_or_student_of_ours_brings_its_normalisation(tmp_path, kind):
    rows = np.random.default_rng(0).integers(0, 200, (50, 8, 8, 1), dtype=np.uint8)
    normalise = Normalise.fit(rows)
    if kind == "member":
        model = build_member(MEMBER, 5, normalise)
        body = model.network.body
    else:
        spec = ModelSpec("student", "cnn", (8, 8, 1), 4, MEMBER.options, num_heads=3, head_width=4, head_depth=1)
        model = build_student(spec, 5, normalise)
        body = model.body
    (tmp_path / "model.safetensors").write_bytes(to_safetensors_bytes(model))
    found = loaded(tmp_path / "model.safetensors", "cnn", (8, 8, 1), {"widths": [4, 8]})
    assert all(torch.equal(found.body[name], value) for name, value in body.state_dict().items())
    assert found.normalise is not None
    assert torch.equal(found.normalise.mean, normalise.mean)


def test_weights_without_a_normalisation_leave_it_to_the_rows(tmp_path):
    network = build_network("cnn", (8, 8, 1), 4, {"widths": [4, 8]})
    save_file(network.state_dict(), tmp_path / "plain.safetensors")
    found = loaded(tmp_path / "plain.safetensors", "cnn", (8, 8, 1), {"widths": [4, 8]})
    assert found.normalise is None
    assert "by the training rows" in found.said


def test_densenets_in_torchvisions_older_names(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    state = torchvision_models.get_model("densenet121").state_dict()
    old = {
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in name else name: value
        for name, value in state.items()
    }
    entry = torchvision_models.get_weight("DenseNet121_Weights.DEFAULT")
    torch.save(old, folder / entry.url.rsplit("/", 1)[-1])
    found = loaded("DenseNet121_Weights.DEFAULT", "densenet121")
    assert all(torch.equal(value, state[name]) for name, value in found.body.items())


def wrong_files(folder):
    """File, architecture and options, and the words of the refusal."""
    small = build_network("resnet20", COLOUR, 4, {"width": 4, "blocks_per_stage": 1}).state_dict()
    large = build_network("resnet20", COLOUR, 4, {"width": 4, "blocks_per_stage": 2}).state_dict()
    for name, content in (("small", small), ("large", large)):
        save_file({key.removeprefix("body."): value for key, value in content.items()}, folder / f"{name}.safetensors")
    (folder / "damaged.safetensors").write_bytes(b"x" * 40)
    one = {"width": 4, "blocks_per_stage": 1}
    return [
        ("small", "resnet20", {"width": 4, "blocks_per_stage": 2}, "it lacks "),
        ("large", "resnet20", one, "more layers, e.g. "),
        ("small", "resnet20", {"width": 8, "blocks_per_stage": 1}, "in the network [8, 3, 3, 3]"),
        ("small", "mlp", {"hidden": [4]}, "is not of architecture=mlp"),
        ("damaged", "resnet20", one, "is no readable safetensors file"),
        ("nowhere", "resnet20", one, "no such file"),
    ]


@pytest.mark.parametrize("case", range(6))
def test_weights_of_another_network_are_refused(tmp_path, case):
    name, architecture, options, expected = wrong_files(tmp_path)[case]
    with pytest.raises(UserError) as raised:
        loaded(tmp_path / f"{name}.safetensors", architecture, COLOUR, options)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_is_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"is not there; let torchvision fetch it with data\.download=true"):
        loaded(PUBLISHED, SMALL)
    with pytest.raises(UserError, match="did you mean ResNet18_Weights"):
        weights_key("ResNet18_Weights.DEFALT")


def test_keys_are_of_content_or_of_the_publishers_full_name(hub, tmp_path):
    assert weights_key(PUBLISHED) == "ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1"
    for name in ("a", "b"):
        save_file(hub, tmp_path / f"{name}.safetensors")
    first = weights_key(str(tmp_path / "a.safetensors"))
    assert first == weights_key(str(tmp_path / "b.safetensors"))
    save_file({**hub, "fc.bias": hub["fc.bias"] + 1}, tmp_path / "b.safetensors")
    assert first != weights_key(str(tmp_path / "b.safetensors"))
