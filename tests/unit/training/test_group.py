"""Members that are trained together: by the objective's own gradients, resumed as one, and as different as it asks."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed
from helpers.shards import synthetic
from torch.multiprocessing.spawn import spawn

from hydra_ray.config.load import validate
from hydra_ray.errors import DivergedError
from hydra_ray.losses import group_objectives as objectives
from hydra_ray.models.members import ModelSpec
from hydra_ray.randomness import seed_of
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.group import ALONE, Together, fit_group
from hydra_ray.training.loop import DistributedContext, TrainState, learning_rate
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member, order_of

SHAPE = (8, 8, 1)
MEMBERS = range(3, 6)
KINDS = [
    {"kind": "joint"},
    {"kind": "negative_correlation", "weight": 0.9},
    {"kind": "adp"},
    {"kind": "trs", "num_steps": 2},
]

pytestmark = pytest.mark.usefixtures("one_thread")


class Bench:
    """Rows, settings and folders of one fit."""

    def __init__(self, place, objective, **changed):
        tree = {
            "epochs": 2, "batch_size": 16, "learning_rate": 0.02, "num_members": 6, "group_size": 3,
            "objective": objective, **changed,
        }  # fmt: skip
        self.settings = validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble
        self.place = place
        self.train, self.validation = (self._rows(number, seed) for number, seed in ((52, 0), (20, 1)))
        spec = ModelSpec("member", "mlp", SHAPE, 4, {"hidden": [8]})
        self.member_spec = MemberSpec.of(CLASSIFICATION, spec, self.train.inputs.numpy(), self.train.labels.numpy())

    def _rows(self, number, seed):
        rows = synthetic(number, seed=seed, shape=SHAPE)
        row_id, inputs, labels = (torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels))
        return LabelledRows(row_id, inputs, labels)

    def fit(self, kind="group", report=lambda figures: None, members=MEMBERS, ranks=ALONE):
        folder = checkpoints_in(self.place / kind, owner="3")
        folder = replace(folder, is_writer=ranks.is_first)
        return fit_group(
            members, self.settings, 5, self.member_spec, self.train, self.validation, folder, report, ranks=ranks
        )

    def logits(self, fitted):
        with torch.no_grad():
            return torch.stack([model(self.validation.inputs) for model, _ in fitted])


def states(fitted):
    return [model.state_dict() for model, _ in fitted]


def same(one, other):
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


@pytest.mark.parametrize("objective", KINDS, ids=lambda each: each["kind"])
def test_steps_are_those_of_a_plain_loop(tmp_path, objective):
    """AdamW from each member's own start, over the first member's order of rows, down the mean of the row losses."""
    bench = Bench(tmp_path, objective, epochs=1)
    settings = bench.settings
    found = states(bench.fit())
    members = [bench.member_spec.build(seed_of(5, "member weights", number)).train() for number in MEMBERS]
    parameters = [each for member in members for each in member.parameters()]
    optimizer = torch.optim.AdamW(parameters, settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    assert settings.objective is not None
    loss_of = objectives.group_loss(settings.objective, "classification")
    order = order_of(52, 5, MEMBERS[0], 0)
    for step in range(3):
        rows = order[16 * step : 16 * step + 16]
        optimizer.param_groups[0]["lr"] = learning_rate(settings, step, 3)
        optimizer.zero_grad()
        inputs = torch.stack([member.normalise(bench.train.inputs[rows]) for member in members])

        def forward(inputs_KB):
            return torch.stack([member.after_normalise(x) for member, x in zip(members, inputs_KB, strict=True)])

        loss_of(forward, inputs, bench.train.labels[rows], step / 3)[0].mean().backward()
        optimizer.step()
    for state, member in zip(found, members, strict=True):
        for name, value in member.state_dict().items():
            assert torch.allclose(state[name], value, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("objective", KINDS, ids=lambda each: each["kind"])
def test_a_killed_group_resumes_as_one_and_nothing_is_different(tmp_path, objective):
    bench = Bench(tmp_path, objective)
    whole = bench.fit("whole")

    def die(figures):
        if (figures["member"], figures["epoch"]) == (MEMBERS[0], 2):
            raise Killed

    with pytest.raises(Killed):
        bench.fit("killed", report=die)
    reported = []
    again = bench.fit("killed", report=reported.append)
    assert {each["epoch"] for each in reported} == {2}
    assert same(states(again), states(whole))
    assert [figures for _, figures in again] == [figures for _, figures in whole]


def test_a_group_that_had_finished_gives_the_same_members_again(tmp_path):
    bench = Bench(tmp_path, {"kind": "adp"})
    first = bench.fit()
    reported = []
    assert same(states(bench.fit(report=reported.append)), states(first))
    assert reported == []


def test_members_start_as_they_would_alone(tmp_path):
    bench = Bench(tmp_path, {"kind": "joint"}, learning_rate=1e-30, weight_decay=0.0)
    fitted = states(bench.fit())
    starts = [bench.member_spec.build(seed_of(5, "member weights", number)).state_dict() for number in MEMBERS]
    assert same(fitted, starts)


def test_every_member_is_reported_with_its_own_loss(tmp_path):
    reported = []
    bench = Bench(tmp_path, {"kind": "negative_correlation"}, epochs=3)
    bench.fit(report=reported.append)
    assert [(each["epoch"], each["member"]) for each in reported] == [
        (epoch, member) for epoch in (1, 2, 3) for member in MEMBERS
    ]
    for member in MEMBERS:
        losses = [each["loss"] for each in reported if each["member"] == member]
        assert 0 < losses[-1] < losses[0] < 3 * math.log(4)
    assert len({each["loss"] for each in reported}) == len(reported)


def fitted_by(place, objective, **changed):
    bench = Bench(place, objective, epochs=8, **changed)
    return bench, bench.logits(bench.fit())


def test_adp_spreads_what_members_say_of_the_other_classes(tmp_path):
    bench, plain = fitted_by(tmp_path / "0", {"kind": "adp", "entropy_weight": 0.0, "volume_weight": 0.0})
    _, spread = fitted_by(tmp_path / "1", {"kind": "adp"})
    labels = bench.validation.labels
    volumes = [objectives.log_volume(logits, labels).mean() for logits in (plain, spread)]
    entropies = [objectives.mean_entropy(logits).mean() for logits in (plain, spread)]
    assert volumes[1] > volumes[0] + 0.5
    assert entropies[1] > entropies[0]


def test_negative_correlation_keeps_members_apart(tmp_path):
    def distance(logits):
        p = logits.softmax(-1)
        return (p - p.mean(0)).square().sum(-1).mean()

    _, near = fitted_by(tmp_path / "0", {"kind": "negative_correlation", "weight": 1e-9})
    _, apart = fitted_by(tmp_path / "1", {"kind": "negative_correlation", "weight": 1.0})
    assert distance(apart) > 1.2 * distance(near)


def test_trs_makes_losses_smooth(tmp_path):
    def slope(place, **weights):
        bench = Bench(place, {"kind": "trs", "num_steps": 2, **weights}, epochs=8)
        members = Together([model for model, _ in bench.fit()]).eval()
        rows = bench.member_spec.normalise(bench.validation.inputs).expand(3, -1, -1, -1, -1).clone().requires_grad_()
        loss = objectives.each_cross_entropy(members(rows), bench.validation.labels).sum()
        return torch.autograd.grad(loss, rows)[0].flatten(2).norm(dim=-1).mean()

    rough = slope(tmp_path / "0", cosine_weight=0.0, smoothness_weight=0.0)
    assert slope(tmp_path / "1", cosine_weight=0.0) < 0.7 * rough


def test_gradients_are_clipped_by_each_members_own_norm(tmp_path):
    bench = Bench(tmp_path, {"kind": "adp"}, epochs=1, clip_norm=1e-9, optimizer="sgd", weight_decay=0.0)
    fitted = states(bench.fit())
    starts = [bench.member_spec.build(seed_of(5, "member weights", number)).state_dict() for number in MEMBERS]
    for state, start in zip(fitted, starts, strict=True):
        assert all(torch.allclose(state[name], start[name], atol=1e-9) for name in state)


def test_a_regression_is_trained_together_too(tmp_path):
    """Negative correlation 1 with one variance is the squared error of the mean, whatever the members are."""
    bench = Bench(tmp_path, {"kind": "joint"}, epochs=6)
    inputs = bench.train.inputs
    targets = inputs.float().mean((1, 2, 3))
    spec = ModelSpec("member", "mlp", SHAPE, 2, {"hidden": [8]}, output="gaussian")
    bench.member_spec = MemberSpec.of(REGRESSION, spec, inputs.numpy(), targets.numpy())
    bench.train = LabelledRows(bench.train.row_id, inputs, targets)
    bench.validation = bench.train.at(torch.arange(20))
    for kind in ("joint", "negative_correlation"):
        reported = []
        bench.settings = Bench(tmp_path, {"kind": kind}, epochs=6).settings
        bench.fit(kind, report=reported.append)
        by_epoch = [sum(each["loss"] for each in reported if each["epoch"] == epoch) for epoch in (1, 6)]
        assert by_epoch[1] < by_epoch[0], kind


def test_a_loss_that_is_not_finite_names_the_member(tmp_path):
    bench = Bench(tmp_path, {"kind": "adp"}, learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"member 3: .* not finite .*lower ensemble.learning_rate"):
        bench.fit()


def test_weights_that_are_not_finite_name_their_member(tmp_path, monkeypatch):
    """A bad step behind a finite loss: the watch looks at each member's weights before a checkpoint is written."""
    update = TrainState.update

    def spoil(state):
        update(state)
        with torch.no_grad():
            next(state.model.members[1].parameters()).fill_(torch.nan)

    monkeypatch.setattr(TrainState, "update", spoil)
    bench = Bench(tmp_path, {"kind": "joint"}, batch_size=52, epochs=1)
    with pytest.raises(DivergedError, match=r"^member 4: weights are not finite after step 1 of epoch 1"):
        bench.fit()


def test_alone_or_together_it_is_another_training(tmp_path):
    bench = Bench(tmp_path, {"kind": "adp", "entropy_weight": 0.0, "volume_weight": 0.0})
    (first, _), *_ = bench.fit()
    alone, _ = fit_member(
        3, bench.settings, 5, bench.member_spec, bench.train, bench.validation,
        checkpoints_in(tmp_path / "alone", owner="3"), lambda figures: None,
    )  # fmt: skip
    for name, value in alone.state_dict().items():  # the same rows in the same order, and no term between members
        assert torch.allclose(first.state_dict()[name], value, rtol=1e-4, atol=1e-5), name


def on_rank(rank, place):
    """All kinds of groups on one of two ranks; what it ends with, and what it reported, in a file."""
    torch.set_num_threads(1)
    meet = f"file://{place}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    found = {}
    for objective in KINDS:
        reported = []
        bench = Bench(place / objective["kind"], objective, batch_size=15, clip_norm=1.0)
        fitted = bench.fit(report=reported.append, ranks=DistributedContext(rank, 2))
        found[objective["kind"]] = (states(fitted), [each["loss"] for each in reported])
    torch.save(found, place / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    place = tmp_path_factory.mktemp("ranks")
    spawn(on_rank, (place,), nprocs=2)
    return [torch.load(place / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("objective", KINDS, ids=lambda each: each["kind"])
def test_two_ranks_reach_what_one_does_with_batches_that_do_not_divide(two_ranks, tmp_path, objective):
    reported = []
    alone = states(Bench(tmp_path, objective, batch_size=15, clip_norm=1.0).fit(report=reported.append))
    (first, losses), (second, unreported) = (each[objective["kind"]] for each in two_ranks)
    assert same(first, second)
    assert unreported == []
    assert losses == pytest.approx([each["loss"] for each in reported], rel=1e-4)
    for state, expected in zip(first, alone, strict=True):
        for name, value in expected.items():
            assert torch.allclose(state[name], value, rtol=1e-3, atol=2e-4), name
