"""Members: specs, normalisation, seeds, files, and many members in one pass."""

import json

import numpy as np
import pytest
import torch

from hydra_ray.errors import UserError
from hydra_ray.models.ensemble import Ensemble
from hydra_ray.models.files import (
    build_model,
    from_model_json,
    load_model,
    to_model_json,
    to_safetensors_bytes,
)
from hydra_ray.models.members import ModelSpec, Normalise, build_member

CNN = ModelSpec("member", "cnn", (8, 8, 1), 10, {"widths": (4, 8)})
MLP = ModelSpec("member", "mlp", (6,), 3, {"hidden": [5]})
STUDENT = ModelSpec("student", "resnet20", (8, 8, 3), 4, {"width": 4}, num_heads=3, head_width=6, head_depth=1)


def pixels(*shape):
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def stored(spec, num_rows=16):
    if len(spec.input_shape) == 3:
        return pixels(num_rows, *spec.input_shape)
    return torch.linspace(-2, 2, num_rows * 6).sin().reshape(num_rows, 6)


def states_equal(one, two):
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def trained(spec, seed=(0,)):
    """A model whose buffers differ from fresh ones: normalisation fitted, running statistics moved."""
    model = build_model(spec)
    inputs = stored(spec, 32)
    model.normalise.load_state_dict(Normalise.fit(inputs.numpy()).state_dict())
    model.train()(inputs)
    return model.eval()


@pytest.mark.parametrize("spec", [CNN, MLP, STUDENT])
def test_specs_survive_json(spec):
    content = json.loads(json.dumps(to_model_json(spec, {"seed": 3, "calibration": 1.5})))
    assert from_model_json(content) == spec
    assert content["seed"] == 3


@pytest.mark.parametrize("content", [{}, {"spec": {"kind": "member"}}, {"spec": {**MLP.to_json(), "new": 1}}])
def test_a_foreign_model_json_is_refused(content):
    with pytest.raises(UserError, match=r"holds no model specification"):
        from_model_json(content)


@pytest.mark.parametrize("spec", [CNN, MLP, STUDENT])
def test_files_give_the_same_model_bit_for_bit(spec, tmp_path):
    model = trained(spec)
    weights = to_safetensors_bytes(model)
    (tmp_path / "model.safetensors").write_bytes(weights)
    for source in (weights, tmp_path / "model.safetensors", str(tmp_path / "model.safetensors")):
        again = load_model(spec, source)
        assert states_equal(model, again)
        assert torch.equal(model(stored(spec)), again(stored(spec)))
        assert not again.training


def test_channels_last_weights_are_saved_too():
    model = trained(CNN).to(memory_format=torch.channels_last)
    assert states_equal(model, load_model(CNN, to_safetensors_bytes(model)))


def test_loading_leaves_the_generator_alone_and_names_what_is_wrong(tmp_path):
    weights, before = to_safetensors_bytes(trained(MLP)), torch.get_rng_state()
    load_model(MLP, weights)
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(UserError, match="not the weights of a member with architecture=cnn"):
        load_model(CNN, weights)
    with pytest.raises(UserError, match="cannot be read"):
        load_model(MLP, weights[:20])
    with pytest.raises(UserError, match=r"none\.safetensors: cannot be read"):
        load_model(MLP, tmp_path / "none.safetensors")


def test_a_members_weights_depend_on_its_seed_alone():
    torch.manual_seed(1)
    in_order = [build_member(CNN, 70 + member) for member in range(3)]
    torch.manual_seed(2)
    backwards = [build_member(CNN, 70 + member) for member in (2, 1, 0)][::-1]
    assert all(states_equal(one, two) for one, two in zip(in_order, backwards, strict=True))
    assert not states_equal(in_order[0], in_order[1])


def test_normalise_follows_numpy_and_keeps_constant_columns():
    images = pixels(5000, 3, 4, 2).numpy()
    images[..., 1] = 9
    normalise = Normalise.fit(images)
    np.testing.assert_allclose(normalise.mean, images.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(normalise.std, [images[..., 0].std(), 1], rtol=1e-6)
    out = normalise(torch.from_numpy(images))
    assert out.shape == (5000, 2, 3, 4)
    assert out.dtype == torch.float32
    np.testing.assert_allclose(out[:, 0], (images[..., 0] - images[..., 0].mean()) / images[..., 0].std(), atol=1e-5)
    assert out[:, 1].abs().max() == 0


def test_normalise_of_vectors_is_exact_far_from_zero():
    rows = (1e4 + np.random.default_rng(0).normal(size=(300, 2))).astype(np.float32)
    normalise = Normalise.fit(rows)
    np.testing.assert_allclose(normalise.std, rows.astype(np.float64).std(0), rtol=1e-6)
    assert normalise(torch.from_numpy(rows)).shape == (300, 2)
    with pytest.raises(ValueError, match="at least one row"):
        Normalise.fit(rows[:0])


def test_a_builder_copies_the_normalisation_it_is_given():
    normalise = Normalise(torch.ones(6), torch.zeros(6))
    member = build_member(MLP, 0, normalise)
    member.normalise.mean.add_(1)
    assert torch.equal(normalise.mean, torch.ones(6))
    assert torch.equal(normalise.std, torch.ones(6))


@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize("architecture", ["mlp", "cnn", "resnet20"])
def test_an_ensemble_equals_its_members(architecture, stacked):
    spec = ModelSpec("member", architecture, (8, 8, 1), 10)
    normalise = Normalise.fit(stored(spec).numpy())
    members = [build_member(spec, member, normalise) for member in range(3)]
    members[0].eval()  # as loaded, the others as trained
    ensemble = Ensemble(members, stacked=stacked).train()
    logits_BMC = ensemble(stored(spec))
    assert ensemble.is_stacked is stacked
    assert not logits_BMC.requires_grad
    with torch.no_grad():
        expected = torch.stack([member(stored(spec)) for member in members], 1)
    assert logits_BMC.shape == (16, 3, 10)
    assert (logits_BMC - expected).abs().max() < 1e-5


def test_members_of_different_kinds_run_one_by_one():
    wide = ModelSpec("member", "mlp", (6,), 3, {"hidden": [9]})
    members = [build_member(MLP, 0), build_member(wide, 1)]
    assert Ensemble(members)(stored(MLP)).shape == (16, 2, 3)
    with pytest.raises(ValueError, match="one spec"):
        Ensemble(members, stacked=True)
    with pytest.raises(ValueError, match="at least one"):
        Ensemble([])


def test_members_may_normalise_differently():
    members = [build_member(MLP, m, Normalise(torch.full((6,), float(m)), torch.ones(6))) for m in (1, 2)]
    with torch.no_grad():
        expected = torch.stack([member(stored(MLP)) for member in members], 1)
    assert torch.equal(Ensemble(members)(stored(MLP)), expected)
