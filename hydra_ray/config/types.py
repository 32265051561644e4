"""What sections of the configuration are made of: their base, and types of numbers, names and ranges to search."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A frozen, strict part of the tree: unknown keys and wrong types are errors."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _folder_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.,=-]{0,99}", text):
        raise ValueError(
            "becomes a folder's name: use letters, digits and _ - . = , with a letter or digit first, at most 100"
        )
    return text


def _splits(choice: int | str) -> int | str:
    found = re.fullmatch(r"(\d{1,3})(-(\d{1,3}))?", str(choice))
    if choice != "all" and not (found and (found[3] is None or int(found[1]) < int(found[3]))):
        raise ValueError("must be a split's number, a range such as 0-9, or all")
    return choice


def _ascending(ends: list[int]) -> list[int]:
    if ends[0] > ends[1]:
        raise ValueError(f"the fewest come first: [{ends[1]}, {ends[0]}]")
    return ends


FolderName = Annotated[str, AfterValidator(_folder_name)]
OnlyTrue = Annotated[bool | None, AfterValidator(lambda given: given or None)]  # false is as if it were not there
NotEmpty = Annotated[str, Field(min_length=1)]
SplitChoice = Annotated[int | str, AfterValidator(_splits)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Limits far above what is used: a digit too many is refused before it takes memory.
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]  # of rows, steps, epochs
CountOrNone = Annotated[int, Field(ge=0, le=1_000_000_000)]
Several = Annotated[int, Field(ge=1, le=10_000)]  # of what is made one by one: networks, views, processes
FewToMany = Annotated[list[Several], Field(min_length=2, max_length=2), AfterValidator(_ascending)]
SeveralOrNone = Annotated[int, Field(ge=0, le=10_000)]
Samples = Annotated[int, Field(ge=0, le=100_000)]
ConsensusRule = Literal["mean", "plurality", "majority", "weighted", "learned"]
HeadKind = Literal["linear", "mlp", "conv1x1", "block"]
Width = Annotated[int, Field(ge=1, le=100_000)]
Side = Annotated[int, Field(ge=1, le=8192)]  # of an image, in pixels
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
StoreSize = Annotated[int, Field(ge=75, le=100_000_000)]


def real_ranges(space: Mapping[str, Any], sections: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """A search space in which ranges of real keys have real ends: `temperature: {low: 1, high: 4}` includes 2.5."""
    fields = [field for section in sections for field in section.model_fields.items()]
    real = {name for name, field in fields if float in (field.annotation, *get_args(field.annotation))}
    return {key: _real(domain) if key in real else domain for key, domain in space.items()}


def _real(domain: Any) -> Any:
    if not isinstance(domain, Mapping):
        return domain
    return {key: float(value) if type(value) is int else value for key, value in domain.items()}
