"""Which column holds the classes, or the target of a regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.facts import ColumnFacts, Facts
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.numbers import is_number, is_text, is_time, is_whole, plain_type
from hydra_ray.data.tables.options import TableOptions, listed
from hydra_ray.data.tables.text_numbers import decimal_of
from hydra_ray.errors import OpenQuestionError, UserError

LABEL_NAMES = ("label", "labels", "fine_label", "target", "targets", "class", "class_id", "y", "digit")
_FEW_CLASSES = 20
_MOST_NAMES = 6
_MOST_CLASSES = 0.5
"""Share of the rows; where more of them are classes of their own, the column is no label."""


def find_label(
    fields: Sequence[pa.Field],
    facts: Facts,
    class_names: Mapping[str, Sequence[str]],
    options: TableOptions,
    place: str,
) -> str | None:
    """The column of classes; None where no column could be one.

    It is the one that `data.label` names, else one with a usual name (`label`, `target`, `class`, `y`, ...), whatever
    its type, else the only one with class names in the hub's metadata, else the only one that could hold classes:
    whole numbers, true and false, or text. Of several the last column is it where it is the only text.

    Args:
        fields: That may be the label.
        facts: Of the file's columns.
        class_names: Of columns, from the hub's metadata.
        options: What the configuration says.
        place: The key and path that messages name.

    Raises:
        UserError: no such column, several that could be meant, or one whose values are no classes.
    """
    if options.label is not None:
        field = _named(fields, options.label, "data.label", place)
        _require_classes(field, facts, place)
        return field.name
    usual = [field for name in LABEL_NAMES for field in fields if field.name.lower() == name]
    fitting = [field for field in usual if _may_be_classes(field, facts)]
    if fitting:
        same = [field.name for field in fitting if field.name.lower() == fitting[0].name.lower()]
        return _only(same, fields, place)
    if usual:
        _require_classes(usual[0], facts, place)
    described = [field.name for field in fields if field.name in class_names and is_whole(field.type)]
    if len(described) == 1:
        return described[0]
    candidates = [field for field in fields if _may_be_classes(field, facts) and not _is_float(field.type)]
    candidates = [field for field in candidates if has_few_classes(_texts(facts, field.name))]
    texts = [field.name for field in candidates if is_text(field.type)]
    is_clear = len(texts) == 1 and texts[0] == fields[-1].name
    names = texts if is_clear else [field.name for field in candidates]
    return _only(names, fields, place) if names else None


def check_target(fields: Sequence[pa.Field], facts: Facts, options: TableOptions, place: str) -> str:
    """The column that `data.target` names, which holds numbers.

    Raises:
        UserError: no such column, or one of something else.
    """
    assert options.target is not None
    key = f"data.target={options.target}"
    field = _named(fields, options.target, "data.target", place)
    is_numeric = is_number(field.type) and not pat.is_boolean(plain_type(field.type))
    if not is_numeric and not (is_text(field.type) and decimal_of(facts.of(field.name).texts, options.decimal)):
        found = f"column {field.name} of {place} holds {field.type}"
        raise UserError(f"{key}: {found}, but a target is a number; name a column of numbers")
    return field.name


def has_few_classes(facts: ColumnFacts) -> bool:
    """Whether the distinct values of a column are few enough for classes."""
    return len(facts.texts) <= max(_FEW_CLASSES, _MOST_CLASSES * facts.num_rows)


def _named(fields: Sequence[pa.Field], name: str, key: str, place: str) -> pa.Field:
    found = [field for field in fields if field.name == name]
    if not found:
        raise UserError(f"{key}={name}: {place} has no such column; its columns are {listed(fields)}")
    return found[0]


def _texts(facts: Facts, name: str) -> ColumnFacts:
    facts.look_at([name], labels=[name])
    return facts.of(name)


def _may_be_classes(field: pa.Field, facts: Facts) -> bool:
    if is_text(field.type) or pat.is_boolean(plain_type(field.type)) or is_whole(field.type):
        return True
    return _is_float(field.type) and facts.of(field.name).is_whole and facts.of(field.name).has_values


def _is_float(kind: pa.DataType) -> bool:
    return is_number(kind) and not is_time(kind) and not is_whole(kind) and not pat.is_boolean(plain_type(kind))


def _require_classes(field: pa.Field, facts: Facts, place: str) -> None:
    if _may_be_classes(field, facts):
        return
    if pat.is_null(field.type) or (_is_float(field.type) and not facts.of(field.name).has_values):
        raise UserError(
            f"{place}: column {field.name} holds no value at all, so rows have no label; data.label=NAME names it"
        )
    found = f"labels are classes, but column {field.name} holds {field.type}"
    if is_number(field.type):
        found += f"; for a regression set data.target={field.name}"
    raise UserError(f"{place}: {found}; data.label=NAME names the column of classes")


def _only(names: Sequence[str], fields: Sequence[pa.Field], place: str) -> str:
    if len(names) > 1:
        several = " or ".join(names) if len(names) <= _MOST_NAMES else shortened(names, _MOST_NAMES)
        unclear = f"{several} could be the label column"
        way = f"name it in data.label, e.g. data.label={names[-1]}"
        raise OpenQuestionError(f"{place}: {unclear} of {listed(fields)}; {way}", {"label": names[-1]})
    return names[0]
