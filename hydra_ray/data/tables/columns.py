"""Which columns of a table hold inputs and labels, and how their values are read.

The training rows' file decides, by types, usual names and what its columns hold (`facts.py`); other files follow it
(`following.py`). What is left out is listed with the reason; what cannot be decided becomes a line with the key that
settles it. No row is decoded here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.rows import TaskName
from hydra_ray.data.tables.column_types import depth_of, is_encoded, is_tensor
from hydra_ray.data.tables.facts import ColumnFacts, Facts
from hydra_ray.data.tables.label_column import check_target, find_label
from hydra_ray.data.tables.labels import Classes
from hydra_ray.data.tables.numbers import Decimal, Offset, is_number, is_text, is_time, offset_for
from hydra_ray.data.tables.options import TableOptions, listed
from hydra_ray.data.tables.row_numbers import row_numbers
from hydra_ray.data.tables.text_numbers import decimal_of, problem_of
from hydra_ray.errors import UserError

Kind = Literal["encoded", "tensor", "numbers"]

INPUT_NAMES = ("image", "img", "input", "inputs", "pixels", "x", "features", "embedding")
_SHARDS_KEY = b"hydra_ray"
"""In the footers of our own shards, whose columns have fixed meanings."""
_OF_SHARDS = ("input", "label")
_SPLIT = re.compile(r"test_split_(\d+)")


@dataclass(frozen=True)
class Columns:
    """Where inputs and labels are."""

    inputs: tuple[str, ...]
    """One column, or several of numbers that are features side by side."""
    kind: Kind
    """`encoded`: image files; `tensor`: one array a row; `numbers`: one number a column."""
    is_struct: bool
    """Whether the bytes of image files lie in a struct's field `bytes`."""
    label: str | None
    classes: Classes | None = None
    """Of the labels of a classification."""
    task: TaskName = "classification"
    test_splits: tuple[int, ...] = ()
    """Every k of the columns `test_split_k`, which say of each row whether standard split k tests on it."""
    offsets: tuple[tuple[str, Offset], ...] = ()
    """Columns that are centred before they become float32, and what is subtracted."""
    decimals: tuple[tuple[str, Decimal], ...] = ()
    """Columns of text that is numbers, and what stands between their ones and tenths."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Columns that are not read, and why."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns of numbers; none where one column holds all features or an image."""
        return self.inputs if self.kind == "numbers" else None

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
            "offsets": dict(self.offsets),
            "decimals": dict(self.decimals),
        }


def find_columns(facts: Facts, options: TableOptions, place: str, *, needs_label: bool = True) -> Columns:
    """Find inputs and labels in the training rows' file.

    Inputs are the only column of encoded images (binary, or the hub's struct{bytes, path}) or of tensors of pixels,
    else the only one of lists of numbers, else all columns of numbers: integers, decimals, true and false as 1 and 0,
    times in seconds, and text that is numbers. Beside images other columns are left out; beside numbers every column
    is used, is left out as it numbers the rows or never changes, or is refused. Labels: see `find_label`.

    Args:
        facts: Of the file's columns.
        options: What the configuration says.
        place: The key and path that messages name.
        needs_label: False for a further set, whose labels nobody uses.

    Raises:
        UserError: no or several columns could be meant, a column that cannot be used, or two of one name.
    """
    fields, left_out = considered(facts.schema, options, place)
    is_regression = options.target is not None
    counters = {} if options.ignore == () else row_numbers(fields, facts)
    counters = {name: why for name, why in counters.items() if name not in (options.target, options.label)}
    label = None
    if is_regression and (needs_label or options.target in facts.schema.names):
        label = check_target(fields, facts, options, place)
    elif needs_label and not is_regression:
        candidates = [field for field in fields if field.name not in counters]
        label = find_label(candidates, facts, hub_class_names(facts.schema), options, place)
    others = [field for field in fields if field.name != label]
    kind, inputs, beside = _inputs(others, facts, counters, options, place)
    if kind == "numbers" and needs_label and options.ignore != ():
        inputs, constant = _without_constants(inputs, facts, place)
        beside += constant
    numbers = [*(inputs if kind == "numbers" else ()), *([label] if label and is_regression else [])]
    return Columns(
        inputs,
        kind,
        kind == "encoded" and pat.is_struct(facts.schema.field(inputs[0]).type),
        label,
        task="regression" if is_regression else "classification",
        test_splits=_test_splits(facts.schema),
        offsets=_offsets([name for name in numbers if name != label], facts, place),
        decimals=decimals_of(numbers, facts, options),
        left_out=(*left_out, *beside),
    )


def considered(schema: pa.Schema, options: TableOptions, place: str) -> tuple[list[pa.Field], list[tuple[str, str]]]:
    """The columns that may be inputs or labels, and those that are left out by name, with the reason.

    Raises:
        UserError: two columns of one name.
    """
    ignored = options.ignore or ()
    is_ours = _SHARDS_KEY in (schema.metadata or {})
    fields: list[pa.Field] = []
    left_out: list[tuple[str, str]] = []
    for field in schema:
        if field.name in ignored:
            left_out.append((field.name, "data.ignore"))
        elif is_ours and field.name not in _OF_SHARDS:
            left_out.append((field.name, "of shards"))
        elif not _SPLIT.fullmatch(field.name):
            fields.append(field)
    names = [field.name for field in fields]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{place}: {names.count(twice)} columns have the name {twice!r}; give each a name of its own")
    return fields, left_out


def check_ignored(schema: pa.Schema, options: TableOptions, place: str) -> None:
    """Raises UserError for a name in `data.ignore` that no column has."""
    for name in options.ignore or ():
        if name not in schema.names:
            raise UserError(f"data.ignore: {place} has no column {name!r}; its columns are {listed(list(schema))}")


def decimals_of(names: Iterable[str], facts: Facts, options: TableOptions) -> tuple[tuple[str, Decimal], ...]:
    """Of columns that are numbers, those of text and what stands between their ones and tenths."""
    texts = [name for name in names if is_text(facts.schema.field(name).type)]
    facts.look_at(texts)
    found: list[tuple[str, Decimal]] = []
    for name in texts:
        decimal = decimal_of(facts.of(name), options.decimal)
        if decimal is not None:
            found.append((name, decimal))
    return tuple(found)


def split_column(number: int) -> str:
    """Name of the column of standard split `number`."""
    return f"test_split_{number}"


def hub_class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Columns whose classes have names in the hub's metadata; none where these cannot be read."""
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


Beside = list[tuple[str, str]]


def _inputs(
    fields: Sequence[pa.Field], facts: Facts, counters: Mapping[str, str], options: TableOptions, place: str
) -> tuple[Kind, tuple[str, ...], Beside]:
    """Kind and names of the input columns, and the columns beside them that are left out."""
    images = image_column(fields, place)
    if images is not None:
        kind, chosen = images
        return kind, (chosen,), [(field.name, "beside images") for field in fields if field.name != chosen]
    used = [field for field in fields if field.name not in counters]
    beside = [(name, f"{why}; data.ignore=[] uses it") for name, why in counters.items()]
    lists = [field.name for field in used if is_tensor(field.type)]
    if lists:
        chosen = _only_list(lists, used, options, place)
        _check_list(chosen, facts, place)
        return "tensor", (chosen,), beside
    facts.look_at([field.name for field in used if is_number(field.type) or is_text(field.type)])
    problems = {field.name: _problem(field, facts, options) for field in used}
    problems = {name: problem for name, problem in problems.items() if problem}
    if problems:
        ways = f"store numbers there, or leave it out with {options.ignoring(problems)}"
        if " may part " in next(iter(problems.values())):
            ways = "say which with data.decimal=',' or data.decimal='.'"
        raise UserError(f"{place}: {next(iter(problems.values()))}: {ways}")
    if not used:
        found = "; ".join(f"{name}: {why}" for name, why in beside)
        among = f"among {listed(fields)}" if fields else "beside the label"
        raise UserError(f"{place}: no images or numbers to learn from {among}{found and f' ({found})'}; add some")
    return "numbers", tuple(field.name for field in used), beside


def _without_constants(names: tuple[str, ...], facts: Facts, place: str) -> tuple[tuple[str, ...], Beside]:
    """Columns of numbers without those that hold one value in every row, which say nothing, and these."""
    found = {name: value for name in names if (value := _constant(facts.of(name))) is not None}
    if len(found) == len(names):
        same = ", ".join(f"{name} is {value}" for name, value in list(found.items())[:3])
        raise UserError(f"{place}: no column says anything: {same} in every row; add columns that differ")
    beside = [(name, f"{value} in every row for training; data.ignore=[] uses it") for name, value in found.items()]
    return tuple(name for name in names if name not in found), beside


def _constant(column: ColumnFacts) -> str | None:
    """The value that all rows of a column have; None where they differ, one has none, or there is one row."""
    if column.num_missing or column.num_rows < 2:
        return None
    if column.texts:
        return next(iter(column.texts)) if len(column.texts) == 1 else None
    is_one = column.low is not None and column.low == column.high and math.isfinite(column.low)
    return f"{column.low:g}" if is_one and not column.num_not_numbers else None


def _problem(field: pa.Field, facts: Facts, options: TableOptions) -> str | None:
    """Why a column cannot be a feature; None where it can."""
    if is_text(field.type):
        column = facts.of(field.name)
        return None if decimal_of(column, options.decimal) else problem_of(field.name, column, options.decimal)
    if not is_number(field.type):
        return f"column {field.name} holds {'no value at all' if pat.is_null(field.type) else field.type}"
    return None if facts.of(field.name).has_values else f"column {field.name} holds no value at all"


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
            if offset := _offset(f"{place}: column {name}", low, high, centre=False):
                found = f"value {number} of column {name} goes from {low:.12g} to {high:.12g}"
                raise UserError(f"{place}: {found}, which float32 does not tell apart; store it less {offset:.12g}")


def _offsets(names: Iterable[str], facts: Facts, place: str) -> tuple[tuple[str, Offset], ...]:
    found: list[tuple[str, Offset]] = []
    for name in names:
        column = facts.of(name)
        is_moment = is_time(facts.schema.field(name).type)
        if column.low is None or column.high is None:
            continue
        offset = _offset(f"{place}: column {name}", column.low, column.high, centre=is_moment)
        if offset:
            found.append((name, offset))
    return tuple(found)


def _offset(place: str, low: Offset, high: Offset, *, centre: bool) -> Offset:
    """See `offset_for`; what float32 has no digits for is refused under the column's name."""
    try:
        return offset_for(low, high, centre=centre)
    except ValueError as error:
        raise UserError(f"{place}: {error}; store it in larger units") from None


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
