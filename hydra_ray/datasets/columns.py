"""Which columns of a Parquet file hold inputs and labels: found from the schema, not from fixed names.

Knows types and names only; no row is read here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.errors import UserError

Kind = Literal["encoded", "tensor", "numbers"]

INPUT_NAMES = ("image", "img", "input", "inputs", "pixels", "x", "features", "embedding")
LABEL_NAMES = ("label", "labels", "fine_label", "target", "targets", "class", "class_id", "y", "digit")
_NOT_LABELS = ("id", "index", "row_id", "view", "__index_level_0__")


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

    @property
    def to_read(self) -> list[str]:
        """What to ask Parquet for."""
        inputs = [f"{name}.bytes" if self.is_struct else name for name in self.inputs]
        return [*inputs, self.label] if self.label else inputs


def find_columns(schema: pa.Schema, place: str) -> Columns:
    """Find inputs and labels.

    Inputs are the only column of encoded images (binary, or the hub's struct{bytes, path}), else the only one
    of tensors or lists of numbers, else all columns of floating-point numbers. Labels are the integer column
    with a usual name, else the only one with class names in the hub's metadata, else the only integer column.

    Args:
        schema: Of the file.
        place: The key and path that messages name.

    Raises:
        UserError: no or several columns could be meant.
    """
    features = _hub_features(schema)
    label = _label(schema, features, place)
    kind, inputs = _inputs(schema, label, place)
    is_struct = kind == "encoded" and pat.is_struct(schema.field(inputs[0]).type)
    return Columns(inputs, kind, is_struct, label, _class_names(features, label))


def _inputs(schema: pa.Schema, label: str | None, place: str) -> tuple[Kind, tuple[str, ...]]:
    fields = [field for field in schema if field.name != label]
    choices: list[tuple[Kind, list[str]]] = [
        ("encoded", [field.name for field in fields if _is_encoded(field.type)]),
        ("tensor", [field.name for field in fields if _is_tensor(field.type)]),
    ]
    for kind, names in choices:
        if names:
            return kind, (_only(names, INPUT_NAMES, schema, "input", place),)
    numbers = tuple(field.name for field in fields if pat.is_floating(field.type))
    ignored = [field.name for field in fields if pat.is_integer(field.type) and not _is_number_of_row(field.name)]
    if not numbers or ignored:
        unclear = f"what is {ignored[0]}" if numbers else "no images or floating-point numbers"
        raise UserError(f"{place}: {unclear} among {_listed(schema)}; store features as floats or drop the column")
    return "numbers", numbers


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
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


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
