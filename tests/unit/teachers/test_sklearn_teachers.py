"""Teachers of scikit-learn say what the library says, estimator by estimator, in the data set's order of classes."""

import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from helpers.teachers import answers, loaded, rows, shard_outputs
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    RandomForestClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from hydra_ray.errors import UserError

CLASSES = ("b", "c", "a")  # not in the order of the library, which sorts
X = rows()
Y = np.array(["a", "b", "c"])[np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])]
ORDER = [1, 2, 0]


def saved(tmp_path, model, name="model.skops"):
    io = pytest.importorskip("skops.io")
    path = tmp_path / name
    io.dump(model, path)
    return path


def test_the_trees_of_a_forest_are_members(tmp_path):
    forest = RandomForestClassifier(7, max_depth=3, random_state=0).fit(X, Y)
    found = answers(loaded("sklearn", saved(tmp_path, forest), classes=CLASSES), X)
    assert found.shape == (len(X), 7, 3)
    assert np.array_equal(found.mean(axis=1), forest.predict_proba(X)[:, ORDER])
    assert np.array_equal(found[:, 2], forest.estimators_[2].predict_proba(X)[:, ORDER])


def test_classes_may_be_the_data_sets_numbers(tmp_path):
    numbers = np.searchsorted(["a", "b", "c"], Y)
    forest = RandomForestClassifier(3, max_depth=2, random_state=0).fit(X, numbers)
    found = answers(loaded("sklearn", saved(tmp_path, forest), classes=("a", "b", "c")), X)
    assert np.array_equal(found.mean(axis=1), forest.predict_proba(X))


def test_bagging_gives_each_estimator_its_features_and_the_classes_it_has_met(tmp_path):
    few = np.r_[0:30, np.flatnonzero(Y == "c")[:1]]
    model = BaggingClassifier(KNeighborsClassifier(1), 9, max_features=3, max_samples=8, random_state=1)
    model.fit(X[few], Y[few])
    assert {len(each.classes_) for each in model.estimators_} == {2, 3}, "some have not met every class"
    found = answers(loaded("sklearn", saved(tmp_path, model), classes=CLASSES, trust=True), X)
    assert found.mean(axis=1) == pytest.approx(model.predict_proba(X)[:, ORDER], abs=1e-12)


def test_voters_are_members_and_take_a_frame(tmp_path):
    frame = pd.DataFrame(X, columns=["w", "x", "y", "z"])
    model = VotingClassifier(
        [("nb", GaussianNB()), ("lr", make_pipeline(StandardScaler(), LogisticRegression()))], voting="soft"
    )
    model.fit(frame, Y)
    shuffled = frame.assign(more=1)[["more", "z", "x", "w", "y"]]  # columns go by name
    found = answers(loaded("sklearn", saved(tmp_path, model), classes=CLASSES), shuffled)
    assert found.mean(axis=1) == pytest.approx(model.predict_proba(frame)[:, ORDER])
    with pytest.raises(UserError, match=r"fitted on a column y, which the data set does not have \(it has more, z"):
        answers(loaded("sklearn", saved(tmp_path, model), classes=CLASSES), shuffled.drop(columns="y"))


def test_a_pipeline_that_ends_in_a_forest_is_its_trees_and_takes_text(tmp_path):
    frame = pd.DataFrame({"size": X[:, 0], "colour": np.where(X[:, 1] > 0, "red", "blue")})
    columns = ColumnTransformer([("text", OneHotEncoder(), ["colour"])], remainder="passthrough")
    model = make_pipeline(columns, RandomForestClassifier(4, max_depth=3, random_state=0)).fit(frame, Y)
    found = answers(loaded("sklearn", saved(tmp_path, model), classes=CLASSES), frame)
    assert found.shape == (len(X), 4, 3)
    assert np.array_equal(found.mean(axis=1), model.predict_proba(frame)[:, ORDER])


def test_several_files_are_a_model_each_and_boosting_is_one_model(tmp_path):
    models = [
        RandomForestClassifier(3, max_depth=2, random_state=0),
        GradientBoostingClassifier(n_estimators=4),
        MLPClassifier((4,), max_iter=20, random_state=0),
    ]
    paths = [saved(tmp_path, model.fit(X, Y), f"{place}.skops") for place, model in enumerate(models)]
    found = answers(loaded("sklearn", *paths, classes=CLASSES), X)
    expected = np.stack([model.predict_proba(X)[:, ORDER] for model in models], axis=1)
    assert np.array_equal(found, expected)
    alone = answers(loaded("sklearn", paths[1], classes=CLASSES), X)
    assert np.array_equal(alone[:, 0], expected[:, 1])


def test_images_are_their_pixels_side_by_side(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 4, 4, 1), np.uint8)
    labels = np.arange(60) % 2
    forest = RandomForestClassifier(3, random_state=0).fit(images.reshape(60, 16), labels)
    found = answers(loaded("sklearn", saved(tmp_path, forest), classes=(0, 1), shape=(4, 4, 1)), images)
    assert np.array_equal(found.mean(axis=1), forest.predict_proba(images.reshape(60, 16)))


@pytest.mark.parametrize(
    "model",
    [
        ExtraTreesRegressor(3, max_depth=3, random_state=0),
        BaggingRegressor(n_estimators=3, max_features=2, random_state=0),
        VotingRegressor([("a", LinearRegression()), ("b", LinearRegression(fit_intercept=False))]),
    ],
    ids=lambda model: type(model).__name__,
)
def test_regressions_are_means(tmp_path, model):
    model.fit(X, X[:, 0] ** 2)
    teachers = loaded("sklearn", saved(tmp_path, model))
    members = len(model.estimators_)
    found = shard_outputs(teachers, X, members, 2)
    assert teachers.outputs == "mean"
    assert found[..., 0].mean(axis=1) == pytest.approx(model.predict(X), rel=1e-5)


def test_pickles_are_opened_with_trust_alone_and_may_hold_a_list(tmp_path):
    models = [GaussianNB().fit(X[start:], Y[start:]) for start in (0, 10)]
    path = tmp_path / "models.joblib"
    joblib.dump(models, path)
    with pytest.raises(UserError, match=r"kind=sklearn: .*is a pickle, .*say ensemble.teachers.trust=true .*skops"):
        loaded("sklearn", path, classes=CLASSES)
    found = answers(loaded("sklearn", path, classes=CLASSES, trust=True), X)
    assert np.array_equal(found[:, 1], models[1].predict_proba(X)[:, ORDER])


class OwnModel(GaussianNB):
    pass


def test_types_that_skops_does_not_know_are_named_and_need_trust(tmp_path):
    path = saved(tmp_path, OwnModel().fit(X, Y))
    with pytest.raises(UserError, match=r"holds test_sklearn_teachers.OwnModel, which may run code; say .*trust=true"):
        loaded("sklearn", path, classes=CLASSES)
    assert answers(loaded("sklearn", path, classes=CLASSES, trust=True), X).shape == (len(X), 1, 3)


def test_a_tree_whose_nodes_lead_nowhere_is_refused(tmp_path):
    """scikit-learn would follow them out of the array."""
    model = DecisionTreeClassifier(max_depth=2).fit(X, Y)
    state = model.tree_.__getstate__()
    state["nodes"]["left_child"][0] = 10_000
    model.tree_.__setstate__(state)
    with pytest.raises(UserError, match="holds a tree whose nodes are no tree; it is damaged"):
        loaded("sklearn", saved(tmp_path, model), classes=CLASSES)


@pytest.mark.parametrize(
    ("model", "classes", "line"),
    [
        (GaussianNB().fit(X, Y), ("a", "b"), "its classes are a, b, c, those of the data set are a, b; they must"),
        (GaussianNB().fit(X, Y), (), "a GaussianNB is a classifier, but the data set is a regression"),
        (LinearSVC().fit(X, Y), CLASSES, "a LinearSVC has no predict_proba"),
        (LinearRegression().fit(X, X[:, 0]), CLASSES, "a LinearRegression has no predict_proba|no attribute"),
    ],
)
def test_models_of_something_else_are_refused(tmp_path, model, classes, line):
    with pytest.raises(UserError, match=line):
        loaded("sklearn", saved(tmp_path, model), classes=classes)


def test_a_file_that_is_none_and_a_missing_package_are_one_line(tmp_path, monkeypatch):
    path = tmp_path / "model.skops"
    path.write_text("nothing")
    pytest.importorskip("skops")
    with pytest.raises(UserError, match=r"kind=sklearn: .*model.skops cannot be loaded \(BadZipFile") as refused:
        loaded("sklearn", path, classes=CLASSES)
    assert "\n" not in str(refused.value)
    monkeypatch.delitem(sys.modules, "skops.io")
    monkeypatch.setitem(sys.modules, "skops", None)
    with pytest.raises(UserError, match=r"kind=sklearn: needs skops; pip install skops"):
        loaded("sklearn", path, classes=CLASSES)
