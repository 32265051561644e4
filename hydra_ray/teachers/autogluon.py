"""Teachers of AutoGluon: the models that one `TabularPredictor` has trained, a member each.

B rows, M members, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hydra_ray.config import Section
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import class_order

_OWN_ENSEMBLES = "WeightedEnsemble"
_CLASSES = ("binary", "multiclass")


class Options(Section):
    """Of the kind `autogluon`."""

    models: list[str] = []
    """Names of the models that are members, in order; none for all but AutoGluon's ensembles of the others."""


def load(files: ModelFiles) -> Loaded:
    """Open the predictor's folder.

    Raises:
        UserError: it is not trusted, is of another task, or has no such model.
    """
    (path, *others) = files.paths
    if others:
        raise UserError("takes the folder of one predictor, whose models are the members")
    if not files.trust:
        raise UserError(
            f"{path} holds pickles, which may run code when they are opened; say ensemble.teachers.trust=true if you "
            "trust whoever wrote it"
        )
    from autogluon.tabular import TabularPredictor  # pyright: ignore[reportMissingImports]

    predictor = TabularPredictor.load(path)
    if (predictor.problem_type in _CLASSES) != (files.num_classes is not None):
        wanted = "a regression" if files.num_classes is None else "a classification"
        raise UserError(f"{path} is of problem_type={predictor.problem_type}, but the data set is {wanted}")
    models = _models(predictor, files)
    if files.num_classes is None:
        return Loaded(_means(predictor, models), "mean")
    return Loaded(_probabilities(predictor, models, files), "probabilities")


def _models(predictor: Any, files: ModelFiles) -> list[str]:
    assert isinstance(files.options, Options)
    known = predictor.model_names(can_infer=True)
    strange = [name for name in files.options.models if name not in known]
    if strange:
        raise UserError(f"options.models: the predictor has no {strange[0]}; it has {', '.join(known)}")
    return files.options.models or [name for name in known if not name.startswith(_OWN_ENSEMBLES)]


def _probabilities(predictor: Any, models: list[str], files: ModelFiles) -> Function:
    order = class_order(predictor.class_labels, files)
    labels = [predictor.class_labels[place] for place in order]

    def answer(batch: Any) -> Any:
        found = predictor.predict_proba_multi(_frame(batch, predictor), models=models)
        return np.stack([found[name][labels].to_numpy() for name in models], axis=1)

    return answer


def _means(predictor: Any, models: list[str]) -> Function:
    def answer(batch: Any) -> Any:
        found = predictor.predict_multi(_frame(batch, predictor), models=models)
        return np.stack([np.asarray(found[name]) for name in models], axis=1)

    return answer


def _frame(batch: Any, predictor: Any) -> pd.DataFrame:
    """A frame of the predictor's columns, which it checks itself."""
    if isinstance(batch, pd.DataFrame):
        return batch
    return pd.DataFrame(batch.reshape(len(batch), -1), columns=predictor.features(feature_stage="original"))
