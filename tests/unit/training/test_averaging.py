"""Averaged weights: the average's profile, buffers, going on after an interruption, and what a student ends with."""

import copy

import numpy as np
import pytest
import torch
from helpers.bits import assert_same_bits
from helpers.checkpoints import checkpoints_in
from helpers.kinds import split_keys
from helpers.shards import synthetic, write, write_views
from helpers.two_ranks import student_of
from torch import nn

from hydra_ray import distill
from hydra_ray.config.load import validate
from hydra_ray.models import HydraStudent
from hydra_ray.storage.folder import Folder
from hydra_ray.training.averaging import WeightAverage, gamma_of

pytestmark = pytest.mark.usefixtures("one_thread")


def profile(width, num_steps):
    """How much each step counts: as its number to the power of gamma, in the form of a recursion."""
    weights = np.zeros(num_steps)
    for step in range(1, num_steps + 1):
        keep = (1 - 1 / step) ** (gamma_of(width) + 1)
        weights *= keep
        weights[step - 1] = 1 - keep
    return weights


@pytest.mark.parametrize("width", [0.05, 0.1, 0.28])
def test_the_profile_is_as_wide_as_asked_for_and_forgets_the_beginning(width):
    weights = profile(width, 20_000)
    steps = np.arange(1, 20_001) / 20_000
    mean = (weights * steps).sum()
    assert weights.sum() == pytest.approx(1)
    assert np.sqrt((weights * (steps - mean) ** 2).sum()) == pytest.approx(width, rel=1e-3)
    assert profile(width, 1) == [1]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, rows):
        return self.norm(self.layer(rows))


def steps_of(model, num_steps, seed=0):
    """Moves weights and running statistics at random; a copy of the state after each step."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(num_steps):
        with torch.no_grad():
            for value in model.parameters():
                value += torch.randn(value.shape, generator=generator)
        model(torch.randn(8, 3, generator=generator))
        yield copy.deepcopy(model.state_dict())


def test_weights_and_running_statistics_are_averaged_and_the_model_is_left_alone():
    model, other = Small(), Small()
    other.load_state_dict(model.state_dict())
    average = WeightAverage(model, 0.1)
    states = []
    for number, state in enumerate(steps_of(model, 30), start=1):
        average.update(model, number)
        states.append(state)
    expected = profile(0.1, 30)
    for name, found in average.model.state_dict().items():
        values = np.stack([state[name].double().numpy() for state in states])
        if name == "norm.num_batches_tracked":
            assert 0 < found <= 30, "a count that nothing is computed from"
        else:
            np.testing.assert_allclose(found.numpy(), np.tensordot(expected, values, axes=1), atol=1e-5)
    assert_same_bits(model.state_dict(), list(steps_of(other, 30))[-1])


def test_the_average_is_the_same_after_an_interruption():
    def run(stop):
        model = Small()
        with torch.no_grad():
            for value in model.parameters():
                value.fill_(0.5)
        average = WeightAverage(model, 0.1)
        for number, _ in enumerate(steps_of(model, 12), start=1):
            average.update(model, number)
            if number == stop:
                kept = {name: value.clone() for name, value in average.state().items()}
                average = WeightAverage(model, 0.1)
                average.load(kept)
        return average.model.state_dict()

    for stop in (1, 5):
        assert_same_bits(run(stop), run(None))


# students


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = Folder.open(str(tmp_path_factory.mktemp("shards")))
    transfer, validation = folder / "transfer", folder / "validation"
    write_views(transfer, 2, num_rows=44, members=4)
    write(validation, "part-000-00000.parquet", synthetic(20, members=4, seed=0, view=7))
    return transfer, validation


def config(**settings):
    shared, own = split_keys("hydra", {"average": 0.2, **settings})
    tree = {
        "body_options": {"hidden": [8]}, "epochs": 2, "mean_phase_epochs": 1, "batch_size": 12,
        "learning_rate": 0.01, "head_width": 4, **shared,
    }  # fmt: skip
    recipe = {
        "name": "x", "data": {"source": "digits"}, "ensemble": {"num_members": 4},
        "students": [{"kind": "hydra", **own}], "distill": tree,
    }  # fmt: skip
    return validate(recipe, "here")


def ends_of_phases(tmp_path):
    """The last checkpoint of each phase."""
    checkpoints = checkpoints_in(tmp_path)
    return [checkpoints.of_part(f"phase-{number}").newest() or {} for number in (0, 1)]


def part(state, prefix):
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def test_each_phase_ends_with_the_average_and_the_heads_begin_with_that_of_the_mean(shards, tmp_path, monkeypatch):
    seen = []
    real = HydraStudent.expand

    def recorded(student, *args):
        seen.append(copy.deepcopy(student.state_dict()))
        return real(student, *args)

    monkeypatch.setattr(HydraStudent, "expand", recorded)
    final = student_of(config(), "hydra", *shards, checkpoints=checkpoints_in(tmp_path))
    mean, heads = ends_of_phases(tmp_path)
    assert_same_bits(seen[0], part(mean, "averaged."))
    assert_same_bits(final, part(heads, "averaged."))
    trained = part(heads, "model.")
    assert max((trained[name] - final[name]).abs().max() for name in final) > 1e-4


def test_an_average_leaves_the_training_of_its_phase_as_it_is(shards, tmp_path):
    settings = {"mean_phase_epochs": 0}
    plain = student_of(config(average=None, **settings), "hydra", *shards)
    student_of(config(**settings), "hydra", *shards, checkpoints=checkpoints_in(tmp_path))
    state = checkpoints_in(tmp_path).of_part("phase-0").newest()
    assert_same_bits(part(state, "model."), plain)


def test_figures_while_training_are_of_the_averaged_student():
    rows = synthetic(60, shape=(5,))
    seen = []
    student = distill(
        rows.inputs, rows.logits_NMC, labels=rows.labels, body_options={"hidden": [8]}, average=0.2, epochs=2,
        batch_size=12, learning_rate=0.05, progress=seen.append,
    )  # fmt: skip
    figures = student.about["figures"]
    assert {name: seen[-1][name] for name in figures} == figures
