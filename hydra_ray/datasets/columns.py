"""Which columns of a Parquet file hold inputs and labels: found from the schema, not from fixed names.

Knows types and names only; no row is read here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.datasets.rows import Task
from hydra_ray.errors import UserError

Kind = Literal["encoded", "tensor", "numbers"]

INPUT_NAMES = ("image", "img", "input", "inputs", "pixels", "x", "features", "embedding")
LABEL_NAMES = ("label", "labels", "fine_label", "target", "targets", "class", "class_id", "y", "digit")
_NOT_LABELS = ("id", "index", "row_id", "view", "__index_level_0__")
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
    class_names: tuple[str, ...] | None
    task: Task = "classification"
    test_splits: tuple[int, ...] = ()
    """Every k of the columns `test_split_k`, which say of each row whether standard split k tests on it."""

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """The columns of numbers; none where one column holds all features or an image."""
        return self.inputs if self.kind == "numbers" else None

    @property
    def to_read(self) -> list[str]:
        """What to ask Parquet for."""
        inputs = [f"{name}.bytes" if self.is_struct else name for name in self.inputs]
        return [*inputs, self.label] if self.label else inputs


def find_columns(schema: pa.Schema, place: str, target: str | None = None, *, needs_target: bool = True) -> Columns:
    """Find inputs and labels.

    Inputs are the only column of encoded images (binary, or the hub's struct{bytes, path}), else the only one
    of tensors or lists of numbers, else all columns of floating-point numbers. Labels are the integer column
    with a usual name, else the only one with class names in the hub's metadata, else the only integer column.

    Args:
        schema: Of the file.
        place: The key and path that messages name.
        target: The column that a regression predicts; features are then all other columns of numbers, integers
            among them.
        needs_target: Whether the file must have it; a further set, whose labels nobody uses, need not.

    Raises:
        UserError: no or several columns could be meant, or the target is not there or not of numbers.
    """
    splits = _test_splits(schema)
    if target is not None:
        label = _target(schema, target, place, needs_target)
        kind, inputs = _inputs(schema, target, place, integers=True)
        return Columns(inputs, kind, _is_struct(schema, kind, inputs), label, None, "regression", splits)
    features = _hub_features(schema)
    label = _label(schema, features, place)
    kind, inputs = _inputs(schema, label, place)
    struct = _is_struct(schema, kind, inputs)
    return Columns(inputs, kind, struct, label, _class_names(features, label), test_splits=splits)


def _is_struct(schema: pa.Schema, kind: Kind, inputs: tuple[str, ...]) -> bool:
    return kind == "encoded" and pat.is_struct(schema.field(inputs[0]).type)


def split_column(number: int) -> str:
    """Name of the column of standard split `number`."""
    return f"test_split_{number}"


def _test_splits(schema: pa.Schema) -> tuple[int, ...]:
    matches = [_SPLIT.fullmatch(field.name) for field in schema if pat.is_boolean(field.type)]
    return tuple(sorted(int(match[1]) for match in matches if match))


def _target(schema: pa.Schema, target: str, place: str, needed: bool) -> str | None:
    if target not in schema.names:
        if not needed:
            return None
        raise UserError(f"data.target={target}: {place} has no such column; its columns are {_listed(schema)}")
    if not _is_number(schema.field(target).type):
        found = f"column {target} of {place} holds {schema.field(target).type}"
        raise UserError(f"data.target={target}: {found}, but a target is a number; name a column of numbers")
    return target


def _is_number(kind: pa.DataType) -> bool:
    return pat.is_integer(kind) or pat.is_floating(kind)


def _inputs(
    schema: pa.Schema, label: str | None, place: str, *, integers: bool = False
) -> tuple[Kind, tuple[str, ...]]:
    """Kind and names of the input columns; of numbers that are features, integers where they cannot be labels."""
    fields = [field for field in schema if field.name != label]
    choices: list[tuple[Kind, list[str]]] = [
        ("encoded", [field.name for field in fields if _is_encoded(field.type)]),
        ("tensor", [field.name for field in fields if _is_tensor(field.type)]),
    ]
    for kind, names in choices:
        if names:
            return kind, (_only(names, INPUT_NAMES, schema, "input", place),)
    fields = [field for field in fields if not _is_bookkeeping(field)]
    numbers = tuple(field.name for field in fields if _is_feature(field.type, integers))
    unclear = [field.name for field in fields if _is_unclear(field.type, integers)]
    if not numbers or unclear:
        problem = f"what is {unclear[0]}" if numbers else "no images or floating-point numbers"
        way = "store features as numbers" if integers else "store features as floats"
        raise UserError(f"{place}: {problem} among {_listed(schema)}; {way} or drop the column")
    return "numbers", numbers


def _is_bookkeeping(field: pa.Field) -> bool:
    """A row's number, or whether a standard split tests on it."""
    return (_is_number_of_row(field.name) and pat.is_integer(field.type)) or bool(_SPLIT.fullmatch(field.name))


def _is_feature(kind: pa.DataType, integers: bool) -> bool:
    return pat.is_floating(kind) or (integers and pat.is_integer(kind))


def _is_unclear(kind: pa.DataType, integers: bool) -> bool:
    """Whether leaving a column out would lose what the user may mean as a feature."""
    return not _is_number(kind) if integers else pat.is_integer(kind)


def _label(schema: pa.Schema, features: dict[str, Any], place: str) -> str | None:
    integers = [field.name for field in schema if pat.is_integer(field.type)]
    usual = _usual(integers, LABEL_NAMES)
    if usual:
        return usual
    named = [name for name in integers if _class_names(features, name)]
    if len(named) == 1:
        return named[0]
    candidates = [name for name in integers if not _is_number_of_row(name)]
    if candidates:
        return _only(candidates, (), schema, "label", place)
    other = _usual(schema.names, LABEL_NAMES)
    if other:
        found = f"column {other} holds {schema.field(other).type}"
        if _is_number(schema.field(other).type):
            found += f"; for a regression set data.target={other}"
        raise UserError(f"{place}: labels are class numbers, but {found}; store integers from 0, or rename it")
    return None


def _only(names: list[str], usual: Iterable[str], schema: pa.Schema, meaning: str, place: str) -> str:
    found = names[0] if len(names) == 1 else _usual(names, usual)
    if found is None:
        unclear = f"{' or '.join(names)} could be the {meaning} column"
        name = INPUT_NAMES[0] if meaning == "input" else LABEL_NAMES[0]
        raise UserError(f"{place}: {unclear} of {_listed(schema)}; call the right one {name}")
    return found


def _is_number_of_row(name: str) -> bool:
    return name.lower() in _NOT_LABELS


def _usual(names: list[str], usual: Iterable[str]) -> str | None:
    by_lower = {name.lower(): name for name in names}
    return next((by_lower[name] for name in usual if name in by_lower), None)


def _is_encoded(kind: pa.DataType) -> bool:
    if pat.is_struct(kind):
        names = [kind.field(index).name for index in range(kind.num_fields)]
        return "bytes" in names and _is_encoded(kind.field("bytes").type)
    return pat.is_binary(kind) or pat.is_large_binary(kind) or pat.is_fixed_size_binary(kind)


def _is_tensor(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.FixedShapeTensorType):
        return True
    is_list = pat.is_list(kind) or pat.is_large_list(kind) or pat.is_fixed_size_list(kind)
    return is_list and (pat.is_integer(kind.value_type) or pat.is_floating(kind.value_type))


def _listed(schema: pa.Schema) -> str:
    fields = [field for field in schema if not _SPLIT.fullmatch(field.name)]
    return ", ".join(f"{field.name} ({field.type})" for field in fields)


def _hub_features(schema: pa.Schema) -> dict[str, Any]:
    """What the hub's metadata say of the columns; nothing where there are none or they cannot be read."""
    try:
        metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        features = metadata.get("info", {}).get("features", {})
    except (ValueError, AttributeError):
        return {}
    return features if isinstance(features, dict) else {}


def _class_names(features: dict[str, Any], label: str | None) -> tuple[str, ...] | None:
    feature = features.get(label) if label else None
    names = feature.get("names") if isinstance(feature, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) and names else None
