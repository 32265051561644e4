"""Teachers of scikit-learn: a forest, bagging or voting, a member an estimator; or several models, a member each.

B rows, M members, C classes, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import class_order
from hydra_ray.teachers.skops_files import read_skops
from hydra_ray.teachers.tables import columns_of

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Ensemble:
    """The estimators of one fitted ensemble."""

    model: Any
    """The ensemble, which knows its classes."""
    before: Any
    """The steps of a pipeline before it; None where there are none."""
    estimators: Sequence[Any]
    columns: Sequence[Any]
    """Which features each estimator sees."""
    is_forest: bool
    """Whether the estimators take float32 arrays, as a forest's trees do."""


def load(files: ModelFiles) -> Loaded:
    """Read the models.

    Raises:
        UserError: a file that needs to be trusted, or a model that does not suit the data set.
    """
    models = [model for path in files.paths for model in _models_in(path, trust=files.trust)]
    ensemble = _ensemble_in(models[0]) if len(models) == 1 else None
    if ensemble is not None:
        return Loaded(_asked_together(ensemble, files), _outputs(files))
    return Loaded([_asked_alone(model, files) for model in models], _outputs(files))


def _outputs(files: ModelFiles) -> Any:
    return "mean" if files.num_classes is None else "probabilities"


def _models_in(path: str, *, trust: bool) -> Iterator[Any]:
    found = read_skops(path, trust=trust) if path.endswith(".skops") else _pickled(path, trust=trust)
    yield from found if isinstance(found, (list, tuple)) else [found]


def _pickled(path: str, *, trust: bool) -> Any:
    import joblib

    if not trust:
        raise UserError(
            f"{path} is a pickle, which may run code when it is opened; say ensemble.teachers.trust=true if you trust "
            "whoever wrote it, or save the model with skops.io.dump"
        )
    return joblib.load(path)


def _ensemble_in(model: Any) -> _Ensemble | None:
    """The ensemble that a model is, or that a pipeline ends in; None for any other model."""
    from sklearn.ensemble import BaggingClassifier, BaggingRegressor, VotingClassifier, VotingRegressor
    from sklearn.ensemble._forest import BaseForest
    from sklearn.pipeline import Pipeline

    steps = isinstance(model, Pipeline) and len(model) > 1
    last = model[-1] if steps else model
    before = model[:-1] if steps else None
    if isinstance(last, (BaggingClassifier, BaggingRegressor)):
        return _Ensemble(last, before, last.estimators_, last.estimators_features_, is_forest=False)
    if isinstance(last, (BaseForest, VotingClassifier, VotingRegressor)):
        estimators: list[Any] = list(last.estimators_)
        everything = [slice(None)] * len(estimators)
        return _Ensemble(last, before, estimators, everything, is_forest=isinstance(last, BaseForest))
    return None


def _asked_together(ensemble: _Ensemble, files: ModelFiles) -> Function:
    """Answers of all estimators [B, M, C]; in a regression [B, M].

    Inner estimators know classes by their numbers in the ensemble's `classes_`, and may not have met all of them.
    """
    if files.num_classes is None:
        answers = [partial(_mean, _checked(each, files)) for each in ensemble.estimators]
    else:
        order = class_order(ensemble.model.classes_, files)
        answers = [partial(_of_numbered, _checked(each, files), order) for each in ensemble.estimators]
    return partial(_together, ensemble, _names_of(ensemble.before or ensemble.model), answers)


def _together(ensemble: _Ensemble, names: Any, answers: Sequence[Function], batch: Any) -> Floats:
    inputs = columns_of(batch, names)
    if ensemble.before is not None:
        inputs = ensemble.before.transform(inputs)
    if ensemble.is_forest:
        inputs = np.ascontiguousarray(inputs, np.float32)
    parts = [_selected(inputs, columns) for columns in ensemble.columns]
    return np.stack([answer(part) for answer, part in zip(answers, parts, strict=True)], axis=1)


def _selected(inputs: Any, columns: Any) -> Any:
    return inputs if isinstance(columns, slice) else np.asarray(inputs)[:, columns]


def _asked_alone(model: Any, files: ModelFiles) -> Function:
    _checked(model, files)
    names = _names_of(model)
    if files.num_classes is None:
        return lambda batch: _mean(model, columns_of(batch, names))
    order = class_order(model.classes_, files)
    return lambda batch: model.predict_proba(columns_of(batch, names))[:, order]


def _checked(model: Any, files: ModelFiles) -> Any:
    """A model that can answer the data set's question.

    Raises:
        UserError: it cannot.
    """
    wanted = "predict" if files.num_classes is None else "predict_proba"
    if not hasattr(model, wanted):
        raise UserError(f"a {type(model).__name__} has no {wanted}; give models that have it")
    if files.num_classes is None and hasattr(model, "classes_"):
        raise UserError(f"a {type(model).__name__} is a classifier, but the data set is a regression")
    return model


def _names_of(model: Any) -> list[str] | None:
    names = getattr(model, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def _mean(model: Any, inputs: Any) -> Floats:
    return np.asarray(model.predict(inputs)).reshape(len(inputs))


def _of_numbered(model: Any, order: npt.NDArray[np.int64], inputs: Any) -> Floats:
    """Probabilities [B, C] of an inner estimator; 0 of classes that it has not met."""
    found = model.predict_proba(inputs)
    if found.shape[1] == len(order):
        return found[:, order]
    everything = np.zeros((len(inputs), len(order)))
    everything[:, np.asarray(model.classes_).astype(np.int64)] = found
    return everything[:, order]
