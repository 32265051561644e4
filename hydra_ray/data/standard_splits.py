"""Standard splits: sets that bring columns `test_split_0`, `test_split_1`, ..., each the test rows of one split.

So the UCI regression sets of Gal and Ghahramani (2016) come, with 20 splits of 90 and 10 %. How a set without such
columns is cut is in `splits.py`.
"""

from __future__ import annotations

from hydra_ray.data.rows import Source
from hydra_ray.data.splits import packed
from hydra_ray.data.tables.columns import split_column
from hydra_ray.data.tables.source import TableSource
from hydra_ray.errors import UserError


def standard_splits(source: Source) -> tuple[int, ...]:
    """The numbers of a source's standard splits, ascending; none where it has no such columns."""
    return source.columns.test_splits if isinstance(source, TableSource) else ()


def standard_test_rows(source: Source, split: int, *, has_own_test: bool) -> bytes:
    """The test rows of a standard split, as `Shares.test_rows` holds them.

    Args:
        source: Of the training rows.
        split: Its number.
        has_own_test: Whether the set has a test split beside the training rows.

    Raises:
        UserError: the source has no such split, or none of its rows or all of them are in it.
    """
    key = f"data.test_split={split}"
    known = standard_splits(source)
    if has_own_test:
        raise UserError(f"{key}: {source.name} has a test split of its own; leave data.test_split out")
    if not isinstance(source, TableSource) or not known:
        raise UserError(
            f"{key}: {source.name} has no columns test_split_0, test_split_1, ...; leave data.test_split out"
        )
    if split not in known:
        raise UserError(f"{key}: {source.name} has no column {split_column(split)}; its splits are {_listed(known)}")
    rows = source.read_flags(split_column(split))
    if not rows.any() or rows.all():
        number = "none" if not rows.any() else "all"
        raise UserError(f"{key}: {number} of the rows of {source.name} are test rows; choose another split")
    return packed(rows)


def _listed(numbers: tuple[int, ...]) -> str:
    """0 to 19 where none is missing."""
    if numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(str(number) for number in numbers)
