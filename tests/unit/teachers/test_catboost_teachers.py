"""Teachers of CatBoost say what its models say: a file a member, or virtual ensembles of one model."""

import sys

import numpy as np
import pandas as pd
import pytest
from helpers.teachers import answers, loaded, rows, shard_outputs, softmax

from hydra_ray.errors import UserError

catboost = pytest.importorskip("catboost", reason="pip install catboost")
X = rows()
LABELS = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
NAMES = np.array(["a", "b", "c"])[LABELS]
FAST = {"iterations": 20, "verbose": False, "thread_count": 1, "allow_writing_files": False, "depth": 3}


def saved(path, model, inputs=X, labels=NAMES, **more):
    model.fit(inputs, labels, **more)
    model.save_model(path)
    return model


def test_a_file_is_a_member_and_classes_go_by_name(tmp_path):
    paths = [tmp_path / f"{seed}.cbm" for seed in (1, 2)]
    models = [saved(path, catboost.CatBoostClassifier(random_seed=int(path.stem), **FAST)) for path in paths]
    found = answers(loaded("catboost", *paths, classes=("b", "c", "a")), X)
    raw = models[1].predict(X, prediction_type="RawFormulaVal")
    assert np.array_equal(found[:, 1], raw[:, [1, 2, 0]])
    assert softmax(found[:, 0])[:, [2, 0, 1]] == pytest.approx(models[0].predict_proba(X))
    with pytest.raises(UserError, match="its classes are a, b, c, those of the data set are x, y, z; they must be"):
        loaded("catboost", *paths, classes=("x", "y", "z"))


def test_of_two_classes_log_odds_become_two_logits(tmp_path):
    model = saved(tmp_path / "m.cbm", catboost.CatBoostClassifier(**FAST), labels=LABELS > 0)
    found = softmax(shard_outputs(loaded("catboost", tmp_path / "m.cbm", classes=("false", "true")), X, 1, 2))
    assert found[:, 0] == pytest.approx(model.predict_proba(X), abs=1e-6)


@pytest.mark.parametrize("classes", [(0, 1), (0, 1, 2)])
def test_virtual_ensembles_are_members(tmp_path, classes):
    labels = np.minimum(LABELS, classes[-1])
    model = saved(tmp_path / "m.cbm", catboost.CatBoostClassifier(posterior_sampling=True, **FAST), labels=labels)
    teachers = loaded("catboost", tmp_path / "m.cbm", classes=classes, options={"virtual_ensembles": 4})
    found = shard_outputs(teachers, X, 4, len(classes))
    raw = model.virtual_ensembles_predict(X, prediction_type="VirtEnsembles", virtual_ensembles_count=4)
    expected = np.stack([0 * raw[..., 0], raw[..., 0]], axis=-1) if len(classes) == 2 else raw
    assert np.array_equal(found, expected.astype(np.float32))
    probs = softmax(expected)
    entropy = -(probs.mean(1) * np.log(probs.mean(1))).sum(-1)
    theirs = model.virtual_ensembles_predict(X, prediction_type="TotalUncertainty", virtual_ensembles_count=4)[:, 1]
    assert entropy == pytest.approx(theirs, abs=1e-6), "their own total uncertainty is that of these members"


def test_text_is_a_category_and_columns_go_by_name(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.where(X[:, 1] > 0, "red", "blue"), "zip": LABELS + 10})
    model = saved(tmp_path / "m.cbm", catboost.CatBoostClassifier(**FAST), frame, cat_features=["colour", "zip"])
    found = answers(loaded("catboost", tmp_path / "m.cbm", classes=("a", "b", "c")), frame.iloc[:, ::-1])
    assert np.array_equal(found[:, 0], model.predict(frame, prediction_type="RawFormulaVal"))


def test_regressions_are_means_or_means_and_variances(tmp_path):
    target = X[:, 0] ** 2
    plain = saved(tmp_path / "mean.cbm", catboost.CatBoostRegressor(**FAST), labels=target)
    teachers = loaded("catboost", tmp_path / "mean.cbm")
    assert teachers.outputs == "mean"
    assert np.array_equal(answers(teachers, X)[:, 0, 0], plain.predict(X))
    both = catboost.CatBoostRegressor(loss_function="RMSEWithUncertainty", posterior_sampling=True, **FAST)
    both = saved(tmp_path / "both.cbm", both, labels=target)
    teachers = loaded("catboost", tmp_path / "both.cbm")
    assert teachers.outputs == "mean_variance"
    assert np.array_equal(answers(teachers, X)[:, 0], both.predict(X, prediction_type="RMSEWithUncertainty"))
    virtual = loaded("catboost", tmp_path / "both.cbm", options={"virtual_ensembles": 5})
    found = answers(virtual, X)
    theirs = both.virtual_ensembles_predict(X, prediction_type="TotalUncertainty", virtual_ensembles_count=5)
    assert found[..., 1].mean(axis=1) == pytest.approx(theirs[:, 2]), "their data uncertainty is the mean variance"
    with pytest.raises(UserError, match="some models say variances"):
        loaded("catboost", tmp_path / "both.cbm", tmp_path / "mean.cbm")


def test_what_does_not_suit_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "m.cbm"
    saved(path, catboost.CatBoostRegressor(**FAST), labels=X[:, 0])
    with pytest.raises(UserError, match="has the loss RMSE, but the data set needs Logloss or CrossEntropy or MultiCl"):
        loaded("catboost", path, classes=(0, 1))
    with pytest.raises(UserError, match="virtual_ensembles: belongs to one model; give one file, or leave it out"):
        loaded("catboost", path, path, options={"virtual_ensembles": 2})
    (tmp_path / "none.cbm").write_text("nothing")
    with pytest.raises(UserError, match=r"kind=catboost: .*none.cbm cannot be loaded \(CatBoostError") as refused:
        loaded("catboost", tmp_path / "none.cbm", classes=(0, 1))
    assert "\n" not in str(refused.value)
    monkeypatch.setitem(sys.modules, "catboost", None)
    with pytest.raises(UserError, match=r"kind=catboost: needs catboost; pip install catboost"):
        loaded("catboost", path)
