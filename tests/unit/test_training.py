"""Fitting members and students: the same bits after an interruption, the same weights on two ranks as on one."""

from itertools import count, pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.shards import synthetic, write, write_views
from helpers.two_ranks import on_two_ranks, student_of
from torch import nn

from hydra_ray.batches import BatchReader
from hydra_ray.config import Optimisation, validate
from hydra_ray.ensemble import Blueprint, LabelledRows, fit_member
from hydra_ray.models.members import ModelSpec
from hydra_ray.storage import Folder
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training import Fitting, learning_rate

pytestmark = pytest.mark.usefixtures("one_thread")


class Killed(BaseException):
    """The process is gone."""


def assert_equal(one, two):
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


# Fitting


def small_model(seed=0, dropout=0.5):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def data(step):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(16, 6, generator=generator), torch.randint(0, 3, (16,), generator=generator)


def settings(**changed):
    return Optimisation(**{"learning_rate": 0.05, "weight_decay": 0.01, "warmup_share": 0.2, **changed})


def fitted(fitting, until):
    for step in range(fitting.num_done, until):
        inputs, labels = data(step)
        fitting.step(F.cross_entropy, inputs, labels)
    return fitting


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stop_at", [0, 1, 5, 9])
def test_a_fit_that_is_continued_has_the_bits_of_one_that_was_not_interrupted(optimizer, stop_at):
    how = settings(optimizer=optimizer, clip_norm=1.0)
    whole = fitted(Fitting(small_model(), how, num_steps=10, seed=3), 10)
    begun = fitted(Fitting(small_model(), how, num_steps=10, seed=3), stop_at)
    again = Fitting(small_model(seed=9), how, num_steps=10, seed=3)
    again.load_bytes(begun.to_bytes())
    assert again.num_done == stop_at
    assert_equal(fitted(again, 10).model.state_dict(), whole.model.state_dict())


def test_dropout_draws_anew_at_each_step_and_from_the_seed():
    one, two, other = (fitted(Fitting(small_model(), settings(), num_steps=4, seed=seed), 4) for seed in (1, 1, 2))
    assert_equal(one.model.state_dict(), two.model.state_dict())
    assert not torch.equal(one.model[0].weight, other.model[0].weight)
    plain = [fitted(Fitting(small_model(dropout=0.0), settings(), num_steps=4, seed=seed), 4) for seed in (1, 2)]
    assert_equal(plain[0].model.state_dict(), plain[1].model.state_dict())


def test_the_learning_rate_warms_up_and_ends_at_zero():
    how = settings(learning_rate=0.1, warmup_share=0.25)
    rates = [learning_rate(how, step, 40) for step in range(41)]
    np.testing.assert_allclose(rates[:10], 0.1 * np.arange(1, 11) / 10)
    assert rates[10] == max(rates) == 0.1
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    np.testing.assert_allclose(rates[25], 0.05)
    assert abs(rates[40]) < 1e-12


@pytest.mark.parametrize("num_steps", [1, 2, 3])
def test_the_shortest_fits_have_a_learning_rate(num_steps):
    rates = [learning_rate(settings(warmup_share=0.9), step, num_steps) for step in range(num_steps)]
    assert all(0 < rate <= 0.05 for rate in rates)


def test_the_rate_of_a_step_is_the_schedule_s():
    """SGD's first step without momentum's past: the weights move by the rate times (1 + 0.9) gradients."""
    fitting = Fitting(small_model(dropout=0.0), settings(optimizer="sgd", weight_decay=0.0), num_steps=10, seed=0)
    before = fitting.model[4].bias.detach().clone()
    inputs, labels = data(0)
    fitting.step(F.cross_entropy, inputs, labels)
    moved = before - fitting.model[4].bias.detach()
    torch.testing.assert_close(moved, learning_rate(fitting.settings, 0, 10) * 1.9 * fitting.model[4].bias.grad)


def test_gradients_are_clipped():
    def norm(clip_norm):
        fitting = Fitting(small_model(), settings(clip_norm=clip_norm), num_steps=4, seed=0)
        inputs, labels = data(0)
        fitting.step(lambda outputs, labels: 1000 * F.cross_entropy(outputs, labels), inputs, labels)
        return float(sum(each.grad.square().sum() for each in fitting.model.parameters()) ** 0.5)

    assert norm(None) > 10
    assert norm(0.5) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
def test_precision(precision):
    seen = []
    model = nn.Sequential(nn.Linear(6, 3))
    model[0].register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    inputs, labels = data(0)
    loss = Fitting(model, settings(precision=precision), num_steps=1, seed=0).step(F.cross_entropy, inputs, labels)
    assert seen == [torch.bfloat16 if precision == "bfloat16" else torch.float32]
    assert loss.dtype == torch.float32
    assert not loss.requires_grad


# members


SPEC = ModelSpec("member", "mlp", (4, 4, 1), 4, {"hidden": [8]})


def labelled(num_rows, seed=0):
    rows = synthetic(num_rows, seed=seed)
    return LabelledRows(*(torch.from_numpy(part) for part in (rows.row_id, rows.inputs, rows.labels)))


def ensemble_settings(**changed):
    tree = {"epochs": 3, "batch_size": 16, "learning_rate": 0.01, **changed}
    return validate({"name": "x", "data": {"source": "digits"}, "ensemble": tree}, "here").ensemble


def member(folder, number=0, report=lambda figures: None, **changed):
    train = labelled(70)
    blueprint = Blueprint.of(CLASSIFICATION, SPEC, train.inputs.numpy(), train.labels.numpy())
    model, figures = fit_member(
        number, ensemble_settings(**changed), 5, blueprint, train, labelled(30, seed=1), folder, report
    )
    return model.state_dict(), figures


def places(tmp_path):
    return (Folder.open(str(tmp_path / f"attempt-{number}")) for number in count())


AUGMENT = {"augment": {"view": "affine", "options": {}}}


@pytest.mark.parametrize("options", [{}, {"optimizer": "sgd"}, AUGMENT], ids=["adamw", "sgd", "augment"])
@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_a_killed_member_goes_on_at_its_last_epoch_with_the_same_bits(tmp_path, options, killed_after):
    folders = places(tmp_path)
    whole, figures = member(next(folders), **options)
    attempt, seen = next(folders), []

    def die(figures):
        seen.append(figures["epoch"])
        if len(seen) == killed_after:
            raise Killed

    with pytest.raises(Killed):
        member(attempt, report=die, **options)
    again = member(attempt, report=lambda figures: seen.append(figures["epoch"]), **options)
    assert seen == [*range(1, killed_after + 1), *range(killed_after, 4)], "the epoch it was in is all it lost"
    assert_equal(again[0], whole)
    assert again[1] == figures


def test_a_member_that_was_fitted_but_not_published_is_not_fitted_again(tmp_path):
    folder = next(places(tmp_path))
    whole, figures = member(folder)
    seen = []
    again = member(folder, report=seen.append)
    assert seen == []
    assert_equal(again[0], whole)
    assert again[1] == figures


def test_members_differ_and_do_not_depend_on_each_other_or_on_their_order(tmp_path):
    folders = places(tmp_path)
    forwards = [member(next(folders), number)[0] for number in (0, 1)]
    torch.manual_seed(1234)
    backwards = [member(next(folders), number)[0] for number in (1, 0)]
    assert_equal(forwards[0], backwards[1])
    assert_equal(forwards[1], backwards[0])
    assert not torch.equal(forwards[0]["network.head.weight"], forwards[1]["network.head.weight"])


def test_members_learn_and_say_how_well(tmp_path):
    seen = []
    figures = member(next(places(tmp_path)), report=seen.append, epochs=25)[1]
    assert [each["epoch"] for each in seen] == list(range(1, 26))
    assert seen[-1]["loss"] < 0.5 * seen[0]["loss"]
    assert figures == {name: seen[-1][name] for name in figures}


# students


NUM_ROWS, BATCH = 44, 12  # 2 views of 44 rows: 7 steps an epoch, the last 4 rows left out


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Transfer set (two views) and validation rows with four members' logits."""
    folder = Folder.open(str(tmp_path_factory.mktemp("shards")))
    transfer, validation = folder / "transfer", folder / "validation"
    write_views(transfer, 2, num_rows=NUM_ROWS, members=4)
    write(validation, "part-000-00000.parquet", synthetic(20, members=4, seed=0, view=7))
    return transfer, validation


def config(**distill):
    tree = {
        "body_options": {"hidden": [8]}, "epochs": 2, "mean_epochs": 1, "batch_size": BATCH, "learning_rate": 0.01,
        "head_width": 4, "checkpoint_every": 2, **distill,
    }  # fmt: skip
    return validate(
        {"name": "x", "data": {"source": "digits"}, "ensemble": {"num_members": 4}, "distill": tree}, "here"
    )


class Dying(BatchReader):
    """Batches until the end of a life, which is the class's."""

    left = 0

    def batches(self, epoch, start=0):
        for batch in super().batches(epoch, start):
            if Dying.left == 0:
                raise Killed
            Dying.left -= 1
            yield batch


@pytest.mark.parametrize("kind", ["kd", "hydra"])
@pytest.mark.parametrize("killed_after", [0, 1, 3, 6, 7, 8, 13, 20])
def test_a_killed_student_goes_on_within_its_epoch_with_the_same_bits(shards, tmp_path, kind, killed_after):
    """7 steps of phase 1, then 14 of phase 2; a checkpoint at every second of a phase and at the end of epochs."""
    whole = student_of(config(), kind, *shards)
    attempt, seen = Folder.open(str(tmp_path)), []
    Dying.left = killed_after
    with pytest.raises(Killed):
        student_of(config(), kind, *shards, checkpoints=attempt, reader=Dying)
    Dying.left = 100
    again = student_of(config(), kind, *shards, checkpoints=attempt, reader=Dying, report=seen.append)
    assert_equal(again, whole)
    assert killed_after + (100 - Dying.left) - 21 in (0, 1), "at most one step is taken twice"
    assert seen[-1]["step"] == 21
    assert [each["epoch"] for each in seen] == list(range(killed_after // 7 + 1, 4))


@pytest.mark.parametrize("kind", ["kd", "hydra"])
def test_a_student_killed_twice(shards, tmp_path, kind):
    attempt = Folder.open(str(tmp_path))
    for life in (5, 9):
        Dying.left = life
        with pytest.raises(Killed):
            student_of(config(), kind, *shards, checkpoints=attempt, reader=Dying)
    assert_equal(student_of(config(), kind, *shards, checkpoints=attempt), student_of(config(), kind, *shards))


def test_checkpoints_do_not_change_a_student(shards, tmp_path):
    plain = student_of(config(), "hydra", *shards)
    often = student_of(config(checkpoint_every=1), "hydra", *shards, checkpoints=Folder.open(str(tmp_path)))
    assert_equal(plain, often)


@pytest.mark.parametrize("kind", ["kd", "hydra", "end2", "proxy_end2"])
def test_every_kind_takes_the_same_number_of_steps(shards, kind):
    seen = []
    Dying.left = 100
    student_of(config(), kind, *shards, reader=Dying, report=seen.append)
    assert 100 - Dying.left == 3 * 7
    assert [each["step"] for each in seen] == [7, 14, 21]
    assert all(np.isfinite(each["loss"]) for each in seen)


def test_a_hydra_learns_the_mean_then_its_members(shards):
    seen = []
    state = student_of(config(epochs=40, mean_epochs=10), "hydra", *shards, report=seen.append)
    assert [each["phase"] for each in seen] == ["mean"] * 10 + ["heads"] * 40
    heads = {name: value.shape[0] for name, value in state.items() if name.startswith("heads.")}
    assert set(heads.values()) == {4}
    phases = [[each["loss"] for each in seen if each["phase"] == name] for name in ("mean", "heads")]
    assert all(losses[-1] < losses[0] for losses in phases)
    assert "validation_member_kl" not in seen[9]
    assert seen[-1]["validation_member_kl"] < seen[10]["validation_member_kl"]


def test_without_epochs_of_the_mean_heads_learn_at_once(shards):
    seen = []
    student_of(config(mean_epochs=0), "hydra", *shards, report=seen.append)
    assert [each["phase"] for each in seen] == ["heads", "heads"]


def test_a_student_of_the_first_members_does_not_know_the_others(shards, tmp_path):
    few = Folder.open(str(tmp_path))
    for split, source in (("transfer", shards[0]), ("validation", shards[1])):
        for name in source.files():
            write(few / split, name, first_members(source, name, 2))
    of_four = student_of(config(num_heads=2), "hydra", *shards)
    of_two = student_of(config(num_heads=2), "hydra", few / "transfer", few / "validation")
    assert_equal(of_four, of_two)


def first_members(folder, name, number):
    from hydra_ray.predictions import read_shard

    return read_shard(folder, name, num_members=number)


def test_small_memory_takes_as_many_steps(shards):
    seen = []

    class Small(BatchReader):
        def __init__(self, *args, **options):
            super().__init__(*args, **{**options, "max_bytes": 900})

    student_of(config(), "hydra", *shards, reader=Small, report=seen.append)
    assert seen[-1]["step"] == 21


# ranks


CNN = {"body": "cnn", "body_options": {"widths": [4], "norm": "group"}}
JOBS = {
    "hydra, SGD": (config(optimizer="sgd"), "hydra"),
    "hydra, SGD, cnn": (config(optimizer="sgd", **CNN), "hydra"),
    "hydra, AdamW": (config(), "hydra"),
    "kd, SGD": (config(optimizer="sgd", clip_norm=0.1), "kd"),
}


@pytest.fixture(scope="module")
def two_ranks(shards):
    """Every job's weights on both of two ranks."""
    return on_two_ranks(JOBS, *shards)


@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
@pytest.mark.parametrize("name", JOBS)
def test_two_ranks_reach_the_weights_of_one(two_ranks, shards, name):
    """Both take the same global batches; only the order in which gradients are summed differs.

    A float32 sum of 12 terms in another order is off by some 1e-7 of its size. SGD adds that up over 21 steps: 1e-6
    for weights of order 1 is generous (3e-8 is seen). AdamW divides a gradient by its own size, so that where the true
    gradient is about zero rounding decides the direction of a step of the whole learning rate, 0.01: 1e-3 in all.
    """
    alone = student_of(*JOBS[name], *shards)
    assert_equal(two_ranks[0][name], two_ranks[1][name])
    tolerance = 1e-3 if "AdamW" in name else 1e-6
    for key, value in alone.items():
        torch.testing.assert_close(two_ranks[0][name][key], value, rtol=0, atol=tolerance)


def test_the_tolerance_tells_students_apart(two_ranks, shards):
    """A student of one epoch fewer is far outside of it."""
    student = student_of(config(optimizer="sgd", epochs=1), "hydra", *shards)
    there = two_ranks[0]["hydra, SGD"]
    assert max((there[key] - value).abs().max() for key, value in student.items()) > 1e-3
