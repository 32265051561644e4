"""Teachers of XGBoost say what its boosters say. (`xgboost-cpu`, a tenth of the size, is the same library.)"""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers.teachers import answers, loaded, rows, shard_outputs, softmax

from hydra_ray.errors import UserError

xgboost = pytest.importorskip("xgboost", reason="pip install xgboost, or xgboost-cpu")
X = rows()
LABELS = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])


def matrix(inputs, labels=None):
    return xgboost.DMatrix(inputs, labels, enable_categorical=True)


def boosted(path, labels, inputs=X, rounds=5, **params):
    booster = xgboost.train({"nthread": 1, "max_depth": 3, **params}, matrix(inputs, labels), rounds)
    booster.save_model(path)
    return booster


@pytest.mark.parametrize("form", ["json", "ubj"])
def test_a_file_is_a_member(tmp_path, form):
    paths = [tmp_path / f"{seed}.{form}" for seed in (1, 2)]
    params = {"objective": "multi:softprob", "num_class": 3, "subsample": 0.5}
    boosters = [boosted(path, LABELS, seed=int(path.stem), **params) for path in paths]
    found = answers(loaded("xgboost", *paths, classes=(0, 1, 2)), X)
    assert np.array_equal(found[:, 1], boosters[1].predict(matrix(X), output_margin=True))
    assert softmax(found[:, 0]) == pytest.approx(boosters[0].predict(matrix(X)), abs=1e-6)


def test_of_two_classes_margins_become_two_logits(tmp_path):
    booster = boosted(tmp_path / "m.json", LABELS > 0, objective="binary:logistic")
    found = softmax(shard_outputs(loaded("xgboost", tmp_path / "m.json", classes=(0, 1)), X, 1, 2))
    assert found[:, 0, 1] == pytest.approx(booster.predict(matrix(X)), abs=1e-6)


def test_rounds_are_those_of_early_stopping_or_as_many_as_are_said(tmp_path):
    model = xgboost.XGBClassifier(n_estimators=60, max_depth=3, early_stopping_rounds=2, n_jobs=1)
    noisy = np.where(np.random.default_rng(1).random(len(X)) < 0.3, 0, LABELS)
    model.fit(X[:80], noisy[:80], eval_set=[(X[80:], noisy[80:])], verbose=False)
    model.save_model(tmp_path / "m.ubj")
    assert model.best_iteration < model.get_booster().num_boosted_rounds() - 1
    found = answers(loaded("xgboost", tmp_path / "m.ubj", classes=(0, 1, 2)), X)
    assert softmax(found[:, 0]) == pytest.approx(model.predict_proba(X), abs=1e-6)
    one = answers(loaded("xgboost", tmp_path / "m.ubj", classes=(0, 1, 2), options={"iterations": 1}), X)
    assert softmax(one[:, 0]) == pytest.approx(model.predict_proba(X, iteration_range=(0, 1)), abs=1e-6)


def test_columns_of_a_frame_go_by_name_and_categories_by_value(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.where(X[:, 1] > 0, "red", "blue")})
    fitted = frame.astype({"colour": "category"})
    booster = boosted(tmp_path / "m.json", LABELS, fitted, objective="multi:softprob", num_class=3)
    options = {"classes": ["a", "b", "c"]}
    teachers = loaded("xgboost", tmp_path / "m.json", classes=("b", "c", "a"), options=options)
    expected = booster.predict(matrix(fitted), output_margin=True)[:, [1, 2, 0]]
    assert np.array_equal(answers(teachers, frame[["colour", "size"]])[:, 0], expected)
    red = frame["colour"] == "red"  # a batch in which one category does not occur
    assert np.array_equal(answers(teachers, frame[red])[:, 0], expected[red])
    with pytest.raises(UserError, match="fitted on a column colour, which the data set does not have"):
        answers(teachers, frame[["size"]])


def test_regressions_are_means(tmp_path):
    booster = boosted(tmp_path / "m.json", X[:, 0] ** 2)
    teachers = loaded("xgboost", tmp_path / "m.json")
    assert teachers.outputs == "mean"
    assert np.array_equal(answers(teachers, X)[:, 0, 0], booster.predict(matrix(X)))


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    boosted(tmp_path / "m.json", X[:, 0])
    with pytest.raises(UserError, match="has the objective reg:squarederror, but the data set needs binary:logistic"):
        loaded("xgboost", tmp_path / "m.json", classes=(0, 1))
    (tmp_path / "none.json").write_text("nothing")
    with pytest.raises(UserError, match=r"kind=xgboost: .*none.json cannot be loaded \(XGBoostError") as refused:
        loaded("xgboost", tmp_path / "none.json", classes=(0, 1))
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(UserError, match=r"kind=xgboost: needs xgboost; pip install xgboost"):
        loaded("xgboost", tmp_path / "m.json", classes=(0, 1))
