"""How the values of a table's columns become features: what was decided from the training rows' file, for all others.

Features are the columns in order, then, of each column of numbers that lacks some, one that says where (`gaps.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from hydra_ray.data.tables.categories import FIRST
from hydra_ray.data.tables.gaps import indicator_of, is_number_in, no_word
from hydra_ray.data.tables.numbers import Decimal, Offset, is_text
from hydra_ray.data.tables.text_times import ISO, as_times


@dataclass(frozen=True)
class Reading:
    """Pairs of a column's name and a fact about it; a column that is nowhere named is a number as it is.

    Attributes:
        offsets: what is subtracted before values become float32, in seconds for times.
        decimals: of text that is numbers, what stands between ones and tenths.
        codes: of categories, the values of codes 2, 3, ...; 0 is missing, 1 any other value.
        medians: of numbers that some rows lack, what stands for a missing one, in the column's own unit.
        times: of dates and times, how they are written where they are text.
        other_is_missing: names of columns in which all text that is no number counts as missing.
        kinds: what the columns hold in the training rows' file, where it is more than a number: bool, whole, date,
            time, duration. For the way back to a frame; nothing is read by it.
    """

    offsets: tuple[tuple[str, Offset], ...] = ()
    decimals: tuple[tuple[str, Decimal], ...] = ()
    codes: tuple[tuple[str, tuple[str, ...]], ...] = ()
    medians: tuple[tuple[str, Offset], ...] = ()
    times: tuple[tuple[str, str], ...] = ()
    other_is_missing: tuple[str, ...] = ()
    kinds: tuple[tuple[str, str], ...] = ()

    @property
    def is_plain(self) -> bool:
        """Whether every column is a number that no row lacks."""
        return not (self.codes or self.medians)

    @property
    def indicators(self) -> tuple[str, ...]:
        """Names of the features that say where a number is missing."""
        return tuple(indicator_of(name) for name, _ in self.medians)

    def categories(self, names: tuple[str, ...]) -> tuple[int, ...]:
        """Of each feature how many codes it has, 0 for a number; () where none is a category.

        Args:
            names: of the columns.
        """
        sizes = {name: FIRST + len(values) for name, values in self.codes}
        found = tuple(sizes.get(name, 0) for name in names)
        return (*found, *(0 for _ in self.medians)) if any(found) else ()

    def value_test(self, name: str) -> Callable[[str], bool]:
        """Whether a text in a column of numbers is a value; else it counts as missing."""
        return is_number_in(dict(self.decimals).get(name, ".")) if name in self.other_is_missing else no_word

    def as_written(self, column: Any, name: str) -> Any:
        """Text that is dates as times, every other column as it is.

        Raises:
            pa.ArrowInvalid: a text that is written in another way than in the training rows' file.
        """
        written = dict(self.times).get(name)
        return as_times(column, written) if written and is_text(column.type) else column

    def key(self) -> dict[str, Any]:
        """What decides how values become features and does not follow from a file's content alone; JSON-ready."""
        written = {name: each for name, each in self.times if each != ISO}
        more = {
            "categories": {name: list(values) for name, values in self.codes},
            "medians": dict(self.medians),
            "times": written,
            "other_is_missing": list(self.other_is_missing),
        }
        return {
            "offsets": dict(self.offsets),
            "decimals": dict(self.decimals),
            **{name: value for name, value in more.items() if value},
        }

    def to_json(self) -> dict[str, Any]:
        """The same with all times, which `from_json` reads."""
        return {**self.key(), **({"times": dict(self.times)} if self.times else {})}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """The reading that `to_json` was called on.

        Raises:
            KeyError, TypeError, AttributeError: it is none.
        """
        return cls(
            offsets=tuple(content["offsets"].items()),
            decimals=tuple(content["decimals"].items()),
            codes=tuple((name, tuple(values)) for name, values in content.get("categories", {}).items()),
            medians=tuple(content.get("medians", {}).items()),
            times=tuple(content.get("times", {}).items()),
            other_is_missing=tuple(content.get("other_is_missing", ())),
        )


AS_NUMBERS = Reading()
"""Of numbers as they are."""
