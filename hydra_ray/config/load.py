"""Loads a recipe with its `key=value` overrides as a `Config`, and lays an overlay over one; errors are one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hydra_ray.config.messages import explain, has_sections
from hydra_ray.config.options import OptionModels, check_options
from hydra_ray.config.recipes import recipe_path
from hydra_ray.config.tree import Config
from hydra_ray.config.yaml_files import assigned, read_recipe, split_override
from hydra_ray.errors import UserError


def load_config(
    path: str | Path,
    overrides: Iterable[str] = (),
    *,
    laid_over: Sequence[tuple[Mapping[str, Any], str]] = (),
    option_models: Callable[[], OptionModels] | None = None,
) -> Config:
    """The recipe at `path`, or the shipped one of that name, with `key=value` overrides applied.

    Args:
        path: of a YAML file.
        overrides: `key=value` words.
        laid_over: dotted keys and values that are set after the overrides, with the place that errors name.
        option_models: how to look up the options of views and architectures; called when all other keys are right.
            None: options are checked where they are used.

    Raises:
        UserError: the file is missing or not YAML, a key is unknown, a type is wrong, or values contradict each other.
    """
    found = recipe_path(path)
    students = [entry.kind for entry in Config.model_fields["students"].default]
    tree = {"name": found.stem, "students": students, **read_recipe(found)}
    given = [split_override(word) for word in overrides]
    for key, value in given:
        tree = assigned(tree, key, value, "command line")
    place = str(path)
    for settings, place in laid_over:
        for key, value in settings.items():
            tree = assigned(tree, key, value, place)
    overridden = [key for key, _ in given]
    config = validate(tree, place, overridden=overridden)
    if option_models is not None:
        check_options(config, option_models(), place, overridden)
    return config


def validate(tree: Mapping[str, Any], place: str, *, overridden: Iterable[str] = ()) -> Config:
    """`tree` as a `Config`; errors name `place`, or for an overridden key the command line.

    Raises:
        UserError: it is not valid.
    """
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise UserError(explain(error, place, Config, list(overridden))) from None


def with_overlay(config: Config, overlay: Mapping[str, Any], place: str) -> Config:
    """`config` with the keys of `overlay` (a nested mapping, e.g. tune/best.yaml) laid over it.

    Raises:
        UserError: the result is not valid; the line names `place`.
    """
    tree = config.model_dump()
    for key, value in _values_in(overlay):
        tree = assigned(tree, key, value, place)
    return validate(tree, place)


def _values_in(overlay: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of a section; a mapping that is no section, such as `options`, is a value."""
    for name, value in overlay.items():
        parts = (*above, str(name))
        if isinstance(value, Mapping) and has_sections(Config, parts):
            yield from _values_in(value, parts)
        else:
            yield ".".join(parts), value
