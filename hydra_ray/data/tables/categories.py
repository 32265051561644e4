"""Columns of categories: which texts get a code of their own, and a column's values as codes.

Code 0 is a value that is missing, 1 any that has no code: rare ones, and those that no training row has. The others
follow in the order of numbers by value, then texts by their letters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from hydra_ray.data.rows import Floats
from hydra_ray.data.tables.labels import distinct_texts, rank_of

MISSING = 0
OTHER = 1
FIRST = 2
"""The code of the first value."""

_NO_VALUE = "?"
_WHOLE = re.compile(r"([-+]?)0*(\d+)(\.0*)?")
_MOST_WANTED = 10
_PER_ROWS = 1_000
_FEW = 20
_MOST_DISTINCT = 0.5
"""Share of the rows with a value; where more of them have one of their own, the column says little of any row."""


def category_of(text: str | None) -> str | None:
    """What a value is known by, whatever type a file or frame has it in; None for one that is missing, also `?`.

    Whole numbers by their digits (7, 7.0 and 007 are one), true and false in small letters, text without spaces around.
    """
    if text is None or text == _NO_VALUE:
        return None
    whole = _WHOLE.fullmatch(text)
    if whole:
        return f"{whole[1].replace('+', '')}{whole[2]}"
    return text.lower() if text.lower() in ("true", "false") else text


def counted(texts: Mapping[str, int]) -> Counter[str]:
    """How often each category is there.

    Args:
        texts: how often each distinct text is, as `ColumnFacts.texts` has it.
    """
    found: Counter[str] = Counter()
    for text, count in texts.items():
        category = category_of(text)
        if category is not None:
            found[category] += count
    return found


def least_rows(num_rows: int) -> int:
    """Rows that a value needs for a code of its own: 1 in 1,000 of the file's, from 2 to 10."""
    return min(_MOST_WANTED, max(2, num_rows // _PER_ROWS))


def values_with_codes(counts: Counter[str], num_rows: int, unseen: Collection[str] = ()) -> tuple[str, ...]:
    """The values of codes 2, 3, ...; all of them where none is there often enough.

    Args:
        counts: of the column's categories.
        num_rows: of the training rows' file.
        unseen: that shall count as never seen.
    """
    least = least_rows(num_rows)
    known = {text: count for text, count in counts.items() if text not in unseen}
    often = [text for text, count in known.items() if count >= least] or known
    return tuple(sorted(often, key=rank_of))


def is_nearly_unique(counts: Counter[str]) -> bool:
    """Whether nearly every row has a value of its own, as names and comments do."""
    distinct = len(counts)
    rows = counts.total()
    return distinct == rows > 1 or (distinct > _FEW and distinct > _MOST_DISTINCT * rows)


def as_codes(column: Any, values: Sequence[str]) -> Floats:
    """Codes of a column's rows: float32 [n].

    Args:
        column: Arrow values of text, numbers, true and false, or nulls.
        values: of codes 2, 3, ...
    """
    known = {text: FIRST + number for number, text in enumerate(values)}
    texts, numbers = distinct_texts(column)
    categories = [category_of(text) for text in texts]
    codes = [MISSING if category is None else known.get(category, OTHER) for category in categories]
    return np.array(codes, np.float32)[numbers]
