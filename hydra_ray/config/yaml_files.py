"""Reads recipes and `key=value` words as nested mappings; the keys are not checked yet.

YAML is read by the rules that people expect (YAML 1.2): `off` and `no` are words, 1e-3 is a number, a date is a
word, and a duplicate key is an error. What the keys mean is in `tree.py`.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from hydra_ray.config.recipes import recipes_near
from hydra_ray.errors import UserError

BY_KIND = "students"
"""The list whose entries are addressed by their kind: `students.hydra.num_heads`."""
SHORT_FORMS = {"ensemble.objective": "kind", "evaluate.attacks": "kinds"}
"""Sections that may be given by one of their keys alone, and which: `evaluate.attacks: [fgsm]`."""


class _Loader(yaml.SafeLoader):
    """PyYAML follows YAML 1.1, where `off` is false, 1e-3 a string, 010 eight and 1:30 ninety."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Construct a mapping; a duplicate key is an error, where PyYAML would take the last."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            problem = f"the key {twice[0]} stands twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)",
        list("-+.0123456789"),
    ),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def read_recipe(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing, not YAML, or not a mapping.
    """
    try:
        tree = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such recipe; {recipes_near(path)}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        found = "empty" if tree is None else f"a {type(tree).__name__}"
        raise UserError(f"{path}: a recipe is a mapping such as `data: {{source: digits}}`, this is {found}")
    return tree


def split_override(word: str) -> tuple[str, Any]:
    """The key and the value of a `key=value` word; the value is YAML.

    Raises:
        UserError: it is not a `key=value` word.
    """
    key, equals, text = word.partition("=")
    if not equals or not all(key.split(".")):
        raise UserError(f"command line: {word!r} is not key=value, e.g. ensemble.num_members=20")
    try:
        return key, parse_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"command line: {word!r}: the value is not YAML; put it in quotes") from None


def assigned(tree: Mapping[str, Any], key: str, value: Any, place: str) -> dict[str, Any]:
    """A copy of `tree` with a dotted key set; `tree` is not changed, as YAML aliases may share parts of it.

    Raises:
        UserError: a part of the key leads to a value that is not a mapping; the line names `place`.
    """
    return _assigned(tree, key.split("."), value, f"{place}: {key}")


def _assigned(tree: Mapping[str, Any], parts: list[str], value: Any, subject: str, above: str = "") -> dict[str, Any]:
    first, *rest = parts
    if not rest:
        return {**tree, first: value}
    below = tree.get(first)
    if f"{above}{first}" == BY_KIND and isinstance(below, list):
        return {**tree, first: _with_entry(below, rest, value, subject)}
    if below is not None and f"{above}{first}" in SHORT_FORMS and not isinstance(below, Mapping):
        below = {SHORT_FORMS[f"{above}{first}"]: below}
    if below is not None and not isinstance(below, Mapping):
        raise UserError(f"{subject}: {above}{first} is a value, not a section; give {above}{first}=... whole")
    return {**tree, first: _assigned(below or {}, rest, value, subject, f"{above}{first}.")}


def _with_entry(entries: list[Any], parts: list[str], value: Any, subject: str) -> list[Any]:
    """`students` with a key of the entry of one kind set; a bare name becomes a section."""
    kind, *rest = parts
    kinds = [entry.get("kind") if isinstance(entry, Mapping) else entry for entry in entries]
    if kind not in kinds:
        names = ", ".join(map(str, kinds))
        raise UserError(f"{subject}: {kind} is not in {BY_KIND}=[{names}]: add it there, or leave this out")
    if not rest:
        raise UserError(f"{subject}: is a section: give one of its keys, {subject.split(': ')[-1]}.KEY=...")
    return [
        _assigned({"kind": kind, **(entry if isinstance(entry, Mapping) else {})}, rest, value, subject)
        if found == kind
        else entry
        for entry, found in zip(entries, kinds, strict=True)
    ]


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping of dotted keys; lists and empty mappings are values."""
    if not isinstance(tree, Mapping) or not tree:
        return {prefix: tree} if prefix else {}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else str(key)))
    return flat
