"""Teachers of AutoGluon: each model of a predictor is a member.

AutoGluon needs an older pandas than this environment has. Where it is installed the tests ask it; elsewhere a stand-in
with the methods that are called, which trains scikit-learn's models under the names that AutoGluon gives.
"""

import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from helpers.teachers import answers, loaded, rows
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from hydra_ray.errors import UserError

FRAME = pd.DataFrame(rows(200), columns=list("wxyz"))
LABELS = np.array(["a", "b", "c"])[np.digitize(FRAME["w"] + 0.3 * FRAME["x"], [-0.5, 0.5])]
CLASSES = ("b", "c", "a")


class StandIn:
    """What is called of `autogluon.tabular.TabularPredictor`."""

    made: "dict[str, StandIn]" = {}  # noqa: RUF012

    def __init__(self, target):
        is_class = target.dtype.kind not in "fi"
        self.problem_type = "multiclass" if is_class else "regression"
        kinds = (
            (GaussianNB(), DecisionTreeClassifier(max_depth=2)) if is_class else (DecisionTreeRegressor(max_depth=2),)
        )
        self.models = {type(each).__name__: each.fit(FRAME, target) for each in kinds}
        self.class_labels = sorted(set(target)) if is_class else None

    @classmethod
    def load(cls, path):
        return cls.made[str(path)]

    def model_names(self, can_infer=None):
        assert can_infer
        return [*self.models, "WeightedEnsemble_L2"]

    def features(self, feature_stage):
        assert feature_stage == "original"
        return list(FRAME.columns)

    def predict_proba_multi(self, data, models):
        return {
            name: pd.DataFrame(
                self.models[name].predict_proba(data[list(FRAME)]), columns=self.class_labels, index=data.index
            )
            for name in models
        }

    def predict_multi(self, data, models):
        return {name: pd.Series(self.models[name].predict(data[list(FRAME)]), index=data.index) for name in models}


@pytest.fixture
def fitted(tmp_path, monkeypatch):
    """Makes a predictor in a folder: the library's own, or the stand-in."""
    try:
        from autogluon.tabular import TabularPredictor
    except ImportError:
        TabularPredictor = None
        module = ModuleType("autogluon.tabular")
        module.TabularPredictor = StandIn
        monkeypatch.setitem(sys.modules, "autogluon", ModuleType("autogluon"))
        monkeypatch.setitem(sys.modules, "autogluon.tabular", module)

    def make(target):
        path = tmp_path / "predictor"
        if TabularPredictor is None:
            path.mkdir()
            StandIn.made[str(path)] = StandIn(np.asarray(target))
            return StandIn.made[str(path)], path
        predictor = TabularPredictor("target", path=str(path), verbosity=0)
        models = {"GBM": {"num_boost_round": 5}, "RF": {"n_estimators": 5}}
        return predictor.fit(FRAME.assign(target=target), hyperparameters=models, num_cpus=1), path

    return make


def test_models_are_members_but_for_its_own_ensembles(fitted):
    predictor, path = fitted(LABELS)
    names = [name for name in predictor.model_names(can_infer=True) if "WeightedEnsemble" not in name]
    found = answers(loaded("autogluon", path, classes=CLASSES, trust=True), FRAME[list("zwyx")])
    expected = predictor.predict_proba_multi(FRAME, models=names)
    assert len(names) == 2
    assert found.shape == (200, 2, 3)
    for member, name in enumerate(names):
        assert np.array_equal(found[:, member], expected[name][list(CLASSES)])


def test_models_may_be_chosen(fitted):
    predictor, path = fitted(LABELS)
    name = predictor.model_names(can_infer=True)[1]
    found = answers(loaded("autogluon", path, classes=CLASSES, trust=True, options={"models": [name]}), FRAME)
    assert np.array_equal(found[:, 0], predictor.predict_proba_multi(FRAME, models=[name])[name][list(CLASSES)])
    with pytest.raises(UserError, match=r"options.models: the predictor has no nothing; it has "):
        loaded("autogluon", path, classes=CLASSES, trust=True, options={"models": ["nothing"]})


def test_regressions_are_means(fitted):
    predictor, path = fitted(FRAME["w"] ** 2)
    teachers = loaded("autogluon", path, trust=True)
    names = [name for name in predictor.model_names(can_infer=True) if "WeightedEnsemble" not in name]
    assert teachers.outputs == "mean"
    found = answers(teachers, FRAME)
    assert np.array_equal(found[:, 0], predictor.predict_multi(FRAME, models=names)[names[0]])
    assert np.array_equal(answers(teachers, FRAME.to_numpy()), found), "without names columns go by their places"


def test_what_does_not_suit_is_one_line(fitted, monkeypatch):
    _, path = fitted(LABELS)
    with pytest.raises(UserError, match=r"holds pickles, .*; say ensemble.teachers.trust=true if you trust whoever"):
        loaded("autogluon", path, classes=CLASSES)
    with pytest.raises(UserError, match="takes the folder of one predictor, whose models are the members"):
        loaded("autogluon", path, path, classes=CLASSES, trust=True)
    with pytest.raises(UserError, match="is of problem_type=multiclass, but the data set is a regression"):
        loaded("autogluon", path, trust=True)
    with pytest.raises(UserError, match="its classes are a, b, c, those of the data set are x, y; they must"):
        loaded("autogluon", path, classes=("x", "y"), trust=True)
    monkeypatch.setitem(sys.modules, "autogluon", None)
    monkeypatch.delitem(sys.modules, "autogluon.tabular")
    with pytest.raises(UserError, match=r"kind=autogluon: needs autogluon; pip install autogluon.tabular"):
        loaded("autogluon", path, classes=CLASSES, trust=True)
