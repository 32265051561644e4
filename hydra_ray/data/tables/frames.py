"""Rows of features back as a table with the training file's own columns, for teachers that know only those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hydra_ray.data.rows import Bools, Inputs
from hydra_ray.data.tables.categories import FIRST, MISSING
from hydra_ray.data.tables.columns import Columns
from hydra_ray.data.tables.reading import Reading
from hydra_ray.data.tables.text_times import ISO

if TYPE_CHECKING:
    import pandas as pd

OTHER_TEXT = "other"
"""What stands in a frame for a value without a code."""
_SECONDS_A_DAY = 86_400


def to_frame(inputs_ND: Inputs, columns: Columns) -> pd.DataFrame:
    """A table of N rows with the columns of the training rows' file.

    Numbers are float64, or int64 where the file's are whole and these are too; true and false, dates and durations are
    what they were; categories are text, `other` for a value without a code. What is missing is NaN, NaT or None.

    Args:
        inputs_ND: float32 [N, D], as a source reads them.
        columns: of the training rows, which are numbers and categories.
    """
    import pandas as pd

    reading = columns.reading
    codes = dict(reading.codes)
    first = len(columns.inputs)
    there = {name: inputs_ND[:, first + place] < 0.5 for place, (name, _) in enumerate(reading.medians)}
    found: dict[str, Any] = {}
    for place, name in enumerate(columns.inputs):
        values = inputs_ND[:, place]
        found[name] = _texts(values, codes[name]) if name in codes else _numbers(values, there.get(name), name, reading)
    return pd.DataFrame(found)


def _texts(codes: Inputs, values: tuple[str, ...]) -> np.ndarray:
    known = np.array([None, OTHER_TEXT, *values], object)
    assert MISSING == 0
    assert len(known) == FIRST + len(values)
    return known[np.clip(np.rint(codes), 0, len(known) - 1).astype(np.int64)]


def _numbers(values: Inputs, there: Bools | None, name: str, reading: Reading) -> Any:
    """A column of numbers in its own unit and kind; missing where `there` is false."""
    offset = dict(reading.offsets).get(name, 0)
    kind = dict(reading.kinds).get(name)
    written = dict(reading.times).get(name)
    numbers = values.astype(np.float64) + offset
    missing = np.zeros(len(numbers), bool) if there is None else ~there
    if written is not None or kind == "duration":
        return _times(numbers, missing, kind, written)
    if kind == "bool":
        flags = numbers > 0.5
        if not missing.any():
            return flags
        found = flags.astype(object)
        found[missing] = None
        return found
    if kind == "whole" and not missing.any() and (numbers == np.rint(numbers)).all():
        return numbers.astype(np.int64)
    numbers[missing] = np.nan
    return numbers


def _times(seconds: np.ndarray, missing: Bools, kind: str | None, written: str | None) -> Any:
    """Times of day are not among them: a file's are numbers of seconds."""
    import pandas as pd

    if kind == "duration":
        return pd.Series(pd.to_timedelta(seconds, unit="s")).mask(missing)
    if kind == "date" or (written not in (None, ISO) and "%H" not in str(written)):
        seconds = np.rint(seconds / _SECONDS_A_DAY) * _SECONDS_A_DAY
    moments = pd.Series(pd.to_datetime(np.rint(seconds), unit="s")).mask(missing)
    if written in (None, ISO):
        return moments
    return moments.dt.strftime(written).astype(object).where(~missing, None)
