"""Recipes of a test's own, and what is said of one that is wrong."""

from pathlib import Path

import pytest

from hydra_ray.config.load import load_config
from hydra_ray.errors import UserError


def recipe(folder: Path, text: str, name: str = "mine.yaml") -> Path:
    """A recipe's file."""
    path = folder / name
    path.write_text(text)
    return path


def refusal(path, *overrides) -> str:
    """The one line."""
    with pytest.raises(UserError) as raised:
        load_config(path, overrides)
    text = str(raised.value)
    assert "\n" not in text
    return text
