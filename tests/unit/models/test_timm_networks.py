"""timm's networks as architectures, and its weights as it publishes them; the smallest of its own tests' networks."""

import sys

import huggingface_hub.constants
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from hydra_ray.errors import UserError
from hydra_ray.models import check_architecture, load_pretrained, put_body, weights_key
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.models.networks import architecture_options, build_network

RESNET = "timm:test_resnet"
VIT = "timm:test_vit"


def state_of(name, **options):
    torch.manual_seed(1)
    return timm.create_model(name.removeprefix("timm:"), **options).state_dict()


def on_the_hub(folder, monkeypatch, name):
    """The file of published weights, made up, where the Hugging Face Hub's library keeps it on this machine."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    repository = folder / f"models--{timm.get_pretrained_cfg(name.removeprefix('timm:')).hf_hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    state = state_of(name)
    save_file(state, snapshot / "model.safetensors")
    return state


@pytest.mark.parametrize("name", [RESNET, VIT, "timm:test_efficientnet", "timm:mobilenetv3_small_050"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_name_of_timm_is_an_architecture(name, channels):
    network = check_architecture(name, (64, 64, channels), 5, {})
    assert network(torch.zeros(2, channels, 64, 64)).shape == (2, 5)


def test_options_go_to_timm_and_weights_follow_from_the_seed():
    one, two = (build_member(ModelSpec("member", RESNET, (32, 32, 3), 4, {"drop_rate": 0.5}), 3) for _ in range(2))
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())


def test_published_weights_become_the_body(tmp_path, monkeypatch):
    state = on_the_hub(tmp_path, monkeypatch, RESNET)
    found = load_pretrained(RESNET, RESNET, (64, 64, 3), {}, download=False)
    assert all(torch.equal(value, state[name]) for name, value in found.body.items())
    config = timm.get_pretrained_cfg("test_resnet")
    assert found.normalise is not None
    np.testing.assert_allclose(found.normalise.mean, np.array(config.mean) * 255, rtol=1e-6)
    np.testing.assert_allclose(found.normalise.std, np.array(config.std) * 255, rtol=1e-6)
    assert weights_key(RESNET) == "timm:test_resnet.r160_in1k"


def test_a_transformer_for_other_sizes_and_grey_images(tmp_path):
    save_file(state_of(VIT), tmp_path / "vit.safetensors")
    for shape in ((64, 64, 3), (96, 96, 1)):
        found = load_pretrained(str(tmp_path / "vit.safetensors"), VIT, shape, {}, download=False)
        put_body(build_network(VIT, shape, 4, {}).body, found.body)


def test_a_head_of_other_classes_is_dropped(tmp_path):
    save_file(state_of(RESNET, num_classes=7), tmp_path / "own.safetensors")
    found = load_pretrained(str(tmp_path / "own.safetensors"), RESNET, (64, 64, 3), {}, download=False)
    put_body(build_network(RESNET, (64, 64, 3), 4, {}).body, found.body)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: architecture_options("timm:test_resnett"),
            "timm has no network test_resnett; did you mean test_resnet",
        ),
        (
            lambda: weights_key("timm:test_resnet.nonsense"),
            "timm has no such weights; of test_resnet it has test_resnet.",
        ),
        (lambda: build_network(RESNET, (6,), 3, {}), "takes images, the inputs are rows of features"),
        (lambda: build_network(RESNET, (32, 32, 3), 3, {"widht": 4}), "refuses inputs of shape"),
    ],
)
def test_what_timm_has_not_got_is_one_line(call, expected):
    with pytest.raises(UserError) as raised:
        call()
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_nothing_is_fetched_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"is not on this machine; fetch it with data\.download=true"):
        load_pretrained(VIT, VIT, (160, 160, 3), {}, download=False)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(state_of(VIT), tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match="refuses its weights, or inputs") as raised:
        load_pretrained(str(tmp_path / "vit.safetensors"), RESNET, (64, 64, 3), {}, download=False)
    assert "\n" not in str(raised.value)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'hydra-ray\[timm\]'"):
        architecture_options(RESNET)
