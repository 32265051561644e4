"""Groups of rows that are held out as unknown sets: those with certain values in a column, of whichever file.

Such rows are in none of train, validation and test; the set is made of those in the training rows' file, which may have
fewer. Where a group is one of values of a column, these count as never seen, as they would be of a new group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from hydra_ray.data.rows import Bools, Source
from hydra_ray.data.splits import Shares, Split, packed, unknown_split
from hydra_ray.data.tables.categories import category_of
from hydra_ray.data.tables.labels import distinct_texts, shortened, text_of
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import UserError

Value = str | int | float | bool
Groups = Mapping[str, Mapping[str, Sequence[Value]]]
"""Name of the set -> column -> values; of several columns, rows that have one of the values in each."""


def unseen_values(groups: Groups) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    """Column -> values that no training row has, as groups of that column alone are held out; None: there is none."""
    found: dict[str, list[str]] = {}
    for group in groups.values():
        if len(group) == 1:
            ((column, values),) = group.items()
            found.setdefault(column, []).extend(sorted(_texts(values)))
    return tuple((column, tuple(values)) for column, values in found.items()) or None


def held_out_splits(train: Source, groups: Groups, broken: tuple[int, ...] = ()) -> dict[str, Split]:
    """The unknown sets, of rows of the training rows' source, by the names of their splits.

    Args:
        train: the training rows' source.
        groups: that are held out.
        broken: positions of its rows that cannot be read.

    Raises:
        UserError: a column that is not there, or a group of none or all of the rows.
    """
    splits: dict[str, Split] = {}
    for name in groups:
        rows = rows_of(train, {name: groups[name]})
        if not rows.any() or rows.all():
            number = "none" if not rows.any() else "all"
            wanted = " and ".join(f"{column} in {_listed(values)}" for column, values in groups[name].items())
            raise UserError(f"data.held_out.{name}: {number} of the rows of {train.name} have {wanted}; name others")
        shares = Shares(train.num_rows, 0, 0, 0, None, packed(rows), broken)
        split = unknown_split(name).name
        splits[split] = Split(split, train, shares, "test")
    return splits


def rows_of(source: Source, groups: Groups) -> Bools:
    """Which rows of a source are in any of the groups: bool [num_rows]."""
    found = np.zeros(source.num_rows, np.bool_)
    for name, group in groups.items():
        within = np.ones(source.num_rows, np.bool_)
        for column, values in group.items():
            within &= _has(source, column, _texts(values), f"data.held_out.{name}")
        found |= within
    return found


def _has(source: Source, column: str, wanted: set[str], key: str) -> Bools:
    if not isinstance(source, TableSource):
        raise UserError(f"{key}: {source.name} has no columns; name rows by a view or a file in data.unknown")
    if column not in source.column_names:
        raise UserError(f"{key}: {source.name} has no column {column}; it has {shortened(source.column_names, 20)}")
    parts = [np.zeros(0, np.bool_)]
    for _, batch in source.whole_batches(0, source.num_rows, [column]):
        texts, numbers = distinct_texts(batch.column(column))
        parts.append(np.array([category_of(text) in wanted for text in texts])[numbers])
    return np.concatenate(parts)


def _texts(values: Sequence[Value]) -> set[str]:
    """What the values are known by."""
    return {text for value in values if (text := category_of(text_of(value))) is not None}


def _listed(values: Sequence[Value]) -> str:
    return shortened([str(value) for value in values])
