"""What views there are, and what is known of each: a function, the model of its options, what rows it takes.

A view is a function with `@view(...)` above it, beside the model of its options. It keeps shape and dtype. A row's new
pixels are a pure function of (the view's seed, row_id, options), for views that mix rows also of its block, for views
of feature rows of the training rows' scale (`Features`): any worker, batch split and order of work makes the same ones.
A user's own view is written as ours are and named by its import path. How rows go through a view is in `apply.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from torch import Tensor

from hydra_ray.config import Section, import_own, is_own, nearest, parse_options
from hydra_ray.errors import UserError
from hydra_ray.views.batch import BlockOptions, Mixes

OptionsT = TypeVar("OptionsT", bound=Section)
Takes = Literal["images", "features", "both"]


@dataclass(frozen=True)
class View(Generic[OptionsT]):
    """What is known of a view."""

    name: str
    options: type[OptionsT]
    apply: Callable[..., Tensor]
    """(options, ViewBatch) -> rows, which the caller rounds to their dtype; members come third where it needs them."""
    takes: Takes
    mixes: Mixes
    keeps_label: bool
    needs_members: bool
    changes_codes: bool
    """Whether categories change too; a view of numbers alone is of no use where all features are categories."""

    def parse(self, options: Mapping[str, Any]) -> OptionsT:
        """The view's options; those left out have their defaults.

        Raises:
            UserError: an option that it does not have, or a value out of its range.
        """
        return parse_options(self.options, options)


VIEWS: dict[str, View[Any]] = {}
"""Our views by name; filled where they are written."""


def view(
    options: type[OptionsT],
    *,
    takes: Takes = "images",
    mixes: Mixes = "nothing",
    keeps_label: bool = True,
    needs_members: bool = False,
    changes_codes: bool = True,
) -> Callable[[Callable[..., Tensor]], View[OptionsT]]:
    """Make a view of a function, which is called as `function(options, batch)` and returns the batch's new rows.

    Args:
        options: the model of its options.
        takes: the kind of rows.
        mixes: what is taken from other rows of the block: one row, each feature from another one, or the nearest row.
            The options then derive from `BlockOptions`.
        keeps_label: False where rows have no single label: they are mixed or random.
        needs_members: whether the function takes a list of the members as well, to look at their gradients.
        changes_codes: False where numbers change and the codes of categories stay.
    """

    def made(function: Callable[..., Tensor]) -> View[OptionsT]:
        name = function.__name__
        found = View(name, options, function, takes, mixes, keeps_label, needs_members, changes_codes)
        if function.__module__.startswith(f"{__package__}."):  # a user's own is found by its import path
            VIEWS[name] = found
        return found

    return made


def view_named(name: str) -> View[Any]:
    """The view of a name or import path.

    Raises:
        UserError: there is none; the line does not say where the name stands.
    """
    if is_own(name):
        found = import_own(name)
        if not isinstance(found, View):
            raise UserError(f"is a {type(found).__name__}, not a view; write @view(...) of hydra_ray.views above it")
        return found
    if name not in VIEWS:
        raise UserError(f"unknown view; {nearest(name, VIEWS)}, or package.module:function")
    return VIEWS[name]


def view_options(name: str) -> type[Section]:
    """The model of a view's options; a UserError as from `view_named`."""
    return view_named(name).options


def check_view(
    name: str, options: Mapping[str, Any], input_shape: tuple[int, ...], categories: tuple[int, ...] = ()
) -> None:
    """Find what is wrong with a view before any row is made.

    Raises:
        UserError: unknown view, unknown or impossible option, a view of images asked for feature rows or the other way
            round, or a view of numbers for a table that has none.
    """
    found = _view(name)
    found.parse(options)
    given = "images" if len(input_shape) == 3 else "features"
    if found.takes not in (given, "both"):
        usable = ", ".join(each for each, known in VIEWS.items() if known.takes in (given, "both"))
        needed = "images" if found.takes == "images" else "feature rows"
        raise UserError(f"view {name} needs {needed}, but rows have shape {input_shape}; use one of {usable}")
    if categories and all(categories) and not found.changes_codes:
        raise UserError(f"view {name} changes numbers, but all {len(categories)} features are categories; use swap")


def view_block_rows(name: str, options: Mapping[str, Any]) -> int:
    """Rows of a block: 1 where rows are independent; else the work may be cut at multiples of it."""
    parsed = _view(name).parse(options)
    return parsed.block_rows if isinstance(parsed, BlockOptions) else 1


def _view(name: str) -> View[Any]:
    try:
        return view_named(name)
    except UserError as error:
        raise UserError(f"view={name}: {error}") from None
