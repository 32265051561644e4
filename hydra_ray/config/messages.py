"""Errors of a configuration as one line: the place, the key, the value and the way out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from hydra_ray.errors import close_to

Section = type[BaseModel]
RENAMED = {
    "cluster.rows_memory_mb": "cluster.transfer_memory_mb",
    "data.root": "data.torchvision_root",
    "data.split": "data.test_split",
    "data.test_share": "data.test_fraction",
    "data.validation_share": "data.validation_fraction",
    "distill.dirichlet": "students.end2 (first_temperature, smoothing) and students.proxy_end2 (max_precision)",
    "distill.diversity_weight": "students.hydra.diversity_weight",
    "distill.from_tune": "distill.use_best_trial",
    "distill.head_init_noise": "students.hydra.head_init_noise",
    "distill.init_noise": "students.hydra.head_init_noise",
    "distill.mean_epochs": "distill.mean_phase_epochs",
    "distill.num_heads": "students.hydra.num_heads",
    "distill.spread_weight": "students.hydra.diversity_weight",
    "distill.warmup_share": "distill.warmup_fraction",
    "ensemble.members_per_worker": "ensemble.stack_size",
    "ensemble.warmup_share": "ensemble.warmup_fraction",
    "tune.objective": "tune.objectives, a list,",
}
"""Keys that are gone -> what they are called now."""
_OF_A_TYPE = re.compile(r"[\w-]*\[.*\]")  # in an error's path: `[key]`, `function-after[check(), list[int]]`
_SECRET = re.compile(r"(?:^|_)(?:key|token|secret|password)$")
_NO_MODE = "is no key any more: leave it out, as an objective says which way is better"
GONE = {"tune.direction": _NO_MODE, "tune.mode": _NO_MODE}
"""Keys that are gone and have no successor -> what to do."""


def explain(
    error: ValidationError, place: str, root: Section, overridden: Sequence[str] = (), *, above: str = ""
) -> str:
    """One line for the first of pydantic's errors; unknown keys come first, as a misspelt key is also a missing one.

    Args:
        error: from validating a tree.
        place: where the tree comes from, e.g. a file.
        root: the section that it was validated as.
        overridden: dotted keys given on the command line; an error about one names that as its place.
        above: dotted key under which the tree stands; none for the whole configuration.
    """
    errors = error.errors()
    first = min(errors, key=_rank)
    parts = _without_tags(first["loc"], root)
    key = ".".join([above, *parts] if above else parts)
    message = first["msg"].removeprefix("Value error, ") + _or_a_word(errors, first, root)
    if is_about(key or message, overridden, exact=bool(key)):
        place = "command line"
    prefix = f"{place}: " if place else ""
    if not key:  # a rule across keys: its message names them
        return f"{prefix}{message}"
    if first["type"] == "missing":
        section = section_at(root, parts)
        needed = f"{key}.{_first_required(section)}" if section else key
        return f"{prefix}{needed} is missing: add {needed}"
    reason = _reason(first, parts, message, root, above)
    if first["type"] == "extra_forbidden" and _SECRET.search(key):  # lines like this one end in logs
        return f"{prefix}{key}=...: {reason}; secrets stay in the environment, W&B's key in WANDB_API_KEY"
    return f"{prefix}{key}={shortened(first['input'])}: {reason}"


def _rank(found: ErrorDetails) -> int:
    """Order of the errors about a key: one misspelt in `str | Section` gives unknown key, missing key, not a string.

    Where a list or mapping is one choice, that it is neither a string nor a number says the least.
    """
    if found["type"] == "extra_forbidden":
        return 0
    is_one = found["type"] in ("string_type", "int_type", "float_type", "bool_type")
    return 2 if is_one and isinstance(found["input"], (Mapping, list)) else 1


def _or_a_word(errors: Sequence[ErrorDetails], first: ErrorDetails, root: Section) -> str:
    """Of a key that takes a word too, e.g. a number or `auto`, what that word is; else nothing."""
    parts = _without_tags(first["loc"], root)
    words = [
        each.get("ctx", {}).get("expected")
        for each in errors
        if each["type"] == "literal_error" and each is not first and _without_tags(each["loc"], root) == parts
    ]
    return f", or {words[0]}" if words else ""


def _without_tags(location: Iterable[str | int], root: Section) -> list[str]:
    """An error's path without the union branches that pydantic puts into it, as in `a.ViewConfig.view`.

    Entries that are addressed by their kind have place and kind in it, of which the kind stays: `students.0.hydra`.
    """
    parts: list[str] = []
    annotation: Any = root
    words = [*map(str, location), ""]
    for part, following in pairwise(words):
        is_place = following in _by_kind(annotation)
        if part in _tagged(annotation):
            annotation = _tagged(annotation)[part]
        elif not _OF_A_TYPE.fullmatch(part) and part not in _branches(annotation) and not is_place:
            parts.append(part)
            annotation = _step(annotation, part)
    return parts


def _reason(first: ErrorDetails, parts: list[str], message: str, root: Section, top: str) -> str:
    if first["type"] == "extra_forbidden":
        key = ".".join(parts)
        if key in GONE:
            return GONE[key]
        return f"is called {RENAMED[key]} now" if key in RENAMED else f"unknown key; {nearest_key(key, root, top)}"
    section = section_at(root, parts)
    if section is not None and first["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"must be a section with the keys {', '.join(section.model_fields)}"
    if first["type"] == "string_type" and isinstance(first["input"], (int, float)):
        return "must be a word: put it in quotes"
    return message.replace("Input should be", "must be")


def is_about(text: str, overridden: Sequence[str], *, exact: bool) -> bool:
    """Whether an error's key, or a key in its message, is an overridden one."""
    if exact:
        return any(f"{text}.".startswith(f"{word}.") or word.startswith(f"{text}.") for word in overridden)
    return any(re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", text) for word in overridden)


def section_at(root: Section, parts: Sequence[str]) -> Section | None:
    """The section at a dotted key, through lists by kind or position and mappings by name; None if there is none."""
    return _section_in(_type_at(root, parts))


def has_sections(root: Section, parts: Sequence[str]) -> bool:
    """Whether a dotted key leads to a section, or to a list of sections that are addressed by their kind."""
    annotation = _type_at(root, parts)
    return _section_in(annotation) is not None or bool(_by_kind(annotation))


def _type_at(root: Section, parts: Sequence[str]) -> Any:
    annotation: Any = root
    for part in parts:
        annotation = _step(annotation, part)
    return annotation


def _step(annotation: Any, part: str) -> Any:
    """The type of a section's field, or of an entry of a list or mapping."""
    section = _section_in(annotation)
    if section is None:
        fields = [each.model_fields[part] for each in _tagged(annotation).values() if part in each.model_fields]
        return fields[0].annotation if fields else _by_kind(annotation).get(part) or _entry_of(annotation)
    field = section.model_fields.get(part)
    return field.annotation if field is not None else None


def known_keys(section: Section, prefix: str = "") -> list[str]:
    """Every dotted key below a section; lists and mappings count as one key."""
    keys: list[str] = []
    for name, field in section.model_fields.items():
        keys.append(prefix + name)
        below = _section_in(field.annotation)
        if below is not None:
            keys += known_keys(below, f"{prefix}{name}.")
        for kind, entry in _by_kind(field.annotation).items():
            keys += [key for key in known_keys(entry, f"{prefix}{name}.{kind}.") if not key.endswith(".kind")]
    return keys


def nearest_key(key: str, root: Section, top: str = "") -> str:
    """`nearest: <key>` for an unknown key: one beside it, or the same word elsewhere; else all keys beside it.

    `top` is the dotted key under which `root` stands; none for the whole configuration.
    """
    *above, last = key.split(".")
    section = section_at(root, above) or root
    close = [".".join([*above, name]) for name in close_to(last, section.model_fields)]
    close += [name for name in known_keys(root) if name.split(".")[-1] == last]
    if close:
        return f"nearest: {top}.{close[0]}" if top else f"nearest: {close[0]}"
    return f"valid here: {', '.join(section.model_fields)}" if section.model_fields else "it has none"


def nearest(word: str, known: Iterable[str]) -> str:
    """`nearest: <one of known>`, or all of them if none is near."""
    names = list(known)
    close = close_to(word, names)
    return f"nearest: {close[0]}" if close else f"valid: {', '.join(names)}"


def shortened(value: Any) -> str:
    """A value as JSON, at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _first_required(section: Section) -> str:
    return next((name for name, field in section.model_fields.items() if field.is_required()), "")


def _section_in(annotation: Any) -> Section | None:
    """The section in `Section`, `Section | None` or `str | Section`, also where one is annotated with a validator; None
    for lists and mappings of sections, and for sections that their `kind` tells apart."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is Annotated and not _tagged(annotation):
        return _section_in(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return next((found for inner in get_args(annotation) if (found := _section_in(inner)) is not None), None)
    return None


def _by_kind(annotation: Any) -> dict[str, Section]:
    """Kind -> section, of a list of sections that are told apart by their `kind`; of all else nothing."""
    return _tagged(get_args(annotation)[0]) if get_origin(annotation) is list else {}


def _tagged(annotation: Any) -> dict[str, Section]:
    """Kind -> section, of one section that its `kind` tells what it is, or none; of all else nothing."""
    if get_origin(annotation) in (Union, UnionType):
        return next((found for inner in get_args(annotation) if (found := _tagged(inner))), {})
    if get_origin(annotation) is not Annotated:
        return {}
    union, *metadata = get_args(annotation)
    if not any(getattr(each, "discriminator", None) == "kind" for each in metadata):
        return {}
    return {section.model_fields["kind"].default: section for section in get_args(union)}


def _branches(annotation: Any) -> set[str]:
    """Names of the types in `str | Section`; none for `Section | None`, which pydantic does not treat as a union."""
    inner = [each for each in get_args(annotation) if each is not type(None)]
    is_union = get_origin(annotation) in (Union, UnionType) and len(inner) > 1
    return {_tag_of(each) for each in inner} if is_union else set()


def _tag_of(annotation: Any) -> str:
    """Pydantic's name for a branch of a union: `int`, `constrained-int`, `literal['auto']`."""
    if get_origin(annotation) is Annotated:
        return f"constrained-{get_args(annotation)[0].__name__}"
    if get_origin(annotation) is Literal:
        return f"literal[{','.join(map(repr, get_args(annotation)))}]"
    return getattr(annotation, "__name__", "")


def _entry_of(annotation: Any) -> Any:
    """X in `list[X]`, `dict[str, X]` or `list[X] | None`."""
    if get_origin(annotation) in (Union, UnionType):
        return next((entry for inner in get_args(annotation) if (entry := _entry_of(inner)) is not None), None)
    return get_args(annotation)[-1] if get_origin(annotation) in (list, dict) else None
