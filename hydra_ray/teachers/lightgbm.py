"""Teachers of LightGBM: a text file of a booster a member.

B rows, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hydra_ray.config.types import Count
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import Function, Loaded, ModelFiles
from hydra_ray.teachers.class_order import ClassOrder, said_order
from hydra_ray.teachers.outputs import binary_logits
from hydra_ray.teachers.tables import columns_of, with_categories

_OF_CLASSES = ("binary", "multiclass")


class Options(ClassOrder):
    """Of the kind `lightgbm`."""

    iterations: Count | None = None
    """Boosting rounds that count; all where it is left out."""


def load(files: ModelFiles) -> Loaded:
    """Read the boosters; classifiers answer with logits, which are their raw scores."""
    import lightgbm

    members = [_asked(lightgbm.Booster(model_file=path), path, files) for path in files.paths]
    return Loaded(members, "mean" if files.num_classes is None else "logits")


def _asked(booster: Any, path: str, files: ModelFiles) -> Function:
    assert isinstance(files.options, Options)
    header = _header(booster)
    objective, *settings = header.get("objective", "").split()
    _check_objective(objective, path, files)
    slope = float(dict(each.split(":") for each in settings).get("sigmoid", 1)) if objective == "binary" else 1.0
    names = booster.feature_name()
    infos = header["feature_infos"].split()
    categories = [name for name, info in zip(names, infos, strict=True) if info[0] not in "[n"]
    order = said_order(files)
    iterations = files.options.iterations

    def answer(batch: Any) -> Any:
        inputs = _inputs(batch, names, categories)
        if files.num_classes is None:
            return booster.predict(inputs, num_iteration=iterations)[:, None]
        scores = booster.predict(inputs, num_iteration=iterations, raw_score=True)
        return (binary_logits(scores * slope) if objective == "binary" else np.asarray(scores))[:, order]

    return answer


def _inputs(batch: Any, names: list[str], categories: list[str]) -> Any:
    """Columns by name, but by their places where the booster was fitted on an array, which names them `Column_0`."""
    by_place = names == [f"Column_{place}" for place in range(len(names))]
    return with_categories(columns_of(batch, None if by_place else names), [] if by_place else categories)


def _header(booster: Any) -> Mapping[str, str]:
    """What a booster's text says before its first tree."""
    text = booster.model_to_string(num_iteration=1).split("\nTree=")[0]
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _check_objective(objective: str, path: str, files: ModelFiles) -> None:
    if (objective in _OF_CLASSES) != (files.num_classes is not None):
        wanted = "a regression" if files.num_classes is None else " or ".join(_OF_CLASSES)
        raise UserError(
            f"{path} has the objective {objective or 'of a function of your own'}, but the data set needs {wanted}; "
            "ask others with kind=callable"
        )
