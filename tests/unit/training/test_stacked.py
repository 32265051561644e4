"""Members fitted as one network are those they would be alone, and may be stacked otherwise after an interruption."""

import pytest
import torch
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed
from helpers.shards import synthetic
from torch import nn

from hydra_ray.config.load import load_config, validate
from hydra_ray.errors import UserError
from hydra_ray.models import Network
from hydra_ray.models.members import ModelSpec
from hydra_ray.runs.run import Run
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member
from hydra_ray.training.stack_size import stack_size, stacks
from hydra_ray.training.stacked import StackSlot, clip_each_member, fit_stacked

MEMBERS = (0, 3, 4)
SHAPE = (8, 8, 1)
MLP = ModelSpec("member", "mlp", SHAPE, 4, {"hidden": [8]})

pytestmark = pytest.mark.usefixtures("one_thread")


class Bench:
    """Rows, settings and folders of one fit."""

    def __init__(self, place, spec=MLP, **changed):
        tree = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02, **changed}
        self.settings = validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble
        self.place, self.spec = place, spec
        self.train, self.validation = (self._rows(number, seed) for number, seed in ((52, 0), (20, 1)))
        self.member_spec = MemberSpec.of(CLASSIFICATION, spec, self.train.inputs.numpy(), self.train.labels.numpy())

    def _rows(self, number, seed):
        rows = synthetic(number, seed=seed, shape=SHAPE)
        return LabelledRows(*(torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels)))

    def folder(self, kind, member):
        return checkpoints_in(self.place / f"{kind}-{member}", owner=str(member))

    def alone(self, member, kind="alone", left_out=None, report=lambda figures: None):
        train = self.train if left_out is None else self.train.at(self.kept(left_out))
        return fit_member(
            member, self.settings, 5, self.member_spec, train, self.validation, self.folder(kind, member),
            report,
        )  # fmt: skip

    def kept(self, left_out):
        return torch.tensor([place for place in range(len(self.train)) if place != left_out])

    def slots(self, members=MEMBERS, kind="stacked", left_out=None):
        every = torch.arange(len(self.train))
        rows = {member: every if left_out is None else self.kept(left_out[member]) for member in members}
        return [StackSlot(member, rows[member], self.folder(kind, member)) for member in members]

    def stacked(self, slots, report=lambda figures: None):
        return fit_stacked(
            slots, self.settings, 5, self.member_spec, self.train, self.validation, report
        )  # fmt: skip


def assert_near(found, expected):
    (model, figures), (other, other_figures) = found, expected
    state, other_state = model.state_dict(), other.state_dict()
    assert list(state) == list(other_state)
    for name in state:
        assert torch.allclose(state[name], other_state[name], rtol=2e-4, atol=2e-5), name
    assert figures == pytest.approx(other_figures, abs=1e-4)


SGD = {"optimizer": "sgd", "learning_rate": 0.05}
CASES = {
    "mlp": (MLP, {}),
    "mlp, sgd, clipped": (MLP, {**SGD, "clip_norm": 0.3}),
    "mlp, augmented": (MLP, {"augment": {"view": "affine"}}),
    "cnn with BatchNorm": (ModelSpec("member", "cnn", SHAPE, 4, {"widths": [4, 8]}), SGD),
    "resnet20 with BatchNorm": (ModelSpec("member", "resnet20", SHAPE, 4, {"width": 4, "blocks_per_stage": 1}), SGD),
}


@pytest.mark.parametrize("case", CASES)
def test_a_stacked_member_is_what_it_would_be_alone(tmp_path, case):
    bench = Bench(tmp_path, CASES[case][0], **CASES[case][1])
    seen, seen_alone = [], []
    found = bench.stacked(bench.slots(), seen.append)
    for member, result in zip(MEMBERS, found, strict=True):
        assert_near(result, bench.alone(member, report=seen_alone.append))
    seen.sort(key=lambda figures: (figures["member"], figures["epoch"]))
    assert [list(figures) for figures in seen] == [list(figures) for figures in seen_alone]
    for figures, expected in zip(seen, seen_alone, strict=True):
        assert figures == pytest.approx(expected, abs=1e-4)


def test_members_of_a_stack_have_rows_of_their_own(tmp_path):
    bench, left_out = Bench(tmp_path), {0: 7, 3: 11, 4: 12}
    found = bench.stacked(bench.slots(left_out=left_out))
    for member, result in zip(MEMBERS, found, strict=True):
        assert_near(result, bench.alone(member, left_out=left_out[member]))


@pytest.mark.parametrize("killed_after", [1, 5])
def test_a_killed_stack_goes_on_alone_and_as_another_stack(tmp_path, killed_after):
    """Killed in its first epoch, or before the second epoch's checkpoints."""
    bench, seen = Bench(tmp_path), []
    whole = [bench.alone(member, "whole") for member in MEMBERS]

    def die(figures):
        seen.append(figures)
        if len(seen) == killed_after:
            raise Killed

    with pytest.raises(Killed):
        bench.stacked(bench.slots(), die)
    again = []
    alone = bench.alone(0, "stacked", report=again.append)
    pair = bench.stacked(bench.slots((3, 4)), again.append)
    first = 1 if killed_after <= len(MEMBERS) else 2
    assert [figures["epoch"] for figures in again if figures["member"] != 4] == 2 * list(range(first, 3))
    for result, expected in zip([alone, *pair], whole, strict=True):
        assert_near(result, expected)


def test_members_begun_alone_are_stacked_with_those_as_far_as_they(tmp_path):
    bench = Bench(tmp_path)

    def die(figures):
        if figures["epoch"] == 2:
            raise Killed

    for member in (3, 4):
        with pytest.raises(Killed):
            bench.alone(member, "stacked", report=die)
    groups = [[slot.member for slot in stack] for stack in stacks(bench.slots((0, 3, 4, 5)), 8)]
    assert groups == [[3, 4], [0, 5]]
    for member, result in zip((3, 4), bench.stacked(bench.slots((3, 4))), strict=True):
        assert_near(result, bench.alone(member))


def test_stacks_hold_equally_many_rows_and_no_more_members_than_asked_for(tmp_path):
    bench = Bench(tmp_path)
    slots = bench.slots(tuple(range(5)))
    assert [len(stack) for stack in stacks(slots, 2)] == [2, 2, 1]
    uneven = [StackSlot(0, torch.arange(51), slots[0].checkpoints), *slots[1:]]
    assert [[slot.member for slot in stack] for stack in stacks(uneven, 8)] == [[1, 2, 3, 4], [0]]


def test_each_member_is_clipped_by_its_own_norm():
    weights = [nn.Parameter(torch.zeros(2, 3)), nn.Parameter(torch.zeros(2))]
    weights[0].grad, weights[1].grad = torch.tensor([[3.0, 0, 0], [0.3, 0, 0]]), torch.tensor([4.0, 0.4])
    clip_each_member(weights, 1.0)
    assert weights[0].grad[:, 0].tolist() == pytest.approx([0.6, 0.3], rel=1e-5)
    assert weights[1].grad.tolist() == pytest.approx([0.8, 0.4], rel=1e-5)


# how many


def dropping_out(input_shape, num_outputs):
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5))
    return Network(body, nn.Linear(8, num_outputs), 8)


def size(bench, most=4):
    return stack_size(bench.settings, most, bench.member_spec, bench.train)


def test_the_number_asked_for_is_taken(tmp_path):
    assert size(Bench(tmp_path)) == 1
    assert size(Bench(tmp_path, stack_size=3)) == 3
    assert size(Bench(tmp_path, stack_size=9)) == 4


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ({1: 1.0, 2: 1.1, 4: 1.5, 7: 2.0}, 7),
        ({1: 1.0, 2: 1.1, 4: 2.19}, 2),
        ({1: 1.0, 2: 2.0}, 1),
        ({1: 9.0}, 1),
        ({1: 0.1, 2: 0.1, 4: 5.0}, 2),
        ({1: 1.0, 2: 1.0, 4: None}, 2),
    ],
    ids=["all pay", "4 gain too little", "2 do not pay", "too slow to try", "4 are worse", "4 do not fit"],
)
def test_the_fastest_size_is_found(tmp_path, monkeypatch, seconds, expected):
    def measured(members, settings, train, task):
        found = seconds[len(members)]
        if found is None:
            raise torch.OutOfMemoryError
        return [found * (0.1 if seconds[1] == 1.0 else 1.0)]

    monkeypatch.setattr("hydra_ray.training.stack_size.step_times", measured)
    assert size(Bench(tmp_path, stack_size="auto"), most=7) == expected


def test_the_measurement_runs(tmp_path):
    assert 1 <= size(Bench(tmp_path, stack_size="auto")) <= 4


def test_networks_that_draw_random_numbers_are_not_stacked(tmp_path):
    spec = ModelSpec("member", f"{__name__}:dropping_out", SHAPE, 4)
    assert size(Bench(tmp_path, spec, stack_size="auto")) == 1
    with pytest.raises(UserError, match=r"stack_size=3: .*cannot be stacked \(it draws random numbers"):
        size(Bench(tmp_path, spec, stack_size=3))


def test_how_members_are_made_does_not_make_them_stale(tmp_path):
    words = ([], ["ensemble.stack_size=auto", "ensemble.compile=true"])
    runs = [Run(load_config("configs/digits.yaml", [f"storage={tmp_path}", *given])) for given in words]
    assert runs[0].member(0).fingerprint == runs[1].member(0).fingerprint
