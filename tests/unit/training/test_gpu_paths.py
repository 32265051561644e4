"""GPU code without a GPU: steps, predictions and views on fake tensors of one. Mixing devices or waiting for it fails.

There is no backward pass on a card that is not there: that is run on `meta`, where waiting fails too.
"""

from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from helpers.no_gpu import CUDA, fake_gpu
from helpers.shards import synthetic
from torch import Tensor

from hydra_ray.config.load import validate
from hydra_ray.config.sections import EnsembleConfig
from hydra_ray.data import Features
from hydra_ray.models import Ensemble
from hydra_ray.models.ensemble import StackedMembers
from hydra_ray.models.members import ModelSpec, build_member
from hydra_ray.shards.loader import Batch
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training import DistributedContext, HeldOut, loop
from hydra_ray.training.loop import TrainState
from hydra_ray.training.member import loss_of, member_step
from hydra_ray.training.stacked import stack_step
from hydra_ray.training.student import InputOutputScaling, _first_student, _PhaseFit, plan_of
from hydra_ray.views import VIEWS, augment

pytestmark = pytest.mark.usefixtures("without_a_card")
META = torch.device("meta")
IMAGES, TABLE = (16, 16, 3), (4,)
CATEGORIES = (0, 5, 0, 3)
NETWORKS = {
    "mlp": ModelSpec("member", "mlp", IMAGES, 4, {"hidden": [8]}),
    "cnn": ModelSpec("member", "cnn", IMAGES, 4, {"widths": [4, 4]}),
    "resnet20": ModelSpec("member", "resnet20", IMAGES, 4, {"width": 4, "blocks_per_stage": 1}),
    "mlp of a table": ModelSpec("member", "mlp", TABLE, 4, {"hidden": [8]}, categories=CATEGORIES),
    "tabm": ModelSpec("member", "tabm", TABLE, 4, {"hidden": [8]}, categories=CATEGORIES),
    "tabular_resnet": ModelSpec("member", "tabular_resnet", TABLE, 4, {"width": 8}, categories=CATEGORIES),
    "xdeepfm": ModelSpec("member", "xdeepfm", TABLE, 4, {"cin": [4, 3], "hidden": [5]}, categories=CATEGORIES),
}


@pytest.fixture
def without_a_card(monkeypatch):
    """Generators and optimisers that want one are left out, and backward where tensors are on one."""
    backward, is_autocast_enabled, autocast = Tensor.backward, torch.is_autocast_enabled, loop._autocast
    exact = EnsembleConfig(precision="float32")
    monkeypatch.setattr(loop, "_autocast", lambda asked, device: autocast(exact if device == META else asked, device))
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: device != "meta" and is_autocast_enabled(device))
    monkeypatch.setattr(loop, "seed_generators", lambda seed, device: None)
    monkeypatch.setattr(loop, "_optimizer", lambda model, settings: torch.optim.AdamW(model.parameters(), foreach=True))
    monkeypatch.setattr(Tensor, "backward", lambda self: None if self.is_cuda else backward(self))


def inputs_of(spec, batch, device):
    if len(spec.input_shape) == 3:
        return torch.empty(batch, *spec.input_shape, dtype=torch.uint8, device=device)
    return torch.empty(batch, *spec.input_shape, device=device)


def has_all_gradients(model):
    return all(each.grad is not None and each.grad.shape == each.shape for each in model.parameters())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_members_step(name, precision):
    spec, settings = NETWORKS[name], EnsembleConfig(precision=precision, clip_norm=1.0)
    with fake_gpu() as gpu:
        member = gpu.module(build_member(spec, 0)).train()
        state = TrainState(member, settings, num_steps=3, seed=0)
        labels = torch.empty(6, dtype=torch.int64, device=CUDA)
        loss = member_step(state, loss_of(settings, CLASSIFICATION, member), inputs_of(spec, 6, CUDA), labels)
        assert loss.device == CUDA
    member = build_member(spec, 0).to(META).train()
    state = TrainState(member, settings, num_steps=3, seed=0)
    labels = torch.empty(6, dtype=torch.int64, device=META)
    member_step(state, loss_of(settings, CLASSIFICATION, member), inputs_of(spec, 6, META), labels)
    assert has_all_gradients(member)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["mlp", "mlp of a table"])  # fake convolutions know no vmap
def test_a_stacks_step(name, precision):
    spec, settings = NETWORKS[name], EnsembleConfig(precision=precision)
    members = [build_member(spec, seed) for seed in range(3)]
    whole = StackedMembers(members)
    with fake_gpu() as gpu:
        stack = gpu.module(whole).train()
        state = TrainState(stack, settings, num_steps=3, seed=0)
        labels = torch.empty(3, 6, dtype=torch.int64, device=CUDA)
        inputs = inputs_of(spec, 18, CUDA).unflatten(0, (3, 6))
        loss_K = stack_step(state, loss_of(settings, CLASSIFICATION, members[0]), inputs, labels)
        assert (loss_K.device, loss_K.shape) == (CUDA, (3,))


STUDENTS = [
    {"kind": "hydra", "correlation_weight": 0.1, "deviation_weight": 0.1, "diversity_weight": 0.1},
    {"kind": "kd"}, {"kind": "kd_temperature"}, {"kind": "labels"}, {"kind": "end2"}, {"kind": "proxy_end2"},
    {"kind": "prior_network"},
]  # fmt: skip


PAIRS = [(student, "mlp") for student in STUDENTS] + [(STUDENTS[0], head) for head in ("linear", "conv1x1", "block")]


@pytest.mark.parametrize(("student", "head"), PAIRS, ids=[f"{student['kind']}-{head}" for student, head in PAIRS])
def test_a_students_step(student, head):
    kind = student["kind"]
    distill = {
        "body": "resnet20", "body_options": {"width": 4, "blocks_per_stage": 1}, "head": head, "head_width": 4,
        "epochs": 2, "mean_phase_epochs": 1, "batch_size": 6, "label_weight": 0.3, "clip_norm": 1.0,
        "precision": "bfloat16",
        **({"cut": 1} if head == "block" else {}),
    }  # fmt: skip
    tree = {
        "name": "x",
        "data": {"source": "digits"},
        "ensemble": {"num_members": 3},
        "students": [student],
        "distill": distill,
    }
    config = validate(tree, "here")
    rows = synthetic(6, shape=IMAGES)
    plan = plan_of(config, CLASSIFICATION, kind, num_members=3, input_shape=IMAGES, num_outputs=4)
    model = _first_student(plan, InputOutputScaling.of(CLASSIFICATION, rows, plan.num_members))
    batch = Batch.of(rows, torch.device("cpu"))
    for number, phase in enumerate(plan.phases):
        if number:
            model = plan.objective.next_student(model, phase, 0)
        student = deepcopy(model)
        with fake_gpu() as gpu:
            fit = phase_fit(plan, number, gpu.module(student), rows)
            assert fit._step(Batch(*(each if each is None else gpu.tensor(each) for each in batch))).device == CUDA
        fit = phase_fit(plan, number, deepcopy(model).to(META), rows)
        fit._step(Batch(*(each if each is None else each.to(META) for each in batch)))
        assert has_all_gradients(fit.student)


def phase_fit(plan, number, student, rows):
    reader = SimpleNamespace(steps_per_epoch=4, is_even=True)
    ranks = DistributedContext()
    return _PhaseFit(plan, number, student.train(), reader, HeldOut(rows), ranks, None, lambda figures: None)


@pytest.mark.parametrize(("name", "stacked"), [("mlp", True), *((name, False) for name in NETWORKS)])
def test_what_predict_asks(name, stacked):
    spec = NETWORKS[name]
    ensemble = Ensemble([build_member(spec, seed) for seed in range(3)], stacked=stacked)
    with fake_gpu() as gpu:
        outputs_BMC = gpu.module(ensemble)(inputs_of(spec, 6, CUDA))
        assert (outputs_BMC.device, outputs_BMC.shape) == (CUDA, (6, 3, 4))


WAITS = {"munge": "finds the nearest row of each block in turn", "outside_box": "counts the numbers that vary"}


@pytest.mark.parametrize("name", [name for name, view in VIEWS.items() if not view.needs_members])
def test_a_view_of_a_batch(name):
    view = VIEWS[name]
    if name in WAITS:
        pytest.skip(WAITS[name])
    rows = synthetic(6, shape=TABLE if view.takes == "features" else IMAGES)
    with fake_gpu() as gpu:
        features = Features(*torch.empty(4, 4, device=CUDA)) if view.takes == "features" else None
        inputs = gpu.tensor(torch.from_numpy(rows.inputs))
        keys = torch.empty(6, dtype=torch.int64, device=CUDA)
        found = augment(name, {}, inputs, keys, 0, features=features)
        assert (found.device, found.shape, found.dtype) == (CUDA, inputs.shape, inputs.dtype)
