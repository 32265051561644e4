"""Output-diversified views: size and direction of the step, and that a row's pixels depend on nothing but the row."""

import numpy as np
import pytest
import torch
from torch import nn

from hydra_ray.errors import UserError
from hydra_ray.models.members import ModelSpec, Normalise, build_member
from hydra_ray.randomness import Draws
from hydra_ray.views.apply import apply_view, apply_with_members
from hydra_ray.views.ods import check_gradients
from hydra_ray.views.registry import VIEWS

SHAPE = (8, 8, 1)


def _members(number=3):
    spec = ModelSpec("member", "mlp", SHAPE, 4, {"hidden": [16]})
    normalise = Normalise(torch.tensor([100.0]), torch.tensor([60.0]))
    return [build_member(spec, 50 + member, normalise).eval() for member in range(number)]


def _rows(number=40):
    pixels = np.random.default_rng(0).integers(60, 200, (number, *SHAPE)).astype(np.uint8)
    return torch.from_numpy(pixels), torch.arange(number)


def _moved(members, rows, ids, name="ods", seed=1, **options):
    return apply_with_members(name, options, members, rows, ids, seed=seed)


def test_step_has_the_asked_size():
    rows, ids = _rows()
    change = (_moved(_members(), rows, ids, step=0.1).float() - rows.float()).flatten(1)
    assert torch.allclose(change.square().mean(1).sqrt(), torch.full((len(rows),), 25.5), rtol=0.03)


def _features(number=20):
    spec = ModelSpec("member", "mlp", (5,), 4, {"hidden": [64]})
    members = [build_member(spec, member).eval() for member in range(2)]
    rows = torch.randn(number, 5, generator=torch.Generator().manual_seed(0))
    return members, rows, torch.arange(number)


def test_features_are_not_rounded_and_move_by_step():
    members, rows, ids = _features()
    change = _moved(members, rows, ids, step=0.5) - rows
    assert torch.allclose(change.square().mean(1).sqrt(), torch.full((20,), 0.5), rtol=1e-4)


def test_direction_is_the_gradient_of_the_weighted_output():
    members, rows, ids = _features()
    change = _moved(members[:1], rows, ids, step=0.2) - rows
    weights = Draws.of(1, ids).signed(1, 4)
    inputs = rows.clone().requires_grad_()
    (torch.softmax(members[0](inputs), -1) * weights).sum().backward()
    assert (torch.cosine_similarity(change, inputs.grad) > 0.9999).all()


def test_pixels_do_not_depend_on_batch_or_order():
    members, (rows, ids) = _members(), _rows()
    whole = _moved(members, rows, ids)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    parts = [_moved(members, rows[part], ids[part]) for part in order.split(7)]
    assert torch.equal(torch.cat(parts), whole[order])
    assert not torch.equal(_moved(members, rows, ids, seed=2), whole)
    assert not torch.equal(_moved(members, rows, ids, seed=4), whole)


def test_conf_ods_takes_a_smaller_step_where_the_member_is_unsure():
    members, rows, ids = _features()
    ods, conf_ods = (_moved(members[:1], rows, ids, name=name, step=0.2) - rows for name in ("ods", "conf_ods"))
    confidence = torch.softmax(members[0](rows).detach(), -1).amax(1)
    assert torch.allclose(conf_ods.norm(dim=1) / ods.norm(dim=1), confidence, rtol=1e-4)


def test_without_members_the_rows_wait_untouched():
    rows, ids = _rows(5)
    assert VIEWS["ods"].needs_members
    assert np.array_equal(apply_view("ods", {}, rows.numpy(), ids.numpy(), seed=0), rows.numpy())


def test_members_without_gradients_are_refused():
    class Steps(nn.Module):
        def forward(self, inputs):
            return (inputs.flatten(1) > 0.5).float() @ torch.ones(64, 3)

    with pytest.raises(UserError, match="gradients"):
        check_gradients(Steps(), SHAPE)
    check_gradients(_members(1)[0], SHAPE)
