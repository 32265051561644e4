"""The options of the views: typed, with defaults and ranges, and the check of what a user wrote for them.

Defaults are mild, suit images from 8x8 to 224x224 because lengths are fractions of the image's size, and were
looked at on 28x28 digits. This module transforms nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from hydra_ray.errors import UserError
from hydra_ray.views.resampling import Padding


def _between(default: Any, low: float, high: float) -> Any:
    """A number's default and its closed range; a whole-number default asks for whole numbers."""
    return field(default=default, metadata={"low": low, "high": high})


_PADDINGS = {"choices": ("zeros", "border", "reflection")}


@dataclass(frozen=True)
class Options:
    """No options."""


@dataclass(frozen=True)
class AffineOptions(Options):
    """Rotation, zoom and shift about the centre, each uniform in plus or minus its option."""

    degrees: float = _between(10.0, 0, 180)
    scale: float = _between(0.1, 0, 0.9)
    """Largest change of size, as a fraction."""
    shift: float = _between(0.07, 0, 1)
    """Largest shift along each axis, as a fraction of the image's size."""
    padding: Padding = field(default="zeros", metadata=_PADDINGS)


@dataclass(frozen=True)
class ElasticOptions(Options):
    """A smooth random displacement of the pixels."""

    alpha: float = _between(0.06, 0, 1)
    """Largest displacement of a knot, as a fraction of the image's size."""
    grid: int = _between(4, 2, 64)
    """Knots per side; more knots make shorter waves."""
    padding: Padding = field(default="zeros", metadata=_PADDINGS)


@dataclass(frozen=True)
class CropFlipOptions(Options):
    """A random crop of the padded image, and a random mirror image."""

    pad: float = _between(0.125, 0, 1)
    """Padding on each side, as a fraction of the image's size, rounded to pixels."""
    flip: float = _between(0.5, 0, 1)
    """Probability of mirroring left to right."""
    padding: Padding = field(default="zeros", metadata=_PADDINGS)


@dataclass(frozen=True)
class CyclicShiftOptions(Options):
    """A shift in which pixels that leave on one side come back on the other; whole pixels."""

    shift: float = _between(0.5, 0, 1)
    """Largest shift along each axis, as a fraction of the image's size."""


@dataclass(frozen=True)
class GaussianNoiseOptions(Options):
    """Independent normal noise."""

    sigma: float = _between(0.05, 0, 10)
    """Standard deviation, as a fraction of the full pixel range, or of each feature's standard deviation."""


@dataclass(frozen=True)
class AmountOptions(Options):
    """How much of the other is blended in: uniform between two weights."""

    amount_min: float = _between(0.1, 0, 1)
    amount_max: float = _between(0.5, 0, 1)


@dataclass(frozen=True)
class SmoothNoiseOptions(AmountOptions):
    """Smooth random clouds blended over the image; a weight of 1 leaves nothing of it."""

    amount_min: float = _between(0.3, 0, 1)
    amount_max: float = _between(1.0, 0, 1)
    grid: int = _between(5, 2, 64)
    """Knots per side of the noise."""


@dataclass(frozen=True)
class BlockOptions(Options):
    """Partners are seeded choices among the other rows of the same block."""

    block_rows: int = _between(500, 2, 1_000_000_000)
    """Rows with equal `row_id // block_rows` form a block; whoever applies the view hands in whole blocks."""


@dataclass(frozen=True)
class MixOptions(AmountOptions, BlockOptions):
    """The share of a partner row."""


@dataclass(frozen=True)
class UniformBoxOptions(Options):
    """Uniform in the box of the training rows' smallest and largest features, widened."""

    margin: float = _between(0.1, 0, 1e3)
    """By how much on each side, as a share of the feature's range."""


@dataclass(frozen=True)
class OutsideBoxOptions(Options):
    """Uniform in that part of the widened box where at least one feature is out of its range."""

    margin: float = _between(1.0, 1e-3, 1e3)
    """By how much the box is wider on each side, as a share of the feature's range."""


@dataclass(frozen=True)
class OdsOptions(Options):
    """A step against a member's output; see `hydra_ray/views/ods.py`."""

    step: float = _between(8 / 255, 0, 1)
    """Root mean square of the change, as a fraction of the full pixel range, or in units of the features."""
    temperature: float = _between(1.0, 1e-3, 1e3)
    """Of the softmax whose gradient is taken."""


OptionsT = TypeVar("OptionsT", bound=Options)


def parse_options(name: str, kind: type[OptionsT], options: Mapping[str, object]) -> OptionsT:
    """A view's options, checked; those left out have their defaults.

    Raises:
        UserError: an option that view `name` does not have, or a value out of its range.
    """
    known = {each.name: each for each in fields(kind)}
    for key in options:
        if key not in known:
            raise UserError(f"view {name} has no option {key!r}; {nearest(key, known)}")
    parsed = kind(**{key: _checked(name, known[key], value) for key, value in options.items()})
    if isinstance(parsed, AmountOptions) and parsed.amount_min > parsed.amount_max:
        limits = f"amount_min={parsed.amount_min} is above amount_max={parsed.amount_max}"
        raise UserError(f"view {name}: {limits}; swap them")
    return parsed


def _checked(name: str, option: Field[Any], value: Any) -> Any:
    """An option's value, whole numbers as floats where a float is meant."""
    choices = option.metadata.get("choices")
    if choices is not None:
        if value not in choices:
            raise UserError(f"view {name}: {option.name}={value!r}; {nearest(str(value), choices)}")
        return value
    low, high, kind = option.metadata["low"], option.metadata["high"], type(option.default)
    numbers = (int,) if kind is int else (int, float)
    if isinstance(value, bool) or not isinstance(value, numbers) or not low <= value <= high:
        whole = "a whole number" if kind is int else "a number"
        raise UserError(f"view {name}: {option.name}={value!r} must be {whole} from {low} to {high}")
    return kind(value)


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message on an unknown word: the nearest known ones, then all of them."""
    names = list(known)
    close = difflib.get_close_matches(word.lower(), names, n=2)
    return (f"did you mean {' or '.join(close)}? " if close else "") + f"known: {', '.join(names) or 'none'}"
