"""Teachers of CatBoost: a model file a member, or one file whose virtual ensembles are the members.

Virtual ensembles are parts of one model's trees (Malinin, Prokhorenkova and Ustimenko 2021); the model should have been
trained with `posterior_sampling=True`.

B rows, M members, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from hydra_ray.config import OutputsSaid
from hydra_ray.config.types import Count
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import ClassOrder, class_order, said_order
from hydra_ray.teachers.outputs import binary_logits
from hydra_ray.teachers.tables import columns_of

_BINARY = ("Logloss", "CrossEntropy")
_OF_CLASSES = (*_BINARY, "MultiClass")
_WITH_VARIANCE = "RMSEWithUncertainty"


class Options(ClassOrder):
    """Of the kind `catboost`."""

    virtual_ensembles: Count | None = None
    """So many virtual ensembles of one model are the members; none where each file is one."""


def load(files: ModelFiles) -> Loaded:
    """Read the models; classifiers answer with logits, `RMSEWithUncertainty` with means and variances.

    Raises:
        UserError: a model of another task than the data set's, or several models with virtual ensembles.
    """
    import catboost

    assert isinstance(files.options, Options)
    models = [catboost.CatBoost().load_model(path, format=_format(path)) for path in files.paths]
    losses = [str(model.get_all_params()["loss_function"]).split(":")[0] for model in models]
    for path, loss in zip(files.paths, losses, strict=True):
        _check_loss(loss, path, files)
    outputs = _outputs(losses, files)
    virtual = files.options.virtual_ensembles
    if virtual is None:
        return Loaded([_asked(*each, files) for each in zip(models, losses, strict=True)], outputs)
    if len(models) > 1:
        raise UserError("options.virtual_ensembles: belongs to one model; give one file, or leave it out")
    return Loaded(_virtual(models[0], losses[0], virtual, files), outputs)


def _format(path: str) -> str:
    return "json" if path.endswith(".json") else "cbm"


def _outputs(losses: list[str], files: ModelFiles) -> OutputsSaid:
    if files.num_classes is not None:
        return "logits"
    with_variance = {loss == _WITH_VARIANCE for loss in losses}
    if len(with_variance) > 1:
        raise UserError(f"some models say variances (loss {_WITH_VARIANCE}) and some do not; give models of one kind")
    return "mean_variance" if with_variance == {True} else "mean"


def _asked(model: Any, loss: str, files: ModelFiles) -> Function:
    order = _order(model, files)
    kind = _WITH_VARIANCE if loss == _WITH_VARIANCE else "RawFormulaVal"

    def answer(batch: Any) -> Any:
        found = model.predict(_inputs(model, batch), prediction_type=kind)
        found = binary_logits(found) if loss in _BINARY else found.reshape(len(batch), -1)
        return found[:, order]

    return answer


def _virtual(model: Any, loss: str, count: int, files: ModelFiles) -> Function:
    order = _order(model, files)

    def answer(batch: Any) -> Any:
        found = model.virtual_ensembles_predict(
            _inputs(model, batch), prediction_type="VirtEnsembles", virtual_ensembles_count=count
        )
        found = binary_logits(found[..., 0]) if loss in _BINARY else found
        return found[..., order]

    return answer


def _order(model: Any, files: ModelFiles) -> Any:
    if files.num_classes is None or not len(model.classes_) or (files.options.model_fields_set & {"classes"}):
        return said_order(files)
    return class_order(model.classes_, files)


def _inputs(model: Any, batch: Any) -> Any:
    """The model's columns; those that it knows as categories are text, as CatBoost wants them."""
    names = model.feature_names_
    by_place = names == [str(place) for place in range(len(names))]
    inputs = columns_of(batch, None if by_place else names)
    categories = model.get_cat_feature_indices()
    if not categories or isinstance(inputs, np.ndarray):
        return inputs
    return inputs.astype({inputs.columns[place]: str for place in categories})


def _check_loss(loss: str, path: str, files: ModelFiles) -> None:
    if (loss in _OF_CLASSES) != (files.num_classes is not None):
        wanted = "a loss of a regression" if files.num_classes is None else " or ".join(_OF_CLASSES)
        raise UserError(f"{path} has the loss {loss}, but the data set needs {wanted}; ask others with kind=callable")
