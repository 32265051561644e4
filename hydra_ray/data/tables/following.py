"""Columns of test, validation, unknown and further files, found by the names that the training rows' columns have."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.tables.column_types import is_encoded, is_tensor
from hydra_ray.data.tables.columns import Columns, considered, find_columns, hub_class_names
from hydra_ray.data.tables.facts import Facts, can_be_looked_at
from hydra_ray.data.tables.labels import Classes, followed, shortened
from hydra_ray.data.tables.numbers import Decimal, is_flag, is_text
from hydra_ray.data.tables.options import TableOptions
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.shard_columns import LABEL, is_shards
from hydra_ray.data.tables.text_numbers import decimal_of, examples, problem_of, without_words
from hydra_ray.data.tables.text_times import format_of
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
    label = _label(train, schema, place, needs_label)
    reading = _reading(train, label, facts, options, place)
    read = {*train.inputs, label}
    beside = [(field.name, _why(field, train)) for field in fields if field.name not in read]
    return replace(
        train,
        label=label,
        classes=_classes(train, schema, label, place),
        reading=reading,
        left_out=(*left_out, *beside),
        remarks=(),
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


def _label(train: Columns, schema: pa.Schema, place: str, needs_label: bool) -> str | None:
    if train.label is None:  # shards to train on need no labels, those to measure on do
        return LABEL if needs_label and is_shards(schema) and LABEL in schema.names else None
    if train.label in schema.names:
        return train.label if needs_label or train.task == "regression" else None
    if needs_label:
        raise UserError(f"{place}: has no column {train.label}, which holds the labels of the training rows; add it")
    return None


def _classes(train: Columns, schema: pa.Schema, label: str | None, place: str) -> Classes | None:
    if train.classes is None or label is None:
        return None
    return followed(train.classes, hub_class_names(schema).get(label), f"{place}: column {label}")


def _reading(train: Columns, label: str | None, facts: Facts, options: TableOptions, place: str) -> Reading:
    """The training rows' reading, with text that is numbers or dates as this file writes it."""
    codes = dict(train.reading.codes)
    features = train.inputs if train.kind == "numbers" else ()
    for name in codes:
        _check_category(facts.schema.field(name), place)
    numbers = [name for name in features if name not in codes]
    if label is not None and train.task == "regression":
        numbers.append(label)
    fields = [facts.schema.field(name) for name in numbers]
    times = [(field.name, _times_in(field, facts, train, options, place)) for field in fields]
    decimals = [(field.name, _decimal_in(field, facts, train, options)) for field in fields]
    return replace(
        train.reading,
        times=tuple((name, written) for name, written in times if written is not None),
        decimals=tuple((name, decimal) for name, decimal in decimals if decimal is not None),
    )


def _check_category(field: pa.Field, place: str) -> None:
    if not can_be_looked_at(field.type):
        raise UserError(f"{place}: column {field.name} holds {field.type}, in the training rows categories; mend it")


def _times_in(field: pa.Field, facts: Facts, train: Columns, options: TableOptions, place: str) -> str | None:
    """How dates are written in a column of numbers; None where it holds none.

    Raises:
        UserError: it holds neither dates nor numbers.
    """
    name = field.name
    written = dict(train.reading.times).get(name)
    if pat.is_null(field.type) or not is_text(field.type):
        if not can_be_looked_at(field.type):
            raise UserError(f"{place}: column {name} holds {field.type}, in the training rows numbers; mend it")
        return written
    texts = without_words(facts.of(name))
    is_flags = dict(train.reading.kinds).get(name) == "bool" and all(map(is_flag, texts))
    if name in train.reading.other_is_missing or not texts or is_flags:
        return written
    if written is not None:
        found = format_of(texts)
        if found is None:
            raise UserError(
                f"{place}: column {name} holds text ({examples(texts)}), in the training rows dates; mend it"
            )
        return found
    decimal = options.decimal or dict(train.reading.decimals).get(name)
    if decimal_of(texts, decimal) is None:
        problem = problem_of(name, facts.of(name), decimal) or f"column {name} holds text ({examples(texts)})"
        raise UserError(f"{place}: {problem}, in the training rows numbers; mend it")
    return None


def _decimal_in(field: pa.Field, facts: Facts, train: Columns, options: TableOptions) -> Decimal | None:
    """The decimal comma or point of a column of text that is numbers: that of the training rows' where there is one."""
    known = dict(train.reading.decimals).get(field.name)
    if not is_text(field.type):
        return None
    found = decimal_of(without_words(facts.of(field.name)), options.decimal or known)
    return known if found is None else found


def _why(field: pa.Field, train: Columns) -> str:
    known = dict(train.left_out)
    if field.name == train.label:
        return "labels that nobody uses"
    return known[field.name].split(";")[0] if field.name in known else "not in the training rows"
