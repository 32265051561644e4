"""Columns that say which row it is and nothing of it: counters, ids, and the index that pandas writes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pyarrow as pa

from hydra_ray.data.tables.facts import Facts
from hydra_ray.data.tables.numbers import is_text, is_whole

_LEAST_ROWS = 10
"""Fewer rows count themselves by chance."""
_INDEX = re.compile(r"Unnamed: \d+|__index_level_\d+__")
_IDS = re.compile(r"(.+[_ -])?id|index|idx|row[_ -]?(number|num|no|nr)?|uuid|guid", re.IGNORECASE)
_MOST_REPEATED = 0.5
"""An id may be there more than once, as of a house that was sold twice."""


def row_numbers(fields: Sequence[pa.Field], facts: Facts) -> dict[str, str]:
    """Columns among `fields` that number the rows, and what each of them is in words.

    Whole numbers that are 0, 1, 2, ... or 1, 2, 3, ..., ids (whole numbers or text under a name like id that are
    different in most rows), and pandas' index, which has no name of its own.
    """
    found = {field.name: "pandas' index" for field in fields if _INDEX.fullmatch(field.name)}
    if fields and not fields[0].name:
        found[""] = "pandas' index"
    whole = [field.name for field in fields if is_whole(field.type) and field.name not in found]
    named = [field.name for field in fields if _IDS.fullmatch(field.name) and field.name not in found]
    named = [name for name in named if name in whole or is_text(facts.schema.field(name).type)]
    facts.look_at([*whole, *(name for name in named if name not in whole)], labels=named)
    for name in whole:
        if facts.of(name).counts_rows and facts.of(name).num_rows >= _LEAST_ROWS:
            found[name] = "counts the rows"
    for name in named:
        distinct = len(facts.of(name).texts)
        rows = facts.of(name).num_rows
        if name not in found and distinct > _MOST_REPEATED * rows:
            found[name] = f"an id, {distinct:,} different in {rows:,} rows"
    return found
