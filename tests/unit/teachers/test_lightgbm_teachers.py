"""Teachers of LightGBM say what its boosters say."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers.teachers import answers, loaded, rows, shard_outputs, softmax

from hydra_ray.errors import UserError

lightgbm = pytest.importorskip("lightgbm", reason="pip install lightgbm")
X = rows()
LABELS = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
QUIET = {"verbosity": -1, "min_data_in_leaf": 3, "num_threads": 1}


def boosted(path, labels, inputs=X, rounds=5, **params):
    data = lightgbm.Dataset(inputs, labels)
    booster = lightgbm.train({**QUIET, **params}, data, num_boost_round=rounds)
    booster.save_model(path)
    return booster


def test_a_file_is_a_member(tmp_path):
    paths = [tmp_path / f"{seed}.txt" for seed in (1, 2)]
    params = {"objective": "multiclass", "num_class": 3, "bagging_freq": 1, "bagging_fraction": 0.5}
    boosters = [boosted(path, LABELS, seed=int(path.stem), **params) for path in paths]
    teachers = loaded("lightgbm", *paths, classes=(0, 1, 2))
    found = answers(teachers, X)
    assert teachers.outputs == "logits"
    assert np.array_equal(found, np.stack([each.predict(X, raw_score=True) for each in boosters], axis=1))
    assert softmax(found[:, 0]) == pytest.approx(boosters[0].predict(X))


def test_of_two_classes_scores_become_two_logits_and_rounds_may_be_fewer(tmp_path):
    booster = boosted(tmp_path / "m.txt", LABELS > 0, objective="binary", sigmoid=0.7)
    found = softmax(shard_outputs(loaded("lightgbm", tmp_path / "m.txt", classes=(0, 1)), X, 1, 2))
    assert found[:, 0, 1] == pytest.approx(booster.predict(X), abs=1e-6)
    few = softmax(
        shard_outputs(loaded("lightgbm", tmp_path / "m.txt", classes=(0, 1), options={"iterations": 2}), X, 1, 2)
    )
    assert few[:, 0, 1] == pytest.approx(booster.predict(X, num_iteration=2), abs=1e-6)


def test_classes_in_another_order_are_said(tmp_path):
    booster = boosted(tmp_path / "m.txt", LABELS, objective="multiclass", num_class=3)
    options = {"classes": ["a", "b", "c"]}
    found = answers(loaded("lightgbm", tmp_path / "m.txt", classes=("b", "c", "a"), options=options), X)
    assert np.array_equal(found[:, 0], booster.predict(X, raw_score=True)[:, [1, 2, 0]])
    with pytest.raises(UserError, match=r"options.classes: its classes are a, b, c, those of the data set are x, y, z"):
        loaded("lightgbm", tmp_path / "m.txt", classes=("x", "y", "z"), options=options)


def test_columns_of_a_frame_go_by_name_and_text_is_a_category(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.where(X[:, 1] > 0, "red", "blue"), "zip": LABELS + 10})
    fitted = frame.astype({"colour": "category", "zip": "category"})
    booster = boosted(tmp_path / "m.txt", LABELS, fitted, objective="multiclass", num_class=3, min_data_per_group=1)
    teachers = loaded("lightgbm", tmp_path / "m.txt", classes=(0, 1, 2))
    assert np.array_equal(answers(teachers, frame.iloc[:, ::-1])[:, 0], booster.predict(fitted, raw_score=True))
    few = frame[frame["colour"] == "red"].head(5)  # a batch in which not every category occurs
    assert np.array_equal(answers(teachers, few)[:, 0], booster.predict(fitted.loc[few.index], raw_score=True))


@pytest.mark.parametrize("objective", ["regression", "poisson"])
def test_regressions_are_means(tmp_path, objective):
    booster = boosted(tmp_path / "m.txt", X[:, 0] ** 2, objective=objective)
    teachers = loaded("lightgbm", tmp_path / "m.txt")
    assert teachers.outputs == "mean"
    assert np.array_equal(answers(teachers, X)[:, 0, 0], booster.predict(X))


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    boosted(tmp_path / "m.txt", X[:, 0], objective="regression")
    with pytest.raises(UserError, match="has the objective regression, but the data set needs binary or multiclass"):
        loaded("lightgbm", tmp_path / "m.txt", classes=(0, 1))
    with pytest.raises(
        UserError, match=r"options.iteration=1: unknown key; nearest: ensemble.teachers.options.iterations"
    ):
        loaded("lightgbm", tmp_path / "m.txt", options={"iteration": 1})
    (tmp_path / "none.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"kind=lightgbm: .*none.txt cannot be loaded \(LightGBMError") as refused:
        loaded("lightgbm", tmp_path / "none.txt", classes=(0, 1))
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UserError, match=r"kind=lightgbm: needs lightgbm; pip install lightgbm"):
        loaded("lightgbm", tmp_path / "m.txt", classes=(0, 1))
