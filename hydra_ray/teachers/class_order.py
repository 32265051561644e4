"""Where the data set's classes stand among a model's outputs: by the names or numbers that the model gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from hydra_ray.config import Section
from hydra_ray.data import shortened
from hydra_ray.data.tables.labels import text_of
from hydra_ray.errors import UserError
from hydra_ray.teachers.asked import ModelFiles


class ClassOrder(Section):
    """Of models that do not name their classes."""

    classes: list[bool | int | str] = []
    """The classes in the order of the model's outputs; none where it is the data set's order."""


def class_order(found: Iterable[Any], files: ModelFiles) -> npt.NDArray[np.int64]:
    """Indices that bring a model's outputs into the data set's order: int64 [C].

    Args:
        found: the model's classes, in the order of its outputs: names as the data have them, or the numbers 0 to C-1
            of the data set's classes.
        files: which say the data set's classes.

    Raises:
        UserError: they are not the data set's.
    """
    texts = [_text(each) for each in found]
    numbers = [str(number) for number in range(len(files.class_names))]
    wanted = numbers if sorted(texts) == sorted(numbers) else list(files.class_names)
    if sorted(texts) != sorted(wanted):
        raise UserError(
            f"its classes are {shortened(texts)}, those of the data set are {shortened(files.class_names)}; they must "
            "be the same"
        )
    return np.array([texts.index(name) for name in wanted], np.int64)


def said_order(files: ModelFiles) -> npt.NDArray[np.int64] | slice:
    """The same by the option `classes`; everything as it is where it says nothing.

    Raises:
        UserError: the option names other classes than the data set has, or this is a regression.
    """
    assert isinstance(files.options, ClassOrder)
    if not files.options.classes:
        return slice(None)
    if files.num_classes is None:
        raise UserError("options.classes: the data set is a regression; leave it out")
    try:
        return class_order(files.options.classes, files)
    except UserError as error:
        raise UserError(f"options.classes: {error}") from error


def _text(value: Any) -> str:
    return text_of(value.item() if isinstance(value, np.generic) else value) or ""
