"""What is said of how a table's columns are read: categories, missing values and what stands for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hydra_ray.data.tables.categories import category_of, counted
from hydra_ray.data.tables.facts import Facts
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.numbers import is_text
from hydra_ray.data.tables.reading import Reading

_MOST = 8


def remarks_on(names: Sequence[str], facts: Facts, reading: Reading) -> Iterator[str]:
    """One remark on all missing values of categories, all rare ones, and all missing numbers.

    Args:
        names: of the columns of features.
        facts: of the training rows' file.
        reading: how they are read.
    """
    codes = dict(reading.codes)
    missing = {name: _num_missing(name, facts) for name in names if name in codes}
    missing = {name: count for name, count in missing.items() if count}
    if missing:
        marks = " (a ? is a missing value)" if any("?" in facts.of(name).texts for name in missing) else ""
        yield f"missing, a category of its own: {_listed(missing)}{marks}"
    rare = {name: _num_rare(name, facts, values) for name, values in codes.items()}
    rare = {name: count for name, count in rare.items() if count}
    if rare:
        yield f"rare or held out, so of the code of values never seen: {_listed(rare)}"
    if reading.medians:
        counts = {name: _num_gaps(name, facts, reading) for name, _ in reading.medians}
        yield f"missing, the median instead and a feature that says so: {_listed(counts)}"
    written = [f"{name} ({each})" for name, each in reading.times if is_text(facts.schema.field(name).type)]
    if written:
        yield f"dates written as {shortened(written, _MOST)}"


def _listed(counts: dict[str, int]) -> str:
    return shortened([f"{count:,} of {name}" for name, count in counts.items()], _MOST)


def _num_missing(name: str, facts: Facts) -> int:
    column = facts.of(name)
    return column.num_rows - counted(column.texts).total()


def _num_rare(name: str, facts: Facts, values: Sequence[str]) -> int:
    """Rows whose value has no code."""
    known = set(values)
    return sum(count for text, count in facts.of(name).texts.items() if category_of(text) not in {*known, None})


def _num_gaps(name: str, facts: Facts, reading: Reading) -> int:
    column = facts.of(name)
    if not is_text(facts.schema.field(name).type):
        return column.num_missing + column.num_not_numbers
    is_value = reading.value_test(name)
    return column.num_rows - sum(count for text, count in column.texts.items() if is_value(text))
