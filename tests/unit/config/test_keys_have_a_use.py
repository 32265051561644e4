"""Every key stands in a shipped recipe, or in docs/recipes.md with what it is for."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from support import REPO

from hydra_ray.config import STUDENTS, Config


def keys_of(model: type[BaseModel], above: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from keys_of(kind, f"{above}{name}.")
        else:
            yield above + name


def keys_in(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in tree.items():
        yield above + name
        if isinstance(value, dict):
            yield from keys_in(value, f"{above}{name}.")
    for student in tree.get("students", []) if not above else []:
        if isinstance(student, dict):
            yield from (f"students.{student['kind']}.{name}" for name in student)


KEYS = [*keys_of(Config), *(f"students.{kind}.{key}" for kind, own in STUDENTS.items() for key in own.model_fields)]
SET = {key for path in (REPO / "configs").glob("*.yaml") for key in keys_in(yaml.safe_load(path.read_text()))}
TOLD = (REPO / "docs" / "recipes.md").read_text().split("## Keys that no recipe sets")[1]


@pytest.mark.parametrize("key", [key for key in KEYS if not key.endswith(".kind") or key == "distill.kind"])
def test_a_key_is_used_or_explained(key):
    assert key in SET or f"`{key}`" in TOLD, "set it in a recipe, explain it in docs/recipes.md, or remove it"


def test_what_is_explained_is_a_key():
    named = {
        part for line in TOLD.splitlines() if line.startswith("| `") for part in line.split("|")[1].split("`")[1::2]
    }
    assert named <= set(KEYS)
