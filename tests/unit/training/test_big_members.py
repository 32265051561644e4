"""Members that several workers train together: as one worker would, in copies or in parts, and resumed in either."""

from dataclasses import replace

import pytest
import torch
from helpers.bits import assert_same_bits
from helpers.checkpoints import checkpoints_in
from helpers.mortal import Killed
from helpers.ranks import on_ranks
from helpers.shards import synthetic
from torch.distributed.tensor import DTensor

from hydra_ray.config.load import validate
from hydra_ray.errors import DivergedError
from hydra_ray.models.members import ModelSpec
from hydra_ray.tasks import CLASSIFICATION, REGRESSION
from hydra_ray.training.loop import DistributedContext, TrainState
from hydra_ray.training.member import LabelledRows, MemberSpec, fit_member

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
SHAPE, CLASSES = (8, 8, 1), 4
MLP = ModelSpec("member", "mlp", SHAPE, CLASSES, {"hidden": [8, 8]})
CNN = ModelSpec("member", "cnn", SHAPE, CLASSES, {"widths": [4, 6], "norm": "group"})
BATCH_NORM = replace(CNN, options={"widths": [4, 6]})
SGD = {"optimizer": "sgd", "learning_rate": 0.05}
CASES = {
    "mlp": (MLP, SGD),
    "mlp, AdamW": (MLP, {}),
    "mlp, clipped": (MLP, {**SGD, "clip_norm": 0.1}),
    "cnn": (CNN, SGD),
    "rows of a batch are mixed": (CNN, {**SGD, "augment": {"view": "mixup", "options": {}}}),
    "batches do not divide": (MLP, {**SGD, "batch_size": 15}),
    "head alone": (CNN, {**SGD, "train": "head"}),
    "regression": (replace(MLP, num_outputs=2, output="gaussian"), SGD),
    "regression, one variance": (replace(MLP, num_outputs=1, output="mean"), SGD),
}
OF_RANKS_ALONE = {
    "bfloat16": (CNN, {**SGD, "precision": "bfloat16"}),
    "BatchNorm": (BATCH_NORM, SGD),
}


def labelled(spec, num_rows, seed=0):
    rows = synthetic(num_rows, seed=seed, shape=SHAPE)
    inputs = torch.from_numpy(rows.inputs)
    is_regression = spec.output != "logits"
    labels = inputs.float().mean((1, 2, 3)) if is_regression else torch.from_numpy(rows.labels)
    return LabelledRows(torch.from_numpy(rows.row_id), inputs, labels)


def settings_of(**changed):
    tree = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01, "workers_per_member": 2, **changed}
    cluster = {"num_workers": 2}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree, "cluster": cluster}, "here").ensemble


def member(number, spec, changed, place, ranks=DistributedContext(), report=lambda _: None, tick=None):  # noqa: B008
    settings = settings_of(**changed)
    train = labelled(spec, 52)
    task = CLASSIFICATION if spec.output == "logits" else REGRESSION
    built = MemberSpec.of(task, spec, train.inputs.numpy(), train.labels.numpy())
    built = built.of_group(spec, has_fixed_body=settings.train == "head")
    folder = replace(checkpoints_in(place), is_writer=ranks.is_first)
    model, figures = fit_member(
        number, settings, 5, built, train, labelled(spec, 20, seed=1), folder, report, tick, ranks
    )
    assert type(model).__name__ == "Member", "whoever gets it sees no difference"
    return {name: value.clone() for name, value in model.state_dict().items()}, figures


def fits_of_teams(ranks, place):
    """Five ranks make two teams of two and one rank that is left over; each team trains a member of its number."""
    team = ranks.team(2)
    found = {"team": (team.number, team.num_teams, None if team.ranks is None else team.ranks.rank)}
    if team.ranks is None:
        return found
    for name, (spec, changed) in {**CASES, **OF_RANKS_ALONE}.items():
        for strategy in ("ddp", "fsdp"):
            reported = []
            where = place / f"{name}-{strategy}-{team.number}"
            how = {**changed, "strategy": strategy}
            fitted = member(team.number, spec, how, where, team.ranks, reported.append)
            found[name, strategy] = (*fitted, [each["loss"] for each in reported])
    return found


@pytest.fixture(scope="module")
def teams(tmp_path_factory):
    return on_ranks(5, fits_of_teams, tmp_path_factory.mktemp("teams"))


def test_ranks_make_as_many_teams_as_are_full(teams):
    assert [found["team"] for found in teams] == [(0, 2, 0), (0, 2, 1), (1, 2, 0), (1, 2, 1), (2, 2, None)]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", CASES)
def test_a_team_takes_the_steps_of_one_worker(teams, tmp_path, name, strategy):
    """AdamW divides a gradient by its own size, so that rounding decides where the true one is about zero."""
    spec, changed = CASES[name]
    for number in (0, 1):
        reported = []
        alone, figures = member(number, spec, changed, tmp_path / str(number), report=reported.append)
        first, second = (teams[2 * number + rank][name, strategy] for rank in (0, 1))
        assert_same_bits(first[0], second[0])
        tolerance = 1e-3 if "AdamW" in name else 1e-5
        for key, value in alone.items():
            torch.testing.assert_close(first[0][key], value, rtol=0, atol=tolerance)
        assert first[1] == pytest.approx(figures, rel=1e-3, abs=1e-5)
        assert first[2] == pytest.approx([each["loss"] for each in reported], rel=1e-4)
        assert second[2] == [], "one of a team reports"


@pytest.mark.parametrize("name", [*CASES, *OF_RANKS_ALONE])
def test_parts_end_as_copies_do(teams, name):
    for rank in range(4):
        copies, parts = (teams[rank][name, strategy][0] for strategy in ("ddp", "fsdp"))
        assert list(parts) == list(copies)
        for key, value in copies.items():
            if rank % 2 == 0 or "running" not in key:  # BatchNorm's statistics are the first rank's, which is published
                torch.testing.assert_close(parts[key], value, rtol=0, atol=1e-5)


def resumed(ranks, place, optimizer):
    """A member that is trained without interruption, with one, and with two after which strategies change."""
    found = {}
    for name, lives in {
        "whole": [("fsdp", None)],
        "killed": [("fsdp", 5), ("fsdp", None)],
        "changed": [("ddp", 4), ("fsdp", 8), ("ddp", None)],
    }.items():
        for strategy, last in lives:
            changed = {"optimizer": optimizer, "learning_rate": 0.05, "epochs": 3, "strategy": strategy}
            steps = []

            def tick(done, total, last=last, steps=steps):
                steps.append(done)
                if done == last:
                    raise Killed

            try:
                found[name] = (member(0, CNN, changed, place / name, ranks, tick=tick)[0], steps)
            except Killed:
                continue
    return found


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_checkpoint_is_whole_and_goes_on_in_copies_or_in_parts(tmp_path, optimizer):
    for found in on_ranks(2, resumed, tmp_path, optimizer):
        assert [found[name][1][0] for name in ("whole", "killed", "changed")] == [1, 4, 7]
        assert_same_bits(found["killed"][0], found["whole"][0])
        for key, value in found["whole"][0].items():
            torch.testing.assert_close(found["changed"][0][key], value, rtol=0, atol=1e-5)


def parts_of(ranks):
    """Bytes of weights and of optimiser state that a rank has for itself, and those of the whole."""
    model = MemberSpec.of(CLASSIFICATION, MLP, labelled(MLP, 8).inputs.numpy(), labelled(MLP, 8).labels.numpy()).build(
        0
    )
    whole = sum(each.nbytes for each in model.parameters())
    settings = settings_of(strategy="fsdp")
    state = TrainState(model, settings, num_steps=2, seed=0, ranks=ranks, device=torch.device("cpu"))
    state.begin_step()
    state.forward(labelled(MLP, 8).inputs[ranks.rank :: 2]).square().mean().backward()
    state.update()
    moments = [each for entry in state._optimizer.state.values() for name, each in entry.items() if name != "step"]
    weights = list(model.parameters())
    assert all(isinstance(each, DTensor) for each in [*weights, *moments])
    local = [sum(each.to_local().nbytes for each in tensors) for tensors in (weights, moments)]
    blocks = [type(each).__name__ for each in model.network.body if isinstance(next(each.parameters(), None), DTensor)]
    return whole, local, blocks


def test_a_rank_keeps_half_of_weights_and_of_the_optimisers_state():
    for whole, (weights, moments), blocks in on_ranks(2, parts_of):
        assert (weights, moments) == (whole / 2, whole)  # two moments a weight
        assert blocks == ["FSDPLinear", "FSDPLinear"], "block by block"


def diverging(ranks, place, strategy):
    """A member of a loss that is not finite, on every rank."""
    try:
        member(0, MLP, {"learning_rate": 1e30, "strategy": strategy}, place, ranks)
    except DivergedError as error:
        return str(error)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_member_that_diverges_stops_all_of_its_team_at_one_step(tmp_path, strategy):
    first, second = on_ranks(2, diverging, tmp_path, strategy)
    assert first == second
    assert first.startswith("member 0: ")
    assert "lower ensemble.learning_rate" in first
