"""Which members a row is asked of: a seeded few, evenly, whoever asks, and never one that was trained on the row."""

import numpy as np
import pytest

from hydra_ray.config import load_config
from hydra_ray.data import left_out
from hydra_ray.errors import UserError
from hydra_ray.views import IDENTITY, NumberedView, asked_members

ROWS = np.arange(6000)
PLAIN = NumberedView(IDENTITY, "train")
HELD_OUT = NumberedView(IDENTITY, "train", held_out=True)


def config(*words: str):
    return load_config(
        "digits",
        ["ensemble.num_members=6", "students=[kd]", "tune={num_trials: 0}", "distill.use_best_trial=false", *words],
    )


@pytest.mark.parametrize("per_row", [1, 2, 5, 6])
def test_every_row_has_so_many_and_every_member_as_many_rows_as_others(per_row):
    mask_NM = asked_members(config(f"predict.members_per_row={per_row}"), "transfer", 1, PLAIN, ROWS)
    assert (mask_NM.sum(axis=1) == per_row).all()
    assert mask_NM.sum(axis=0) == pytest.approx([len(ROWS) * per_row / 6] * 6, rel=0.08)


def test_a_row_has_the_same_members_in_whichever_shard_it_is_and_others_under_another_view_or_seed():
    some = config("predict.members_per_row=2")
    all_NM = asked_members(some, "transfer", 1, PLAIN, ROWS)
    assert np.array_equal(asked_members(some, "transfer", 1, PLAIN, ROWS[100:50:-7]), all_NM[100:50:-7])
    other = asked_members(config("predict.members_per_row=2", "seed=1"), "transfer", 1, PLAIN, ROWS)
    for one in (asked_members(some, "transfer", 2, PLAIN, ROWS), other):
        shared = (one & all_NM).sum(axis=1).mean()
        assert shared == pytest.approx(2 * 2 / 6, abs=0.05)  # as of two choices that know nothing of each other


def test_what_is_measured_is_asked_of_all():
    for split in ("validation", "test", "unknown-noise"):
        assert asked_members(config("predict.members_per_row=1"), split, 0, PLAIN, ROWS) is None
    assert asked_members(config(), "transfer", 0, PLAIN, ROWS) is None


def test_of_a_held_out_view_they_are_some_of_those_that_left_the_row_out():
    folds = config("ensemble.folds=2", "predict.members_per_row=2")
    mask_NM = asked_members(folds, "transfer", 1, HELD_OUT, ROWS)
    allowed_NM = left_out(ROWS, np.arange(6), 2, 0)
    assert not (mask_NM & ~allowed_NM).any()
    assert (mask_NM.sum(axis=1) == 2).all()
    rare = config("ensemble.folds=6", "predict.members_per_row=2")
    assert (asked_members(rare, "transfer", 1, HELD_OUT, ROWS).sum(axis=1) == 1).all()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict.members_per_row=7"], "predict.members_per_row=7, but ensemble.num_members=6: use fewer"),
        (["predict.members_per_row=0"], "predict.members_per_row=0"),
        (
            [
                "predict.members_per_row=2",
                "ensemble.teachers={kind: arrays, outputs: logits, arrays: {train: a.npy}}",
            ],
            "predict.members_per_row=2: all predictions are there already",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(words, line):
    with pytest.raises(UserError, match=line):
        config(*words)
