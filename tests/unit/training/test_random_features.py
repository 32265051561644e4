"""Bodies that stay at their random start: of members without weights, alone and in a group, and of students."""

import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.shards import synthetic

import hydra_ray
from hydra_ray.config import validate
from hydra_ray.errors import UserError
from hydra_ray.models import build_student
from hydra_ray.models.members import ModelSpec
from hydra_ray.randomness import seed_of
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.group import fit_group
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stack_size import stack_size

SHAPE = (4, 4, 1)
SPEC = ModelSpec("member", "cnn", SHAPE, 4, {"widths": [4, 8]})


def rows(number, seed):
    found = synthetic(number, seed=seed, shape=SHAPE)
    return LabelledRows(*(torch.from_numpy(part) for part in (found.row_id, found.inputs, found.labels)))


TRAIN = rows(48, 0)
VALIDATION = rows(16, 1)


def settings(**changed):
    tree = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, "train": "head", "num_members": 2, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def spec(*, has_fixed_body=True):
    of_rows = MemberSpec.of(CLASSIFICATION, SPEC, TRAIN.inputs.numpy(), TRAIN.labels.numpy())
    return of_rows.of_group(SPEC, has_fixed_body=has_fixed_body)


def assert_only_the_head_has_learnt(member, number):
    start = spec(has_fixed_body=False).build(seed_of(5, "member weights", number))
    expected = start.network.body.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in member.network.body.state_dict().items())
    assert not torch.equal(member.network.head.weight, start.network.head.weight)


def test_a_member_keeps_its_random_body(tmp_path):
    found = fit_member(
        1, settings(), 5, spec(), TRAIN, VALIDATION, checkpoints_in(tmp_path, owner="1"), lambda figures: None
    )
    assert_only_the_head_has_learnt(found[0], 1)


def test_members_with_random_bodies_are_not_stacked():
    """As those with trained ones: a stack would train bodies too."""
    assert stack_size(settings(stack_size="auto"), 2, spec(), TRAIN) == 1
    with pytest.raises(UserError, match=r"ensemble.stack_size=2: .* cannot be stacked"):
        stack_size(settings(stack_size=2), 2, spec(), TRAIN)


def test_members_of_a_group_keep_theirs(tmp_path):
    kept = checkpoints_in(tmp_path, owner="x")
    found = fit_group([0, 1], settings(objective="joint"), 5, spec(), TRAIN, VALIDATION, kept, lambda figures: None)
    for number, (member, _) in enumerate(found):
        assert_only_the_head_has_learnt(member, number)


def test_a_students_heads_learn_on_a_body_that_stays():
    found = synthetic(60, seed=3, members=3, shape=SHAPE)
    common = {"body": "mlp", "body_options": {"hidden": [6]}, "epochs": 2, "head_depth": 0, "learning_rate": 0.05}
    frozen, free = (
        hydra_ray.distill(found.inputs, found.logits_NMC.astype("float32"), **common, **more)
        for more in ({"train": "head"}, {})
    )
    start = build_student(frozen.network.spec, seed_of(0, "student weights", "hydra"))
    expected = start.body.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in frozen.network.body.state_dict().items())
    assert any(not torch.equal(value, expected[name]) for name, value in free.network.body.state_dict().items())
    heads = [dict(student.heads.named_parameters()) for student in (frozen.network, start)]
    assert any(not torch.equal(heads[0][name], heads[1][name]) for name in heads[0])


def test_a_fixed_body_of_a_student_evaluates_and_its_expansion_too():
    student = build_student(ModelSpec("student", "cnn", SHAPE, 4, {"widths": [4]}, num_heads=1, head_width=4), 3)
    student.fix_body()
    for each in (student.train(), student.expand(2, 0.1, 7).train()):
        assert each.heads.training
        assert not any(module.training for module in each.body.modules())
        assert not any(parameter.requires_grad for parameter in each.body.parameters())
