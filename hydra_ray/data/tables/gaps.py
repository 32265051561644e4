"""Missing values in columns of numbers: which values are missing, and the median that stands for them.

Missing are null, NaN, empty text and the words that people write for it. A column in which a training row lacks its
value becomes two features: the number, with the median where it is missing, and whether it is (1 or 0).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.rows import Bools
from hydra_ray.data.tables.numbers import Decimal, Offset, exact_values, is_text, number_in, without_dictionary

WORDS = ("", "?", "-", "--", ".", "na", "n/a", "#n/a", "nan", "none", "null", "nil", "missing", "unknown")
"""What people write among numbers for one that is missing, in small letters."""


def is_word_for_missing(text: str) -> bool:
    """Whether a text among numbers stands for one that is missing."""
    return text.strip().lower() in WORDS


def indicator_of(name: str) -> str:
    """The name of the feature that says whether a column's value is missing."""
    return f"{name} is missing"


def is_there(column: Any, is_value: Callable[[str], bool]) -> Bools:
    """Which values of a column of numbers are not missing: bool [n].

    Args:
        column: Arrow values of a type of numbers, of text, or nulls.
        is_value: whether a text is a value.
    """
    column = without_dictionary(column)
    there = column.is_valid().to_numpy(zero_copy_only=False)
    if is_text(column.type):
        encoded = column.dictionary_encode()
        found = np.array([is_value(text) for text in encoded.dictionary.to_pylist()] or [False])
        return there & found[encoded.indices.fill_null(0).to_numpy(zero_copy_only=False)]
    if pat.is_floating(column.type):
        return there & ~np.isnan(exact_values(column)[0])
    return there


def no_word(text: str) -> bool:
    """Whether a text in a column of numbers is no word for a missing one."""
    return not is_word_for_missing(text)


def is_number_in(decimal: Decimal) -> Callable[[str], bool]:
    """Whether a text is a number, where everything else counts as missing."""
    return lambda text: not is_word_for_missing(text) and number_in(text, decimal) is not None


def median_of(parts: Iterable[Any], exact: Callable[[Any], tuple[npt.NDArray[Any], float]]) -> Offset:
    """The lower median of a column's values, so that it is one of them.

    Args:
        parts: Arrow values without the missing ones; one at least.
        exact: their numbers and the unit of these.
    """
    found = [exact(part) for part in parts if len(part)]
    values = np.concatenate([values for values, _ in found])
    middle = np.partition(values, (len(values) - 1) // 2)[(len(values) - 1) // 2].item()
    unit = found[0][1]
    return middle if unit == 1 else middle * unit


def mask_of(there: Bools) -> pa.Array:
    """For Arrow's filter."""
    return pa.array(there)
