"""Folds: whose rows a member leaves out, and that rows are learnt from just those members."""

import numpy as np
import pytest

from hydra_ray.config.load import validate
from hydra_ray.data.folds import folds_of, left_out
from hydra_ray.errors import UserError

ROWS = np.arange(20_000)


def test_folds_are_of_one_size_and_follow_from_the_row_alone():
    folds = folds_of(ROWS, 5, seed=3)
    counts = np.bincount(folds)
    assert len(counts) == 5
    assert abs(counts - 4000).max() < 250  # four standard deviations of a fair draw are 226
    np.testing.assert_array_equal(folds_of(ROWS[7:300:3], 5, seed=3), folds[7:300:3])
    assert (folds_of(ROWS, 5, seed=4) != folds).mean() > 0.7


def test_member_m_leaves_out_fold_m_whatever_number_of_members_there_is():
    out = left_out(ROWS, np.arange(12), 5, seed=3)
    np.testing.assert_array_equal(out, folds_of(ROWS, 5, seed=3)[:, None] == np.arange(12) % 5)
    np.testing.assert_array_equal(left_out(ROWS, np.array([7]), 5, seed=3)[:, 0], out[:, 7])
    assert out.any(axis=1).all()  # 12 members leave out all 5 folds: no row is without a teacher


def recipe(view, heads=None, **ensemble):
    tree = {
        "name": "x",
        "data": {"source": "digits"},
        "ensemble": {"num_members": 6, **ensemble},
        "transfer": {"views": [{"view": "identity"}, {"view": "affine", **view}]},
        "students": [{"kind": "hydra", "num_heads": heads}],
    }
    return validate(tree, "here")


def test_held_out_rows_with_folds():
    assert recipe({"held_out": True}, folds=5).transfer.views[1].held_out


@pytest.mark.parametrize(
    ("view", "settings", "line"),
    [
        ({"held_out": True}, {}, "held_out=true, but members are trained on all training rows: set ensemble.folds"),
        ({"held_out": True}, {"folds": 7}, "use ensemble.folds=6 or fewer"),
        ({"held_out": True}, {"folds": 5, "heads": 4}, "use ensemble.folds=4 or fewer"),
        ({"held_out": True, "source": "digits"}, {"folds": 5}, "no member was trained on the rows of source=digits"),
        ({}, {"folds": 1}, "ensemble.folds"),
    ],
)
def test_folds_that_cannot_be(view, settings, line):
    with pytest.raises(UserError) as raised:
        recipe(view, **settings)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)
