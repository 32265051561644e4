"""Options of what a recipe chooses by name, a view or an architecture, checked as soon as the recipe is read.

The models of options lie beside the code that takes them, in rooms above this one. Whoever loads a recipe hands in how
to look them up (`OptionModels`). They are asked for after all other keys are known to be right, because those rooms
import torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple, TypeVar

from pydantic import ValidationError

from hydra_ray.config.messages import explain, is_about, shortened
from hydra_ray.config.sections import Section, ViewConfig
from hydra_ray.config.tree import Config
from hydra_ray.errors import UserError

SectionT = TypeVar("SectionT", bound=Section)
Lookup = Callable[[str], type[Section]]
"""A name -> the model of its options; a UserError for a name that is not known."""


class NoOptions(Section):
    """Of what has no options."""


class OptionModels(NamedTuple):
    """How to look up the options of views and of architectures."""

    view: Lookup
    architecture: Lookup


@dataclass(frozen=True)
class _Choice:
    """Something that a recipe chooses by name, with the keys under which name and options stand."""

    kind: Literal["view", "architecture"]
    name_key: str
    name: str
    options_key: str
    options: Mapping[str, Any]
    remark: str = ""
    """What else there is to say of the place."""


def check_options(config: Config, models: OptionModels, place: str, overridden: Sequence[str] = ()) -> None:
    """Check the options of every view and architecture that a configuration names.

    Args:
        config: all other keys of which are right.
        models: how to look the options up.
        place: where the configuration comes from, e.g. a file.
        overridden: dotted keys that came from the command line, which is then the place.

    Raises:
        UserError: one line on the first name that is not known, or option that is wrong.
    """
    for choice in (*_views(config), *_architectures(config)):
        lookup = models.view if choice.kind == "view" else models.architecture
        try:
            model = lookup(choice.name)
        except UserError as error:
            where = "command line" if is_about(choice.name_key, overridden, exact=True) else place
            raise UserError(f"{where}: {choice.name_key}={shortened(choice.name)}: {error}") from None
        try:
            model.model_validate(choice.options)
        except ValidationError as error:
            where = f"{place}: {choice.remark}" if choice.remark else place
            keys = () if choice.remark else overridden
            raise UserError(explain(error, where, model, keys, above=choice.options_key)) from None


def parse_options(model: type[SectionT], options: Mapping[str, Any], key: str = "options") -> SectionT:
    """Options as their model; those left out have their defaults.

    Raises:
        UserError: an unknown option or a wrong value, as one line that begins with the option's dotted key.
    """
    try:
        return model.model_validate(options)
    except ValidationError as error:
        raise UserError(explain(error, "", model, above=key)) from None


def named_views(config: Config) -> Iterator[tuple[str, ViewConfig]]:
    """Every view that a configuration names, by its dotted key."""
    for place, view in enumerate(config.transfer.views or ()):
        yield f"transfer.views.{place}", view
    for place, view in enumerate(config.data.validation_views or ()):
        yield f"data.validation_views.{place}", view
    for name, source in config.data.unknown.items():
        if isinstance(source, ViewConfig):
            yield f"data.unknown.{name}", source
    if config.ensemble.augment is not None:
        yield "ensemble.augment", config.ensemble.augment


def _views(config: Config) -> Iterator[_Choice]:
    for key, view in named_views(config):
        yield _Choice("view", f"{key}.view", view.view, f"{key}.options", view.options)


def _architectures(config: Config) -> Iterator[_Choice]:
    """The members', the student's, and those that a search tries."""
    ensemble = config.ensemble
    distill = config.distill
    for place, group in enumerate(ensemble.groups):
        above = "ensemble" if ensemble.members is None else f"ensemble.members.{place}"
        yield _Choice("architecture", f"{above}.architecture", group.architecture, f"{above}.options", group.options)
    yield _body(config, ("distill.body", distill.body), ("distill.body_options", distill.body_options))
    for body, options in product(_tried(config, "body"), _tried(config, "body_options")):
        yield _body(config, body, options)


def _tried(config: Config, name: str) -> list[tuple[str, Any]]:
    """What a search tries for a key of `distill`, each by its dotted key; the key's own value where it tries none."""
    space = config.tune.space if config.tune.num_trials else {}
    if name not in space:
        return [(f"distill.{name}", getattr(config.distill, name))]
    return [(f"tune.space.{name}.{place}", value) for place, value in enumerate(space[name])]


def _body(config: Config, body: tuple[str, str | None], options: tuple[str, Mapping[str, Any] | None]) -> _Choice:
    """A student's body and its options, each after its dotted key; what is none is the members'."""
    (name_key, name) = body
    (options_key, given) = options
    ensemble = config.ensemble
    if name is None:
        name_key = "ensemble.architecture"
        name = ensemble.architecture
    if given is not None:
        return _Choice("architecture", name_key, name, options_key, given)
    remark = f"{name_key}={name} without {options_key} has the members' options"
    return _Choice("architecture", name_key, name, "ensemble.options", ensemble.options, remark)
