"""Members of `dexdeepfm` by its objective: what they minimise, alone and stacked, and that it makes maps diverse."""

import pytest
import torch
import torch.nn.functional as F
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed

from hydra_ray.config.load import validate
from hydra_ray.losses import diverse_loss, squared_weights, sum_rows
from hydra_ray.models import ModelSpec
from hydra_ray.models.click_architectures import map_diversity
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.loop import TrainState
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member, l2_weight_of, loss_of, member_step
from hydra_ray.training.stack_size import stack_size
from hydra_ray.training.stacked import StackSlot, fit_stacked

CATEGORIES = (0, 6, 0, 4)
OPTIONS = {"embedding_dim": 4, "cin": [8, 8], "hidden": [12], "attention": 6}
SPEC = ModelSpec("member", "dexdeepfm", (4,), 2, OPTIONS, categories=CATEGORIES)
OBJECTIVE = {"kind": "dexdeepfm", "diversity_weight": 0.7, "l2_weight": 1e-3}

pytestmark = pytest.mark.usefixtures("one_thread")


def rows(number, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(number, 4, generator=generator)
    inputs[:, 1] = torch.randint(2, 6, (number,), generator=generator).float()
    inputs[:, 3] = torch.randint(2, 4, (number,), generator=generator).float()
    signs = torch.where(inputs[:, 1] > 3, 1.0, -1.0)
    return LabelledRows(torch.arange(number), inputs, (signs * inputs[:, 0] > 0).long())


TRAIN, VALIDATION = rows(256, 0), rows(128, 1)


def settings_of(**changed):
    tree = {"epochs": 2, "batch_size": 32, "learning_rate": 0.01, "architecture": "dexdeepfm", "options": OPTIONS}
    tree = {**tree, "objective": OBJECTIVE, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def member_spec(settings):
    of_rows = MemberSpec.of(CLASSIFICATION, SPEC, TRAIN.inputs.numpy(), TRAIN.labels.numpy())
    return of_rows.of_group(SPEC, tells_diversity=settings.own_objective is not None)


def alone(place, settings, member=0, tick=None):
    return fit_member(
        member, settings, 5, member_spec(settings), TRAIN, VALIDATION, checkpoints_in(place / f"alone-{member}"),
        lambda figures: None, tick,
    )  # fmt: skip


def test_a_row_costs_its_loss_less_its_weighted_diversity():
    outputs = torch.tensor([[2.0, 0.5, 0.1], [0.0, 1.0, 0.3]], requires_grad=True)
    labels = torch.tensor([0, 0])
    found = diverse_loss(
        outputs, labels, loss=lambda logits, y: sum_rows(F.cross_entropy(logits, y, reduction="none")), weight=0.7
    )
    expected = F.cross_entropy(outputs[:, :2], labels) - 0.7 * 0.2
    torch.testing.assert_close(found.mean(), expected)


def test_a_step_minimises_log_loss_less_diversity_and_the_squares_of_all_weights():
    settings = settings_of(optimizer="sgd", warmup_fraction=0, weight_decay=0)
    model = member_spec(settings).build(0).train()
    state = TrainState(model, settings, num_steps=10, seed=0)
    inputs, labels = TRAIN.inputs[:32], TRAIN.labels[:32]
    body = model.network.body
    first_order, fields = body.fields(model.normalise(inputs))
    layers = body.interactions(fields)
    pooled = torch.stack([maps.sum(1) for maps in layers], 1)
    weights = body.attention(pooled)
    features = torch.cat([first_order, (weights[..., None] * pooled).flatten(1), body.deep(fields)], 1)
    diversity = sum(weights[:, k] * map_diversity(maps) for k, maps in enumerate(layers))
    squares = sum(parameter.square().sum() for parameter in model.parameters())
    expected = F.cross_entropy(model.network.head(features), labels) - 0.7 * diversity.mean() + 1e-3 * squares
    gradients = torch.autograd.grad(expected, list(model.parameters()))
    member_loss = loss_of(settings, CLASSIFICATION, model)
    found = member_step(state, member_loss, inputs, labels, l2_weight_of(settings))
    torch.testing.assert_close(found, expected.detach())
    torch.testing.assert_close([parameter.grad for parameter in model.parameters()], list(gradients))


def test_squares_have_the_gradients_of_finite_differences():
    weights = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True), torch.randn(4, dtype=torch.float64)]
    assert torch.autograd.gradcheck(lambda first: squared_weights([first, weights[1]]), (weights[0],))


def diversity_of(model):
    """What the objective maximises: a layer counts by its attention, which may leave one that is not diverse."""
    with torch.no_grad():
        return model.train()(VALIDATION.inputs)[:, -1].mean().item()


def test_members_that_minimise_it_learn_and_have_more_diverse_maps(tmp_path):
    light = {"kind": "dexdeepfm", "l2_weight": 0.0}
    found = {
        weight: alone(
            tmp_path / str(weight),
            settings_of(epochs=15, learning_rate=0.03, objective={**light, "diversity_weight": weight}),
        )
        for weight in (0.0, 0.7)
    }
    assert all(figures["validation_accuracy"] > 0.8 for _, figures in found.values())
    assert diversity_of(found[0.7][0]) > 1.05 * diversity_of(found[0.0][0])


def test_a_member_without_the_objective_is_one_whose_weights_in_it_are_zero(tmp_path):
    nothing = {"kind": "dexdeepfm", "diversity_weight": 0, "l2_weight": 0}
    plain, _ = alone(tmp_path / "plain", settings_of(objective=None))
    zero, _ = alone(tmp_path / "zero", settings_of(objective=nothing))
    torch.testing.assert_close(zero.state_dict(), plain.state_dict())


def test_a_stack_learns_what_each_member_would_alone(tmp_path):
    settings = settings_of(optimizer="sgd", learning_rate=0.05, clip_norm=1.0)
    slots = [StackSlot(each, torch.arange(len(TRAIN)), checkpoints_in(tmp_path / f"stack-{each}")) for each in (0, 3)]
    reported = []
    stacked = fit_stacked(slots, settings, 5, member_spec(settings), TRAIN, VALIDATION, reported.append)
    for slot, (model, figures) in zip(slots, stacked, strict=True):
        expected, expected_figures = alone(tmp_path, settings, slot.member)
        assert figures == pytest.approx(expected_figures, abs=1e-4)
        torch.testing.assert_close(model.state_dict(), expected.state_dict(), atol=1e-4, rtol=1e-3)
    assert len({figures["loss"] for figures in reported}) == 4


@pytest.mark.parametrize("size", [2, "auto"])
def test_it_may_be_stacked(size):
    settings = settings_of(stack_size=size)
    assert stack_size(settings, 2, member_spec(settings), TRAIN) in ((2,) if size == 2 else (1, 2))


def test_a_killed_member_goes_on_where_it_was(tmp_path):
    settings = settings_of(epochs=3)
    expected, _ = alone(tmp_path / "whole", settings)

    def kill(done, total):
        if done == 20:
            raise Killed

    with pytest.raises(Killed):
        alone(tmp_path / "killed", settings, tick=kill)
    resumed, _ = alone(tmp_path / "killed", settings)
    torch.testing.assert_close(resumed.state_dict(), expected.state_dict())
