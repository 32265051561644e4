"""Teachers of XGBoost: a JSON or UBJ file of a booster a member.

B rows, C classes.
"""

from __future__ import annotations

import json
from typing import Any

from hydra_ray.config.types import Count
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import ClassOrder, said_order
from hydra_ray.teachers.outputs import binary_logits
from hydra_ray.teachers.tables import columns_of, with_categories

_BINARY = ("binary:logistic", "binary:logitraw")
_OF_CLASSES = (*_BINARY, "multi:softprob", "multi:softmax")


class Options(ClassOrder):
    """Of the kind `xgboost`."""

    iterations: Count | None = None
    """Boosting rounds that count; where it is left out those up to the best one of early stopping, else all."""


def load(files: ModelFiles) -> Loaded:
    """Read the boosters; classifiers answer with logits, which are their margins."""
    import xgboost

    members = [_asked(xgboost, path, files) for path in files.paths]
    return Loaded(members, "mean" if files.num_classes is None else "logits")


def _asked(xgboost: Any, path: str, files: ModelFiles) -> Function:
    booster = xgboost.Booster(model_file=path)
    objective = json.loads(booster.save_config())["learner"]["objective"]["name"]
    _check_objective(objective, path, files)
    rounds = (0, _rounds(booster, files))
    order = said_order(files)
    is_classifier = files.num_classes is not None
    kinds = booster.feature_types or []
    categories = [name for name, kind in zip(booster.feature_names or [], kinds, strict=False) if kind == "c"]

    def answer(batch: Any) -> Any:
        inputs = with_categories(columns_of(batch, booster.feature_names), categories)
        matrix = xgboost.DMatrix(inputs, enable_categorical=True)
        found = booster.predict(matrix, output_margin=is_classifier, iteration_range=rounds)
        if not is_classifier:
            return found.reshape(-1, 1)
        return (binary_logits(found) if objective in _BINARY else found)[:, order]

    return answer


def _rounds(booster: Any, files: ModelFiles) -> int:
    """How many rounds count; 0 for all."""
    assert isinstance(files.options, Options)
    if files.options.iterations is not None:
        return files.options.iterations
    return int(booster.attributes().get("best_iteration", -1)) + 1


def _check_objective(objective: str, path: str, files: ModelFiles) -> None:
    is_regression = objective.startswith(("reg:", "count:"))
    if objective in _OF_CLASSES and files.num_classes is not None:
        return
    if not (is_regression and files.num_classes is None):
        wanted = "reg:..." if files.num_classes is None else " or ".join(_OF_CLASSES)
        raise UserError(
            f"{path} has the objective {objective}, but the data set needs {wanted}; ask others with kind=callable"
        )
