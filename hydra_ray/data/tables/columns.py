"""Which columns of a table hold inputs and labels, and how their values are read.

The training rows' file decides, by types, usual names and what its columns hold (`facts.py`); other files follow it
(`following.py`). What is left out is listed with the reason; what cannot be decided becomes a line with the key that
settles it. No row is decoded here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.rows import TaskName
from hydra_ray.data.tables.column_types import depth_of, is_encoded, is_tensor
from hydra_ray.data.tables.facts import Facts
from hydra_ray.data.tables.features import find_features, safe_offset
from hydra_ray.data.tables.label_column import check_target, find_label
from hydra_ray.data.tables.labels import Classes
from hydra_ray.data.tables.numbers import is_text
from hydra_ray.data.tables.options import TableOptions, listed
from hydra_ray.data.tables.reading import AS_NUMBERS, Reading
from hydra_ray.data.tables.remarks import remarks_on
from hydra_ray.data.tables.row_numbers import row_numbers
from hydra_ray.data.tables.shard_columns import LABEL, class_names_of, is_meant, is_shards
from hydra_ray.data.tables.text_numbers import decimal_of
from hydra_ray.errors import UserError

Kind = Literal["encoded", "tensor", "numbers"]

INPUT_NAMES = ("image", "img", "input", "inputs", "pixels", "x", "features", "embedding")
_SPLIT = re.compile(r"test_split_(\d+)")


@dataclass(frozen=True)
class Columns:
    """Where inputs and labels are."""

    inputs: tuple[str, ...]
    """One column, or several that are features side by side."""
    kind: Kind
    """`encoded`: image files; `tensor`: one array a row; `numbers`: from each column a number, or a category's code."""
    is_struct: bool
    """Whether the bytes of image files lie in a struct's field `bytes`."""
    label: str | None
    classes: Classes | None = None
    """Of the labels of a classification."""
    task: TaskName = "classification"
    test_splits: tuple[int, ...] = ()
    """Every k of the columns `test_split_k`, which say of each row whether standard split k tests on it."""
    reading: Reading = AS_NUMBERS
    """How columns of features become numbers and codes, and those of targets numbers."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Columns that are not read, and why."""
    remarks: tuple[str, ...] = ()
    """What else is to be said of how they are read."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Of all D features; none where one column holds them all or an image."""
        return (*self.inputs, *self.reading.indicators) if self.kind == "numbers" else None

    @property
    def categories(self) -> tuple[int, ...]:
        """See `Source.categories`."""
        return self.reading.categories(self.inputs) if self.kind == "numbers" else ()

    @property
    def goes_with(self) -> tuple[int, ...]:
        """See `Source.goes_with`."""
        lacking = [self.inputs.index(name) for name, _ in self.reading.medians if name in self.inputs]
        return (*range(len(self.inputs)), *lacking) if lacking else ()

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in order."""
        return None if self.classes is None else self.classes.names

    @property
    def to_read(self) -> list[str]:
        """What to ask Parquet for."""
        inputs = self.inputs_to_read
        return [*inputs, self.label] if self.label else inputs

    @property
    def inputs_to_read(self) -> list[str]:
        """The same without labels."""
        return [f"{name}.bytes" if self.is_struct else name for name in self.inputs]

    def key(self) -> dict[str, Any]:
        """What decides how a file's bytes become inputs and labels; JSON-ready."""
        return {
            "inputs": list(self.inputs),
            "label": self.label,
            "classes": None if self.classes is None else [list(self.classes.names), dict(self.classes.texts)],
            **self.reading.key(),
        }


class ReadByColumns:
    """What a source says of itself that follows from its columns alone."""

    columns: Columns

    @property
    def task(self) -> TaskName:
        """Regression where a target is named."""
        return self.columns.task

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes that are there, or the hub's metadata name."""
        return self.columns.class_names

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The names of the features, which are columns."""
        return self.columns.feature_names

    @property
    def categories(self) -> tuple[int, ...]:
        """See `Source.categories`."""
        return self.columns.categories

    @property
    def goes_with(self) -> tuple[int, ...]:
        """See `Source.goes_with`."""
        return self.columns.goes_with


def find_columns(facts: Facts, options: TableOptions, place: str, *, needs_label: bool = True) -> Columns:
    """Find inputs and labels in the training rows' file.

    Inputs are the only column of encoded images (binary, or the hub's struct{bytes, path}) or of tensors of pixels,
    else the only one of lists of numbers, else all other columns, as numbers (also true and false, dates, and text
    that is numbers) or as categories. Beside images other columns are left out; a column of features is left out where
    it numbers the rows, is empty or never changes, and refused where it is unclear. Labels: see `find_label`.

    Args:
        facts: Of the file's columns.
        options: What the configuration says.
        place: The key and path that messages name.
        needs_label: False for a further set, whose labels nobody uses.

    Raises:
        UserError: no or several columns could be meant, a column that cannot be used, or two of one name.
    """
    fields, left_out = considered(facts.schema, options, place)
    _check_named(facts.schema, options, place)
    is_regression = options.target is not None
    counters = {} if options.ignore == () else row_numbers(fields, facts)
    settled = {options.target, options.label, *dict(options.columns or ())}
    counters = {name: why for name, why in counters.items() if name not in settled}
    label = None
    if is_regression and (needs_label or options.target in facts.schema.names):
        label = check_target(fields, facts, options, place)
    elif needs_label and not is_regression:
        candidates = [field for field in fields if field.name not in counters]
        label = find_label(candidates, facts, hub_class_names(facts.schema), options, place)
    others = [field for field in fields if field.name != label]
    found = _inputs(others, facts, counters, options, place, is_training=needs_label)
    if needs_label:
        _check_roles(found, label, options, place)
    reading = found.reading
    if label and is_regression and is_text(facts.schema.field(label).type):
        decimal = decimal_of(facts.of(label).texts, options.decimal)
        reading = replace(reading, decimals=(*reading.decimals, (label, decimal or ".")))
    return replace(
        found,
        label=label,
        task="regression" if is_regression else "classification",
        test_splits=_test_splits(facts.schema),
        reading=reading,
        left_out=(*left_out, *found.left_out),
    )


def _check_named(schema: pa.Schema, options: TableOptions, place: str) -> None:
    """Refuse a column without a name, unless it is the first, as pandas writes its index, or holds nothing."""
    for number, field in enumerate(schema):
        if not field.name and number and not pat.is_null(field.type) and "" not in (options.ignore or ()):
            found = f"column {number + 1} of {len(schema)} has no name"
            ignored = options.ignoring(['""'])
            raise UserError(f"{place}: {found}; give it one, or leave it out with {ignored}")


def _check_roles(found: Columns, label: str | None, options: TableOptions, place: str) -> None:
    """Refuse a name in `data.columns` that is no column of features."""
    for name, role in options.columns or ():
        if name == label:
            raise UserError(f"data.columns.{name}={role}: the column is the label or target; leave it out there")
        if found.kind != "numbers":
            raise UserError(
                f"data.columns.{name}={role}: {place} has its rows in column {found.inputs[0]}; leave it out"
            )


def considered(schema: pa.Schema, options: TableOptions, place: str) -> tuple[list[pa.Field], list[tuple[str, str]]]:
    """The columns that may be inputs or labels, and those that are left out by name, with the reason.

    Raises:
        UserError: two columns of one name.
    """
    ignored = options.ignore or ()
    are_shards = is_shards(schema)
    fields: list[pa.Field] = []
    left_out: list[tuple[str, str]] = []
    for field in schema:
        if field.name in ignored:
            left_out.append((field.name, "data.ignore"))
        elif are_shards and not is_meant(field.name):
            left_out.append((field.name, "of shards"))
        elif not _SPLIT.fullmatch(field.name):
            fields.append(field)
    names = [field.name for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: {names.count(twice)} columns have the name {twice!r}; give each a name of its own")
    return fields, left_out


def check_named_columns(schema: pa.Schema, options: TableOptions, place: str) -> None:
    """Raises UserError for a name in `data.ignore` or `data.columns` that no column has."""
    for key, names in (("ignore", options.ignore), ("columns", dict(options.columns or ()))):
        for name in names or ():
            if name not in schema.names:
                raise UserError(f"data.{key}: {place} has no column {name!r}; its columns are {listed(list(schema))}")


def split_column(number: int) -> str:
    """Name of the column of standard split `number`."""
    return f"test_split_{number}"


def hub_class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Columns whose classes have names in the hub's metadata; none where these cannot be read.

    The labels of shards are numbers of classes, whether they occur or not.
    """
    if is_shards(schema):
        names = class_names_of(schema)
        return {} if names is None else {LABEL: names}
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
        named = {name: feature["names"] for name, feature in features.items() if "names" in feature}
    except (ValueError, AttributeError, TypeError):
        return {}
    return {name: tuple(map(str, names)) for name, names in named.items() if isinstance(names, list) and names}


def _test_splits(schema: pa.Schema) -> tuple[int, ...]:
    matches = [_SPLIT.fullmatch(field.name) for field in schema if pat.is_boolean(field.type)]
    return tuple(sorted(int(match[1]) for match in matches if match))


def image_column(fields: Sequence[pa.Field], place: str) -> tuple[Kind, str] | None:
    """The column of image files, else that of pixels; None where there is neither."""
    encoded = [field.name for field in fields if is_encoded(field.type)]
    pixels = [field.name for field in fields if is_tensor(field.type) and not is_list_of_features(field.type)]
    if encoded:
        return "encoded", only(encoded, fields, place)
    return ("tensor", only(pixels, fields, place)) if pixels else None


def _inputs(
    fields: Sequence[pa.Field],
    facts: Facts,
    counters: Mapping[str, str],
    options: TableOptions,
    place: str,
    *,
    is_training: bool,
) -> Columns:
    """The input columns, how they are read, and the columns beside them that are left out."""
    images = image_column(fields, place)
    if images is not None:
        kind, chosen = images
        is_struct = kind == "encoded" and pat.is_struct(facts.schema.field(chosen).type)
        beside = tuple((field.name, "beside images") for field in fields if field.name != chosen)
        return Columns((chosen,), kind, is_struct, None, left_out=beside)
    used = [field for field in fields if field.name not in counters]
    beside = tuple((name, f"{why}; data.ignore=[] uses it") for name, why in counters.items())
    lists = [field.name for field in used if is_tensor(field.type)]
    if lists:
        chosen = _only_list(lists, used, options, place)
        _check_list(chosen, facts, place)
        return Columns((chosen,), "tensor", is_struct=False, label=None, left_out=beside)
    if not used:
        found = "; ".join(f"{name}: {why}" for name, why in beside)
        among = f"among {listed(fields)}" if fields else "beside the label"
        raise UserError(f"{place}: no images or numbers to learn from {among}{found and f' ({found})'}; add some")
    leaves_out = is_training and options.ignore != ()
    names, reading, empty = find_features(used, facts, options, place, may_leave_out=leaves_out)
    remarks = tuple(remarks_on(names, facts, reading))
    return Columns(names, "numbers", False, None, reading=reading, left_out=(*beside, *empty), remarks=remarks)


def _only_list(names: list[str], fields: Sequence[pa.Field], options: TableOptions, place: str) -> str:
    """The only column of lists; what stands beside it is refused, as both could be meant."""
    others = [field.name for field in fields if field.name not in names]
    chosen = only(names, fields, place)
    others += [name for name in names if name != chosen]
    if others:
        found = f"column {chosen} holds {next(field.type for field in fields if field.name == chosen)}"
        one = options.ignoring(names)
        other = options.ignoring(others)
        raise UserError(f"{place}: {found} beside {', '.join(others)}: use one of them, with {other} or {one}")
    return chosen


def _check_list(name: str, facts: Facts, place: str) -> None:
    """Refuse lists of numbers that float32 does not hold: they have no names under which to be centred."""
    kind: Any = facts.schema.field(name).type
    if kind.value_type in (pa.float64(), pa.int32(), pa.int64(), pa.uint32(), pa.uint64()):
        for number, (low, high) in enumerate(facts.list_ranges(name)):
            if offset := safe_offset(f"{place}: column {name}", low, high, centre=False):
                found = f"value {number} of column {name} goes from {low:.12g} to {high:.12g}"
                raise UserError(f"{place}: {found}, which float32 does not tell apart; store it less {offset:.12g}")


def only(names: Sequence[str], fields: Sequence[pa.Field], place: str) -> str:
    """The only one of several columns, else the one that is called as inputs usually are.

    Raises:
        UserError: none is.
    """
    by_lower = {name.lower(): name for name in names}
    usual = [by_lower[name] for name in INPUT_NAMES if name in by_lower]
    if len(names) > 1 and not usual:
        unclear = f"{' or '.join(names)} could be the input column"
        raise UserError(f"{place}: {unclear} of {listed(fields)}; call the right one {INPUT_NAMES[0]}")
    return names[0] if len(names) == 1 else usual[0]


def is_list_of_features(kind: pa.DataType) -> bool:
    """Whether rows are [D] numbers, not pixels."""
    return depth_of(kind) < 2
