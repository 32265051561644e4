"""Columns of test, validation, unknown and further files, found by the names that the training rows' columns have."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.column_types import is_encoded, is_tensor
from hydra_ray.data.tables.columns import Columns, considered, decimals_of, find_columns, hub_class_names
from hydra_ray.data.tables.facts import Facts
from hydra_ray.data.tables.labels import Classes, followed, shortened
from hydra_ray.data.tables.numbers import is_number, is_text
from hydra_ray.data.tables.options import TableOptions
from hydra_ray.data.tables.text_numbers import decimal_of, problem_of
from hydra_ray.errors import UserError


def follow_columns(train: Columns, facts: Facts, options: TableOptions, place: str, *, needs_label: bool) -> Columns:
    """The columns of a further file that are those of the training rows, by name and in the same order.

    Images may have another column name and lie there in another way, as files or as tensors; their labels may have
    another name too, where nobody uses them.

    Args:
        train: Of the training rows.
        facts: Of the further file's columns.
        options: What the configuration says.
        place: The key and path that messages name.
        needs_label: False for a set whose labels nobody uses.

    Raises:
        UserError: a column that the training rows have is not there, or holds something else.
    """
    schema = facts.schema
    fields, left_out = considered(schema, options, place)
    names = {field.name for field in fields}
    if train.kind != "numbers":
        train = _as_laid_out(train, facts, names, options, place)
    missing = [name for name in train.inputs if name not in names]
    if missing:
        has = shortened([field.name for field in fields], most=20)
        raise UserError(f"{place}: has no column {missing[0]}, which the training rows have; its columns are {has}")
    label = _label(train, names, place, needs_label)
    numbers = list(train.feature_names or ())
    if label is not None and train.task == "regression":
        numbers.append(label)
    for name in numbers:
        _check_number(schema.field(name), facts, _as_in_train(options, train, name), place)
    read = {*train.inputs, label}
    beside = [(field.name, _why(field, train)) for field in fields if field.name not in read]
    return replace(
        train,
        label=label,
        classes=_classes(train, schema, label, place),
        decimals=tuple(
            pair for name in numbers for pair in decimals_of([name], facts, _as_in_train(options, train, name))
        ),
        left_out=(*left_out, *beside),
    )


def _as_laid_out(train: Columns, facts: Facts, names: set[str], options: TableOptions, place: str) -> Columns:
    """With the one column of inputs as this file has it: image files, in a struct or plain, or tensors."""
    name = train.inputs[0]
    if name not in names:
        found = find_columns(facts, replace(options, target=None, label=None), place, needs_label=False)
        return replace(train, inputs=found.inputs, kind=found.kind, is_struct=found.is_struct)
    found = facts.schema.field(name).type
    if is_encoded(found):
        return replace(train, kind="encoded", is_struct=pat.is_struct(found))
    if is_tensor(found):
        return replace(train, kind="tensor", is_struct=False)
    expected = "image files" if train.kind == "encoded" else "arrays"
    raise UserError(f"{place}: column {name} holds {found}, in the training rows {expected}; store those")


def _as_in_train(options: TableOptions, train: Columns, name: str) -> TableOptions:
    """With the decimal comma or point that the training rows' column has."""
    return replace(options, decimal=options.decimal or dict(train.decimals).get(name))


def _label(train: Columns, names: set[str], place: str, needs_label: bool) -> str | None:
    if train.label is None:
        return None
    if train.label in names:
        return train.label if needs_label or train.task == "regression" else None
    if needs_label:
        raise UserError(f"{place}: has no column {train.label}, which holds the labels of the training rows; add it")
    return None


def _classes(train: Columns, schema: pa.Schema, label: str | None, place: str) -> Classes | None:
    if train.classes is None or label is None:
        return None
    return followed(train.classes, hub_class_names(schema).get(label), f"{place}: column {label}")


def _check_number(field: pa.Field, facts: Facts, options: TableOptions, place: str) -> None:
    if is_number(field.type):
        return
    if not is_text(field.type):
        raise UserError(f"{place}: column {field.name} holds {field.type}, in the training rows numbers; mend it")
    column = facts.of(field.name)
    if decimal_of(column, options.decimal) is None:
        problem = problem_of(field.name, column, options.decimal)
        raise UserError(f"{place}: {problem}, in the training rows numbers; mend it")


def _why(field: pa.Field, train: Columns) -> str:
    known = dict(train.left_out)
    if field.name == train.label:
        return "labels that nobody uses"
    return known[field.name].split(";")[0] if field.name in known else "not in the training rows"
