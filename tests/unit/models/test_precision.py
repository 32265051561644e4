"""Under autocast bodies run in bfloat16, heads and outputs in float32: members are told apart by small differences."""

import pytest
import torch
from torch import nn

from hydra_ray.config.sections import DistillConfig, EnsembleConfig
from hydra_ray.models.ensemble import StackedMembers
from hydra_ray.models.members import ModelSpec, Normalise, build_member
from hydra_ray.models.outputs import GaussianOutput
from hydra_ray.models.student import build_student
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.loop import TrainState
from hydra_ray.training.member import MemberSpec

INPUTS = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


def networks(kind, task):
    """A network that takes INPUTS, the modules whose outputs must be float32, and one of its body's."""
    is_student = kind == "student"
    heads = {"num_heads": 3, "head_width": 4, "head_depth": 1} if is_student else {}
    output = GaussianOutput(100.0, 3.0) if task is REGRESSION else nn.Identity()
    kind_of_output = task.likelihood.student_output
    spec = ModelSpec("student" if is_student else "member", "mlp", (5,), 2, {"hidden": [6]}, output=kind_of_output,
                     **heads)  # fmt: skip
    normalise = Normalise.identity((5,))
    if is_student:
        model = build_student(spec, 0, normalise, output)
        return model, [model.heads, model.output], model.body
    member_spec = MemberSpec(task, spec, normalise, output)
    model = member_spec.build(0)
    if kind == "stack":
        model = StackedMembers([model, member_spec.build(1)])
        return model, [model.network.head, model.output], model.network.body
    return model, [model.network.head, model.output], model.network.body


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
@pytest.mark.parametrize("kind", ["student", "member", "stack"])
def test_only_the_body_is_bfloat16(kind, task):
    model, exact, body = networks(kind, task)
    types = {"body": [], "exact": []}
    body.register_forward_hook(lambda module, inputs, output: types["body"].append(output.dtype))
    for module in exact:
        module.register_forward_hook(
            lambda module, inputs, output: types["exact"].extend([inputs[0].dtype, output.dtype])
        )
    settings = (DistillConfig if kind == "student" else EnsembleConfig)(precision="bfloat16")
    inputs = INPUTS.expand(2, -1, -1) if kind == "stack" else INPUTS
    outputs = TrainState(model, settings, num_steps=1, seed=0).forward(inputs)
    assert types["exact"] == [torch.float32] * 4
    if kind != "stack":  # torch's vmap knows no autocast on CPUs: there a whole stack is float32
        assert types["body"] == [torch.bfloat16]
    assert outputs.dtype == torch.float32


def test_a_stack_normalises_by_batch_in_float32():
    """On CUDA, where vmap knows autocast, rows in bfloat16 beside float32 running statistics are an error."""
    spec = ModelSpec("member", "resnet20", (8, 8, 3), 10, {"width": 4, "blocks_per_stage": 1})
    stack = StackedMembers([build_member(spec, seed) for seed in range(2)]).train()
    norms = [module for module in stack.modules() if isinstance(module, nn.BatchNorm2d)]
    seen = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    first = next(module for module in stack.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda module, inputs, output: output.bfloat16())
    stack(torch.zeros(2, 3, 8, 8, 3, dtype=torch.uint8))
    assert norms
    assert seen == [torch.float32] * len(norms)


@pytest.mark.parametrize("task", [CLASSIFICATION, REGRESSION], ids=lambda task: task.name)
def test_what_heads_say_is_rounded_nowhere_but_in_the_body(task):
    """Heads on the body's rounded features, in float32: bit for bit."""
    model, _, _ = networks("student", task)
    with torch.autocast("cpu", torch.bfloat16):
        found, features = model(INPUTS), model.features(INPUTS)
    assert features.dtype == torch.bfloat16
    assert torch.equal(found, model.output(model.heads(features.float())))
    assert not torch.equal(found, found.bfloat16().float())
