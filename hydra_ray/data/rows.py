"""The rows a source hands out, and what every source can do. How it stores them is not known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Inputs = npt.NDArray[Any]
TaskName = Literal["classification", "regression"]
LABEL_DTYPES: Mapping[TaskName, np.dtype[Any]] = {
    "classification": np.dtype(np.int64),
    "regression": np.dtype(np.float32),
}
"""Numbers of classes, or targets."""


@dataclass(frozen=True, eq=False)
class Rows:
    """n rows of one source, in the order of their positions."""

    row_id: Ints
    """int64 [n], position in the source."""
    inputs: Inputs
    """uint8 [n, H, W, channels] pixels or float32 [n, D] features."""
    labels: Ints | Floats | None
    """int64 [n], class numbers, -1 where a row has none; regression: float32 [n], targets in their own unit, all there.
    None where the source has no labels."""

    def __len__(self) -> int:
        return len(self.row_id)


class Source(Protocol):
    """One split of a data set as its publisher cut it. Small to pickle; reads its rows where it is used."""

    @property
    def name(self) -> str:
        """What a user would call it, for messages."""
        ...

    @property
    def num_rows(self) -> int:
        """Rows in all; positions run from 0 to `num_rows - 1`."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(H, W, channels) or (D,)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8 for images, float32 for features."""
        ...

    @property
    def task(self) -> TaskName:
        """What its labels are: numbers of classes, or the target of a regression."""
        ...

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """Names of the classes in order, where the source knows them."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...] | None:
        """Names of the D features in order, where the source knows them."""
        ...

    @property
    def categories(self) -> tuple[int, ...]:
        """Of each of the D features how many codes it has, 0 for a number; () where no feature is a category.

        Codes are whole numbers from 0 in `Rows.inputs`: 0 is a missing value, 1 any other than the known ones.
        """
        ...

    @property
    def goes_with(self) -> tuple[int, ...]:
        """Of each of the D features the place of the one it belongs to; () where each stands alone.

        That is its own, but for a feature that says where a number is missing: it belongs to that number.
        """
        ...

    def read(self, start: int, stop: int, keep: Bools | None = None) -> Rows:
        """Rows at positions `start` to `stop - 1`; with `keep` (bool [stop - start]) only the true ones.

        Raises:
            UserError: a row that cannot be decoded, or of another shape; the line names it.
        """
        ...

    def read_labels(self) -> Ints | Floats | None:
        """All labels [num_rows] without any input, as in `Rows`; None where the source has none.

        Raises:
            UserError: regression: a row whose target is missing or not finite.
        """
        ...

    def fingerprint(self) -> dict[str, Any]:
        """A small JSON-ready dict that changes when the data change, and not when they are copied."""
        ...

    def require_unchanged(self) -> None:
        """Look whether the files are still those that were opened; they are not read again.

        Raises:
            UserError: a file was written to since, or is gone; the line names it.
        """
        ...


def concatenate(parts: Sequence[Rows]) -> Rows:
    """Rows of one source after each other; at least one part."""
    labels: list[npt.NDArray[Any]] = [part.labels for part in parts if part.labels is not None]
    return Rows(
        np.concatenate([part.row_id for part in parts]),
        np.concatenate([part.inputs for part in parts]),
        np.concatenate(labels) if labels else None,
    )


def positions(start: int, stop: int, keep: Bools | None, num_rows: int) -> Ints:
    """The positions that `Source.read` is asked for, ascending.

    Raises:
        ValueError: a slice outside of the source, or a mask of another length.
    """
    if not 0 <= start <= stop <= num_rows:
        raise ValueError(f"rows {start} to {stop} of {num_rows}")
    if keep is None:
        return np.arange(start, stop, dtype=np.int64)
    if len(keep) != stop - start:
        raise ValueError(f"a mask of {len(keep)} for {stop - start} rows")
    return start + np.flatnonzero(keep).astype(np.int64)
