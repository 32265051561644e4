"""Members on a trained body: a head of their own, a body that stays or goes on learning, checkpoints as always."""

import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.shards import synthetic

from hydra_ray.config import validate
from hydra_ray.models import Pretrained
from hydra_ray.models.members import ModelSpec, Normalise, build_member
from hydra_ray.randomness import THROWN_AWAY
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stack_size import stack_size
from hydra_ray.training.stacked import StackSlot, fit_stacked

SHAPE = (8, 8, 1)
CNN = ModelSpec("member", "cnn", SHAPE, 4, {"widths": [4, 8]})
pytestmark = pytest.mark.usefixtures("one_thread")


def rows(number, seed):
    found = synthetic(number, seed=seed, shape=SHAPE)
    return LabelledRows(*(torch.from_numpy(part) for part in (found.row_id, found.inputs, found.labels)))


TRAIN = rows(48, 0)
VALIDATION = rows(16, 1)
BODY = build_member(CNN, 77).network.body.state_dict()
NORMALISE = Normalise(torch.tensor([100.0]), torch.tensor([50.0]))


def settings(**changed):
    tree = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def spec(*, has_fixed_body):
    of_rows = MemberSpec.of(CLASSIFICATION, CNN, TRAIN.inputs.numpy(), TRAIN.labels.numpy())
    return of_rows.of_group(CNN, Pretrained(BODY, NORMALISE, "made up"), has_fixed_body=has_fixed_body)


def fitted(folder, number, *, has_fixed_body, epochs=2):
    found = checkpoints_in(folder, owner=str(number))
    member_spec = spec(has_fixed_body=has_fixed_body)
    return fit_member(number, settings(epochs=epochs), 5, member_spec, TRAIN, VALIDATION, found, lambda figures: None)[
        0
    ]


def assert_same_body(member, *, expected):
    found = member.network.body.state_dict()
    assert all(torch.equal(found[name], value) for name, value in BODY.items()) is expected


def test_members_begin_with_the_body_and_heads_of_their_own():
    members = [spec(has_fixed_body=False).build(seed) for seed in (1, 2)]
    for member in members:
        assert_same_body(member, expected=True)
        assert torch.equal(member.normalise.mean, NORMALISE.mean)
    assert not torch.equal(members[0].network.head.weight, members[1].network.head.weight)


def test_a_fixed_body_stays_with_its_running_statistics_and_the_head_learns(tmp_path):
    before = spec(has_fixed_body=True).build(THROWN_AWAY)
    member = fitted(tmp_path / "a", 0, has_fixed_body=True)
    assert_same_body(member, expected=True)
    assert not torch.equal(member.network.head.weight, before.network.head.weight)
    member.train()
    assert member.network.head.training
    assert not any(module.training for module in member.network.body.modules())


def test_a_body_that_is_not_fixed_goes_on_learning(tmp_path):
    assert_same_body(fitted(tmp_path / "a", 0, has_fixed_body=False), expected=False)


def test_a_checkpoint_goes_on_where_it_was(tmp_path):
    whole = fitted(tmp_path / "whole", 3, has_fixed_body=True)
    found = checkpoints_in(tmp_path / "parts", owner="3")
    member_spec = spec(has_fixed_body=True)
    stopped = StopIteration()

    def stop(figures):
        if figures["epoch"] == 2:
            raise stopped

    with pytest.raises(StopIteration):
        fit_member(3, settings(), 5, member_spec, TRAIN, VALIDATION, found, stop)
    again, _ = fit_member(3, settings(), 5, member_spec, TRAIN, VALIDATION, found, lambda figures: None)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_stacks_hold_trained_bodies_and_fixed_ones_are_not_stacked(tmp_path):
    chosen = settings(stack_size="auto")
    assert stack_size(chosen, 2, spec(has_fixed_body=True), TRAIN) == 1
    slots = [
        StackSlot(number, torch.arange(len(TRAIN)), checkpoints_in(tmp_path / str(number), owner=str(number)))
        for number in (0, 1)
    ]
    stacked = fit_stacked(slots, settings(), 5, spec(has_fixed_body=False), TRAIN, VALIDATION, lambda figures: None)
    for number, (member, _) in enumerate(stacked):
        alone = fitted(tmp_path / f"alone-{number}", number, has_fixed_body=False)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(member.state_dict()[name], value, rtol=2e-4, atol=2e-5)
