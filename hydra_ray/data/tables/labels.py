"""Labels of a classification: whatever a column holds, mapped to the numbers of the classes that occur.

A class is known by its text: that of a text, `true` or `false`, or a whole number's digits, so that 2, 2.0 and "2" are
one class in whatever file. Which column holds labels is decided in `columns.py`.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hydra_ray.data.rows import Ints
from hydra_ray.data.tables.numbers import without_dictionary
from hydra_ray.errors import UserError

NO_LABEL = -1
_HUBS_NO_LABEL = "-1"


@dataclass(frozen=True)
class Classes:
    """The classes of the training rows, and what a file says for each of them."""

    names: tuple[str, ...]
    """In order; the class of number k is the k-th."""
    texts: tuple[tuple[str, int], ...]
    """What stands in the file's column -> the class's number."""

    @property
    def is_plain(self) -> bool:
        """Whether the file holds the numbers themselves."""
        return all(text == str(number) for text, number in self.texts)

    def numbers(self, column: Any, row_id: Ints, place: str) -> Ints:
        """Numbers of classes, -1 where there is no label: int64 [n].

        Args:
            column: the Arrow column of labels.
            row_id: int64 [n], positions in the source, for messages.
            place: key, path and column as messages name them.

        Raises:
            UserError: a label that is none of the classes of the training rows; the line names it and its row.
        """
        texts, codes = distinct_texts(column)
        known = dict(self.texts)
        numbers = np.array([known.get(text, -2) if text is not None else NO_LABEL for text in texts], np.int64)
        numbers[[text == _HUBS_NO_LABEL and text not in known for text in texts]] = NO_LABEL
        found = numbers[codes]
        unknown = np.flatnonzero(found == -2)
        if len(unknown):
            text = texts[codes[unknown[0]]]
            count = int((codes == codes[unknown[0]]).sum())
            raise UserError(
                f"{place}: row {row_id[unknown[0]]} has label {text} ({count} rows here), which no training row has "
                f"(classes are {shortened(self.names)}); add training rows of it, or remove these"
            )
        return found


def classes_of(texts: Iterable[str], names: Sequence[str] | None, place: str) -> Classes:
    """The classes behind the distinct labels of the training source.

    Args:
        texts: as in the column, each once; -1 where `names` are given is no label.
        names: of the classes 0, 1, ... from the file's metadata, if there are any.
        place: key, path and column as messages name them.

    Raises:
        UserError: a label beyond the names.
    """
    texts = sorted(texts, key=rank_of)
    if names is None:
        return Classes(tuple(texts), tuple((text, number) for number, text in enumerate(texts)))
    numbered = tuple((str(number), number) for number in range(len(names)))
    by_name = tuple((name, number) for number, name in enumerate(names))
    known = {text for text, _ in numbered} | {_HUBS_NO_LABEL}
    if set(texts) <= set(names) and not set(texts) <= known:  # text under the metadata of numbers
        return Classes(tuple(names), by_name)
    beyond = [text for text in texts if text not in known]
    if beyond:
        raise UserError(f"{place}: label {beyond[-1]}, but its metadata name {len(names)} classes; mend one of them")
    return Classes(tuple(names), numbered)


def followed(classes: Classes, names: Sequence[str] | None, place: str) -> Classes:
    """The training rows' classes for a further file, whose metadata may number them in another order.

    Args:
        classes: of the training rows.
        names: of the classes in the further file's metadata, if there are any.
        place: as messages name the further file.

    Raises:
        UserError: the two files have no class name in common.
    """
    if names is None or tuple(names) == classes.names or classes.names == tuple(text for text, _ in classes.texts):
        return classes
    numbers = {name: number for number, name in enumerate(classes.names)}
    shared = tuple((str(place), numbers[name]) for place, name in enumerate(names) if name in numbers)
    if not shared:
        raise UserError(
            f"{place}: its metadata name the classes {shortened(names)}, those of the training rows "
            f"{shortened(classes.names)}; bring them to one set of names"
        )
    return Classes(classes.names, shared)


def distinct_texts(column: Any) -> tuple[list[str | None], Ints]:
    """The different labels of a column and which of them each row has: texts [k], int64 [n]; None for no label."""
    encoded = without_dictionary(column).dictionary_encode()
    texts = [text_of(value) for value in encoded.dictionary.to_pylist()]
    codes = encoded.indices.cast("int64").fill_null(len(texts)).to_numpy(zero_copy_only=False)
    return [*texts, None], codes


def text_of(value: Any) -> str | None:
    """What a class is known by; None for what is no label: null, NaN and empty text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (float, decimal.Decimal)) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value).strip() or None


def shortened(names: Sequence[str], most: int = 6) -> str:
    """The first names and how many there are more."""
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def rank_of(text: str) -> tuple[int, int, str]:
    """The order of classes and categories: numbers by value, before text by its letters."""
    try:
        return (0, int(text), text)
    except ValueError:
        return (1, 0, text)
