"""Two ranks take the steps of one, whatever is masked, unlabelled or left over for one of them."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bits import assert_same_bits
from helpers.kinds import split_keys
from helpers.shards import synthetic, write
from helpers.two_ranks import Job, on_two_ranks, outcome_of
from torch import nn

from hydra_ray.config.load import validate
from hydra_ray.config.sections import Optimisation
from hydra_ray.losses.sums import Summed, share_of_mean
from hydra_ray.shards.schema import NO_LABEL
from hydra_ray.storage.folder import Folder
from hydra_ray.training.loop import DistributedContext, TrainState

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
NUM_ROWS, BATCH, MEMBERS = 44, 12, 4


def plain_rows(view=0, task="classification"):
    """Rows of pixels; in a regression the members' outputs are means and log variances."""
    is_regression = task == "regression"
    rows = synthetic(NUM_ROWS, members=MEMBERS, classes=2 if is_regression else 4, view=view, dtype=np.float32)
    if not is_regression:
        return rows
    outputs = rows.logits_NMC * np.float32([1.0, 0.1])
    return replace(rows, labels=outputs[..., 0].mean(1) + np.float32(0.1), logits_NMC=outputs)


def patchy(rows):
    """The same with a mask (rows of one member, of none, of some) and labels on a third of the rows."""
    rng = np.random.default_rng(3)
    mask = rng.random((NUM_ROWS, MEMBERS)) < rng.random((NUM_ROWS, 1))
    mask[:4], mask[4] = np.eye(MEMBERS, dtype=bool), False
    nothing = np.nan if rows.labels.dtype.kind == "f" else NO_LABEL
    return replace(rows, mask_NM=mask, labels=np.where(rng.random(NUM_ROWS) < 0.3, rows.labels, nothing))


def broken(rows):
    """The same with one row, which is one rank's, of whose outputs there is no mean."""
    outputs = rows.logits_NMC.copy()
    outputs[10] = np.nan
    return replace(rows, logits_NMC=outputs)


def unlabelled(rows):
    """The same without any label."""
    return replace(rows, labels=np.full_like(rows.labels, NO_LABEL))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Folders of shards by kind of rows and task."""
    place = Folder.open(str(tmp_path_factory.mktemp("shards")))
    changes = {"plain": lambda rows: rows, "patchy": patchy, "unlabelled": unlabelled, "broken": broken}
    for task in ("classification", "regression"):
        for name, change in changes.items():
            if name not in ("unlabelled", "broken") or task == "classification":
                rows = change(plain_rows(task=task))
                write(place / f"{name}-{task}", "part-000-00000.parquet", rows)
        write(place / f"validation-{task}", "part-000-00000.parquet", plain_rows(7, task))
    return place


def config(**settings):
    shared, own = split_keys("hydra", {"correlation_weight": 0.0, **settings})
    tree = {
        "body_options": {"hidden": [8]}, "epochs": 2, "mean_phase_epochs": 1, "batch_size": BATCH,
        "learning_rate": 0.01,
        "head_width": 4, "optimizer": "sgd", **shared,
    }  # fmt: skip
    cluster = {"num_workers": 2} if "strategy" in shared else {}  # parts are of several workers
    students = [{"kind": "hydra", **own}, "kd", "kd_temperature", "labels", "end2", "proxy_end2"]
    ensemble = {"num_members": MEMBERS}
    data = {"source": "digits"}
    sections = {"data": data, "ensemble": ensemble, "students": students, "distill": tree, "cluster": cluster}
    return validate({"name": "x", **sections}, "here")


CNN = {"body": "cnn", "body_options": {"widths": [4], "norm": "group"}}
# heads that start nearly alike have so little MI that its logarithm magnifies rounding a thousandfold
TERMS = {
    "label_weight": 0.5, "diversity_weight": 0.1, "correlation_weight": 0.1, "deviation_weight": 0.1,
    "head_init_noise": 2.0,
}  # fmt: skip
CASES = {
    "hydra": ("hydra", "plain", {}),
    "hydra, cnn": ("hydra", "plain", CNN),
    "hydra, cnn, convolutions": ("hydra", "plain", {**CNN, "head": "conv1x1"}),
    "hydra, cnn, blocks": (
        "hydra",
        "plain",
        {**CNN, "body_options": {"widths": [4, 4], "norm": "group"}, "head": "block"},
    ),
    "hydra, correlation alone": ("hydra", "plain", {"correlation_weight": 0.5, "head_init_noise": 2.0}),
    "hydra, AdamW": ("hydra", "plain", {"optimizer": "adamw"}),
    "kd, clipped": ("kd", "plain", {"clip_norm": 0.1}),
    "hydra, masked": ("hydra", "patchy", {}),
    "hydra, masked, all terms": ("hydra", "patchy", TERMS),
    "hydra, masked, AdamW": ("hydra", "patchy", {**TERMS, "optimizer": "adamw"}),
    "hydra, masked, standardised": ("hydra", "patchy", {"standardise": True, "temperature": 1.0}),
    "hydra, no row has a label": ("hydra", "unlabelled", {"label_weight": 0.5}),
    "kd, masked, labels": ("kd", "patchy", {"label_weight": 0.5}),
    "labels, masked": ("labels", "patchy", {}),
    "kd_temperature, masked": ("kd_temperature", "patchy", {"label_weight": 0.5}),
    "end2, masked": ("end2", "patchy", {"learning_rate": 1e-4}),
    "proxy_end2, masked": ("proxy_end2", "patchy", {}),
    "batches do not divide": ("hydra", "plain", {"batch_size": 7}),
    "batches do not divide, masked": ("hydra", "patchy", {**TERMS, "batch_size": 7}),
    "kd, fewer rows than a batch": ("kd", "plain", {"batch_size": 46, "epochs": 9}),
    "one row a batch: rank 1 has none": ("hydra", "patchy", {**TERMS, "batch_size": 1}),
    "one row a batch, cnn": ("hydra", "plain", {**CNN, "batch_size": 1}),
    "one row a batch, end2": ("end2", "plain", {"batch_size": 1, "learning_rate": 1e-4}),
    "hydra, averaged": ("hydra", "plain", {"average": 0.1}),
    "hydra, masked, drawn by disagreement": ("hydra", "patchy", {"disagreement_sampling": 3.0}),
    "regression": ("hydra", "plain", {}, "regression"),
    "regression, masked, drawn by disagreement": ("hydra", "patchy", {"disagreement_sampling": 3.0}, "regression"),
    "regression, masked, all terms": ("hydra", "patchy", TERMS, "regression"),
    "regression, kd, masked, labels": ("kd", "patchy", {"label_weight": 0.5}, "regression"),
    "regression, labels, masked": ("labels", "patchy", {}, "regression"),
    "regression, one row a batch": ("hydra", "patchy", {**TERMS, "batch_size": 1}, "regression"),
}
IN_PARTS = [
    "hydra", "hydra, cnn, blocks", "hydra, AdamW", "kd, clipped", "hydra, masked, all terms", "hydra, averaged",
    "regression, masked, all terms",
]  # fmt: skip
CASES |= {
    f"{name}, in parts": (*CASES[name][:2], {**CASES[name][2], "strategy": "fsdp"}, *CASES[name][3:])
    for name in IN_PARTS
}


@pytest.fixture(scope="module")
def jobs(shards):
    def job(kind, rows, settings, task="classification"):
        return Job(config(**settings), kind, shards / f"{rows}-{task}", shards / f"validation-{task}", task)

    return {name: job(*case) for name, case in {**CASES, "diverging": ("hydra", "broken", {})}.items()}


@pytest.fixture(scope="module")
def two_ranks(jobs):
    """Every job's student on both of two ranks."""
    return on_two_ranks(jobs)


@pytest.mark.filterwarnings("ignore:Grad strides do not match bucket view strides")
@pytest.mark.parametrize("name", CASES)
def test_two_ranks_reach_the_weights_and_the_losses_of_one(two_ranks, jobs, name):
    """Both take the same global batches; only the order in which numbers are summed differs.

    A float32 sum of 12 terms in another order is off by some 1e-7 of its size. SGD adds that up over tens of steps.
    AdamW divides a gradient by its own size, so that where the true gradient is about zero rounding decides the
    direction of a step of the whole learning rate, 0.01: 1e-3 in all.
    """
    alone, (first, second) = outcome_of(jobs[name]), (each[name] for each in two_ranks)
    assert_same_bits(first.state, second.state)
    tolerance = 1e-3 if "AdamW" in name else 1e-5
    for key, value in alone.state.items():
        torch.testing.assert_close(first.state[key], value, rtol=0, atol=tolerance)
    assert first.losses == second.losses
    assert first.losses == pytest.approx(alone.losses, rel=1e-4)
    assert len(set(alone.losses)) == len(alone.losses)


@pytest.mark.parametrize("name", IN_PARTS)
def test_students_in_parts_end_as_copies_do(two_ranks, name):
    for found in two_ranks:
        copies, parts = found[name], found[f"{name}, in parts"]
        assert list(parts.state) == list(copies.state)
        for key, value in copies.state.items():
            torch.testing.assert_close(parts.state[key], value, rtol=0, atol=1e-5)
        assert parts.losses == pytest.approx(copies.losses, rel=1e-5)


def test_a_loss_that_is_no_number_on_one_rank_stops_both_at_the_step_of_one(two_ranks, jobs):
    alone = outcome_of(jobs["diverging"])
    assert re.fullmatch(
        r"student hydra: loss is not finite at step \d of epoch \d; lower distill.learning_rate \(0.01\)", alone.error
    )
    assert [each["diverging"].error for each in two_ranks] == [alone.error] * 2


@pytest.mark.parametrize("changed", ["epochs", "mask"])
def test_the_tolerance_tells_students_apart(two_ranks, jobs, changed):
    """A student of one epoch fewer, or of another mask, is far outside of it."""
    job = jobs["hydra, masked"]
    if changed == "epochs":
        other = outcome_of(job._replace(config=config(epochs=1)))
    else:
        other = outcome_of(job._replace(transfer=jobs["hydra"].transfer))
    there = two_ranks[0]["hydra, masked"].state
    assert max((there[key] - value).abs().max() for key, value in other.state.items()) > 1e-3


# what a step divides by


def shares(parts, **options):
    """Each rank's share of a loss of some terms, (sum, count) on each rank."""
    counts = torch.tensor([[int(count) for _, count in terms] for terms in parts]).sum(0)
    calls = []

    def add_up(own):
        calls.append(own)
        own.copy_(counts)

    found = [
        share_of_mean([Summed(torch.tensor(total), count) for total, count in terms], len(parts), add_up, **options)
        for terms in parts
    ]
    return torch.stack(found), len(calls)


def test_shares_mean_the_loss_of_all_rows_and_a_term_without_rows_is_nothing():
    number = torch.tensor
    found, _ = shares([[(6.0, number(3)), (0.0, number(0))], [(2.0, number(1)), (0.0, number(0))]], is_even=True)
    assert found.mean().item() == 2.0
    found, _ = shares([[(6.0, 3)], [(2.0, 1)], [(0.0, 0)]], is_even=False)
    assert found.mean().item() == 2.0
    assert shares([[(0.0, number(0))]], is_even=True)[0].item() == 0.0


def test_ranks_are_asked_only_where_they_may_differ_and_once_for_all_terms():
    assert shares([[(6.0, 3), (1.0, 3)], [(2.0, 3), (5.0, 3)]], is_even=True) == (pytest.approx([7 / 3, 7 / 3]), 0)
    assert shares([[(6.0, 3), (1.0, torch.tensor(2))]] * 2, is_even=True)[1] == 2, "once on each rank"
    assert shares([[(6.0, 3), (1.0, 3)]] * 2, is_even=False)[1] == 2
    assert shares([[(6.0, torch.tensor(3))]], is_even=False)[1] == 0, "there is nobody else"


def test_dropout_differs_by_rank_and_by_step_and_comes_again():
    class Apart(DistributedContext):
        def wrap(self, model):
            return model

    def masks(rank):
        seen = []
        model = nn.Sequential(nn.Linear(1, 64), nn.Dropout(0.5), nn.Linear(64, 1))
        model[1].register_forward_hook(lambda module, inputs, output: seen.append(output == 0))
        fitting = TrainState(model, Optimisation(learning_rate=1e-9), num_steps=2, seed=3, ranks=Apart(rank, 2))
        for _ in range(2):
            fitting.begin_step()
            fitting.forward(torch.ones(4, 1))
            fitting.update()
        return torch.cat(seen)

    first, second = masks(0), masks(1)
    assert_same_bits({"": first}, {"": masks(0)})
    draws = [*first.split(4), *second.split(4)]
    apart = [(one != other).float().mean() for place, one in enumerate(draws) for other in draws[:place]]
    assert min(apart) > 0.3, "half of all units are where draws do not depend on each other"
