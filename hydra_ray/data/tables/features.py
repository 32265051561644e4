"""How columns of features are read: as numbers, with what stands for a missing one, or as the codes of categories.

Decided from the training rows' file and what the configuration says; other files follow (`following.py`). What cannot
be decided becomes a line with the key that settles it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.categories import category_of, counted, is_nearly_unique, values_with_codes
from hydra_ray.data.tables.facts import ColumnFacts, Facts, can_be_looked_at
from hydra_ray.data.tables.gaps import is_number_in, is_there, mask_of, median_of
from hydra_ray.data.tables.numbers import Decimal, Offset, exact_numbers, is_text, is_time, kind_of, offset_for
from hydra_ray.data.tables.options import Role, TableOptions
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.text_numbers import decimal_of, likely_decimal, problem_of, without_words
from hydra_ray.data.tables.text_times import ISO, as_times, format_of
from hydra_ray.errors import OpenQuestionError, UserError

Beside = list[tuple[str, str]]
"""Columns that are left out, and why."""


def find_features(
    fields: Sequence[pa.Field], facts: Facts, options: TableOptions, place: str, *, may_leave_out: bool
) -> tuple[tuple[str, ...], Reading, Beside]:
    """Names of the columns of features, how they are read, and what is left out of `fields`.

    Args:
        fields: that are not the label, nor row numbers; one at least.
        facts: of the file's columns.
        options: what the configuration says.
        place: the key and path that messages name.
        may_leave_out: whether columns that say nothing, without a value or with one in all rows, are left out.

    Raises:
        UserError: a column that cannot be used, or none that says anything.
    """
    forced = dict(options.columns or ())
    seen = [field.name for field in fields if can_be_looked_at(field.type)]
    facts.look_at(seen, labels=[name for name in seen if forced.get(name) == "category"])
    beside: Beside = []
    if may_leave_out:
        beside = _that_say_nothing(seen, facts, place, some_are_left=len(seen) < len(fields))
    fields = [field for field in fields if field.name not in dict(beside)]
    _refuse(fields, facts, options, place)
    roles = {field.name: _role(field, facts, options) for field in fields}
    numbers = [name for name, role in roles.items() if role != "category"]
    reading = Reading(
        codes=_codes(facts, [name for name in roles if name not in numbers], options),
        decimals=_decimals(facts, numbers, options),
        times=_times(facts, numbers),
        other_is_missing=tuple(name for name in numbers if forced.get(name) == "number"),
    )
    medians = _medians(facts, numbers, reading)
    offsets = _offsets(facts, numbers, reading, place)
    return tuple(roles), replace(reading, medians=medians, offsets=offsets, kinds=_kinds(facts, numbers)), beside


def _that_say_nothing(names: Sequence[str], facts: Facts, place: str, *, some_are_left: bool) -> Beside:
    """Columns that have no value in any row, or the same in all of them."""
    empty = [name for name in names if not _has_values(facts.of(name))]
    same = {name: value for name in names if (value := _constant(facts.of(name))) is not None}
    if len(empty) + len(same) == len(names) and not some_are_left:
        found = [f"{name} is {value}" for name, value in same.items()] + [f"{name} has no value" for name in empty]
        raise UserError(
            f"{place}: no column says anything: {', '.join(found[:3])} in every row; add columns that differ"
        )
    beside = [(name, "no value in any row") for name in empty]
    return beside + [
        (name, f"{value} in every row for training; data.ignore=[] uses it") for name, value in same.items()
    ]


def _has_values(column: ColumnFacts) -> bool:
    if column.texts:
        return bool(counted(column.texts))
    return column.num_missing + column.num_not_numbers < column.num_rows


def _constant(column: ColumnFacts) -> str | None:
    """The value that all rows of a column have; None where they differ, one has none, or there is one row."""
    if column.num_missing or column.num_rows < 2:
        return None
    if column.texts:
        (text, *others) = column.texts
        is_one = not others and column.texts[text] == column.num_rows and category_of(text) is not None
        return text if is_one else None
    is_one = column.low is not None and column.low == column.high and math.isfinite(column.low)
    return f"{column.low:g}" if is_one and not column.num_not_numbers else None


# roles


def _role(field: pa.Field, facts: Facts, options: TableOptions) -> Role:
    """What a column is that can be used."""
    forced = dict(options.columns or ()).get(field.name)
    if forced is not None:
        return forced
    if not is_text(field.type):
        return "number"
    texts = without_words(facts.of(field.name))
    return "number" if decimal_of(texts, options.decimal) or format_of(texts) else "category"


@dataclass(frozen=True)
class _Problem:
    """Why a column cannot be a feature."""

    found: str
    ways: str
    """Out of it; {ignore}, {category} and {number} stand for the keys that do that to the columns."""
    likeliest: Literal["ignore", "number"] | None = "ignore"
    """Of these ways; None where it is none of them."""


def _refuse(fields: Sequence[pa.Field], facts: Facts, options: TableOptions, place: str) -> None:
    """Raises OpenQuestionError for the first column that cannot be used, and others with the same problem."""
    problems = {field.name: found for field in fields if (found := _problem(field, facts, options))}
    if not problems:
        return
    first = next(iter(problems.values()))
    names = [name for name, other in problems.items() if other.ways == first.ways]
    ways = first.ways.format(
        ignore=options.ignoring(names),
        category=options.with_columns(names, "category"),
        number=options.with_columns(names, "number"),
    )
    answers = {
        "ignore": {"ignore": [*(options.ignore or ()), *names]},
        "number": {"columns": {**dict(options.columns or ()), **dict.fromkeys(names, "number")}},
    }
    message = f"{place}: {first.found}: {ways}"
    if first.likeliest is None:
        raise UserError(message)
    raise OpenQuestionError(message, answers[first.likeliest])


def _problem(field: pa.Field, facts: Facts, options: TableOptions) -> _Problem | None:
    """None where a column can be a feature."""
    name = field.name
    forced = dict(options.columns or ()).get(name)
    if not can_be_looked_at(field.type):
        found = f"column {name} holds {field.type}"
        return _Problem(found, "store numbers or text there, or leave it out with {ignore}")
    column = facts.of(name)
    if not _has_values(column):
        return _Problem(f"column {name} holds no value at all", "store values there, or leave it out with {ignore}")
    if forced == "number" and is_text(field.type):
        decimal = likely_decimal(without_words(column), options.decimal)
        if not any(map(is_number_in(decimal), column.texts)):
            ways = "make categories of it with {category}, or leave it out with {ignore}"
            return _Problem(f"column {name} holds no number", ways)
    if forced is not None or not is_text(field.type) or decimal_of(without_words(column), options.decimal):
        return None
    return None if format_of(without_words(column)) else _problem_of_text(name, column, options)


def _problem_of_text(name: str, column: ColumnFacts, options: TableOptions) -> _Problem | None:
    """Of a column of text that is neither numbers nor dates."""
    problem = problem_of(name, column, options.decimal)
    if problem and " may part " in problem:
        return _Problem(problem, "say which with data.decimal=',' or data.decimal='.'", None)
    if problem:
        ways = "store numbers there, take such values as missing with {number}, make categories of all with {category}"
        return _Problem(problem, ways + ", or leave it out with {ignore}", "number")
    counts = counted(column.texts)
    if is_nearly_unique(counts):
        number = f"{len(counts):,} different in {counts.total():,} rows"
        ways = "leave it out with {ignore}, or make categories of it with {category}"
        return _Problem(f"column {name} holds text, {number}, as names and comments do", ways)
    return None


# what is decided of them


def _codes(facts: Facts, names: Sequence[str], options: TableOptions) -> tuple[tuple[str, tuple[str, ...]], ...]:
    unseen = dict(options.unseen or ())
    return tuple(
        (name, values_with_codes(counted(facts.of(name).texts), facts.of(name).num_rows, unseen.get(name, ())))
        for name in names
    )


def _decimals(facts: Facts, names: Iterable[str], options: TableOptions) -> tuple[tuple[str, Decimal], ...]:
    """Of columns of text that are numbers, what stands between ones and tenths."""
    forced = dict(options.columns or ())
    found: list[tuple[str, Decimal]] = []
    for name in names:
        if not is_text(facts.schema.field(name).type):
            continue
        texts = without_words(facts.of(name))
        decimal = decimal_of(texts, options.decimal)
        if decimal is None and forced.get(name) == "number":
            decimal = likely_decimal(texts, options.decimal)
        if decimal is not None:
            found.append((name, decimal))
    return tuple(found)


def _times(facts: Facts, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Of columns that are dates and times, how they are written where they are text."""
    found: list[tuple[str, str]] = []
    for name in names:
        kind = facts.schema.field(name).type
        written = format_of(without_words(facts.of(name))) if is_text(kind) else None
        if written or pat.is_date(kind) or pat.is_timestamp(kind):
            found.append((name, written or ISO))
    return tuple(found)


def _kinds(facts: Facts, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Of columns of numbers, what they hold in the file where it is no plain number."""
    found = [(name, kind_of(facts.schema.field(name).type)) for name in names]
    return tuple((name, kind) for name, kind in found if kind is not None)


def _medians(facts: Facts, names: Iterable[str], reading: Reading) -> tuple[tuple[str, Offset], ...]:
    """Of columns of numbers that lack some, the median of the others."""
    lacking = [name for name in names if _lacks_some(name, facts, reading)]
    return tuple((name, _median(name, facts, reading)) for name in lacking)


def _lacks_some(name: str, facts: Facts, reading: Reading) -> bool:
    column = facts.of(name)
    if column.num_missing or column.num_not_numbers:
        return True
    if not is_text(facts.schema.field(name).type):
        return False
    is_value = reading.value_test(name)
    return sum(count for text, count in column.texts.items() if is_value(text)) < column.num_rows


def _median(name: str, facts: Facts, reading: Reading) -> Offset:
    decimal = dict(reading.decimals).get(name, ".")
    parts = (
        reading.as_written(column.filter(mask_of(is_there(column, reading.value_test(name)))), name)
        for column in facts.parts_of(name)
    )
    return median_of(parts, lambda column: exact_numbers(column, decimal))


def _offsets(facts: Facts, names: Iterable[str], reading: Reading, place: str) -> tuple[tuple[str, Offset], ...]:
    found: list[tuple[str, Offset]] = []
    for name in names:
        low, high = _range(name, facts, reading)
        is_moment = is_time(facts.schema.field(name).type) or name in dict(reading.times)
        if low is None or high is None:
            continue
        offset = safe_offset(f"{place}: column {name}", low, high, centre=is_moment)
        if offset:
            found.append((name, offset))
    return tuple(found)


def _range(name: str, facts: Facts, reading: Reading) -> tuple[Offset | None, Offset | None]:
    """Smallest and largest value of a column; of text only where it is dates."""
    column = facts.of(name)
    written = dict(reading.times).get(name)
    if written is None or not is_text(facts.schema.field(name).type):
        return column.low, column.high
    times = as_times(pa.array(list(without_words(column)), pa.string()), written)
    seconds = times.cast(pa.int64()).to_numpy()
    return int(np.min(seconds)), int(np.max(seconds))


def safe_offset(place: str, low: Offset, high: Offset, *, centre: bool) -> Offset:
    """See `offset_for`; what float32 has no digits for is refused under the column's name."""
    try:
        return offset_for(low, high, centre=centre)
    except ValueError as error:
        raise UserError(f"{place}: {error}; store it in larger units") from None
