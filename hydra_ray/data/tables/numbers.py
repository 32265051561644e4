"""Arrow columns as float32 numbers: which types are numbers, and offsets where float32 would lose their digits.

It is: the rule for integers, decimals, booleans, times and numbers written as text, one for features and targets.
It is not: the choice of columns (`columns.py`), nor what a whole column holds (`facts.py`).
"""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.types as pat

from hydra_ray.data.rows import Floats

Decimal = Literal[".", ","]
Offset = int | float

_NOT_HELD = 1e-5
"""Share of a column's spread that rounding to float32 may move its values before they are centred."""
_SMALLEST = 1e-37
"""Below, float32 has fewer digits and then none."""
_SECONDS_A_DAY = 86_400
_FLAGS = {"true": 1.0, "false": 0.0}
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_POINT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?(?=[\d,])(\d{1,3}(\.\d{3})+|\d*)(,\d+)?([eE][-+]?\d+)?")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?|[-+]?\d+(\.\d*)?")


def is_flag(text: str) -> bool:
    """Whether a text is true or false, as files write it in columns that also hold something else."""
    return text.strip().lower() in _FLAGS


class TooLargeError(Exception):
    """A finite number that float32 does not hold."""

    def __init__(self, place: int, value: float) -> None:
        """Where the number is along the first dimension, and which it is."""
        super().__init__(f"has the value {value:g}, too large for float32; store it in larger units")
        self.place = place


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of a dictionary's values, else the type itself."""
    return kind.value_type if pat.is_dictionary(kind) else kind


def is_whole(kind: pa.DataType) -> bool:
    """Integers, plain or in a dictionary."""
    return pat.is_integer(plain_type(kind))


def is_time(kind: pa.DataType) -> bool:
    """Dates, times of day, moments and durations."""
    kind = plain_type(kind)
    return pat.is_date(kind) or pat.is_time(kind) or pat.is_timestamp(kind) or pat.is_duration(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether every value of the type is a number: true and false are 1 and 0, times are seconds."""
    plain = plain_type(kind)
    return (
        pat.is_integer(plain)
        or pat.is_floating(plain)
        or pat.is_boolean(plain)
        or pat.is_decimal(plain)
        or is_time(plain)
    )


def is_text(kind: pa.DataType) -> bool:
    """Text, plain or in a dictionary."""
    plain = plain_type(kind)
    return pat.is_string(plain) or pat.is_large_string(plain) or pat.is_string_view(plain)


def kind_of(kind: pa.DataType) -> str | None:
    """What a type of numbers holds where it is no plain number: `bool`, `whole`, `date`, `time` or `duration`."""
    kind = plain_type(kind)
    tests = {
        "bool": pat.is_boolean,
        "whole": pat.is_integer,
        "date": pat.is_date,
        "time": pat.is_timestamp,
        "duration": pat.is_duration,
    }
    return next((name for name, is_of in tests.items() if is_of(kind)), None)


def without_dictionary(column: Any) -> Any:
    """The values of a column that is stored as a dictionary, else the column itself."""
    return column.dictionary_decode() if pat.is_dictionary(column.type) else column


def exact_values(column: Any) -> tuple[npt.NDArray[Any], float]:
    """The values of a column of a type of numbers without rounding, and their unit in seconds or ones.

    Args:
        column: of n values.

    Returns:
        int64, uint64 or float64 [n], null as 0 in integers and NaN else; what one of them is worth.
    """
    column = without_dictionary(column)
    kind = column.type
    if is_time(kind):
        is_short = pat.is_date32(kind) or pat.is_time32(kind)
        raw = column.cast(pa.int32()).cast(pa.int64()) if is_short else column.cast(pa.int64())
        unit = _SECONDS_A_DAY if pat.is_date32(kind) else 1 / _PER_SECOND["ms" if pat.is_date64(kind) else kind.unit]
        return raw.fill_null(0).to_numpy(zero_copy_only=False), unit
    if pat.is_integer(kind):
        wide = pa.uint64() if pat.is_uint64(kind) else pa.int64()
        return column.cast(wide).fill_null(0).to_numpy(zero_copy_only=False), 1
    if pat.is_boolean(kind):
        column = column.cast(pa.int8())
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False).astype(np.float64), 1


def as_float32(column: Any, offset: Offset = 0, decimal: Decimal = ".") -> Floats:
    """A column without nulls as float32 [n], each value less `offset`.

    Args:
        column: of a type of numbers, or of text that is numbers.
        offset: in the column's own unit, seconds for times; subtracted before rounding.
        decimal: what stands between ones and tenths in text.

    Raises:
        ValueError: text that is no number; the message is that text.
        TooLargeError: see `to_float32`.
    """
    values, unit = exact_numbers(column, decimal)
    return to_float32(_less(values, offset, unit))


def exact_numbers(column: Any, decimal: Decimal = ".") -> tuple[npt.NDArray[Any], float]:
    """As `exact_values`, also of a column of text that is numbers.

    Raises:
        ValueError: text that is no number; the message is that text.
    """
    if is_text(column.type):
        return _parsed(without_dictionary(column), decimal), 1.0
    return exact_values(column)


def to_float32(values: npt.NDArray[Any]) -> Floats:
    """Numbers [n, ...] rounded to float32; NaN and infinite ones stay what they are.

    Raises:
        TooLargeError: a finite one that float32 does not hold.
    """
    with np.errstate(over="ignore"):  # it becomes infinite
        rounded = values.astype(np.float32)
    if values.dtype != np.float32:
        lost = np.argwhere(~np.isfinite(rounded) & np.isfinite(values))
        if len(lost):
            raise TooLargeError(int(lost[0][0]), float(values[tuple(lost[0])]))
    return rounded


def number_in(text: str, decimal: Decimal) -> float | None:
    """The number that a text is, NaN where it is empty; None for other text.

    With a decimal comma points may part thousands, and the other way round.
    """
    text = text.strip()
    if not text:
        return math.nan
    if decimal == ",":
        return float(text.replace(".", "").replace(",", ".")) if _COMMA.fullmatch(text) else None
    if _POINT.fullmatch(text):
        return float(text)
    return float(text.replace(",", "")) if _THOUSANDS.fullmatch(text) else None


def is_plain_number(text: str) -> bool:
    """Whether a text is a number with a decimal point and no comma."""
    return _POINT.fullmatch(text.strip()) is not None


def proves_comma(text: str) -> bool:
    """Whether the comma in a text can stand for nothing but the decimal point: 0,5 and 1,25 and 1.234,5."""
    head, comma, tail = text.strip().lstrip("+-").partition(",")
    is_number = _COMMA.fullmatch(text.strip()) is not None
    return bool(comma) and is_number and (len(tail) != 3 or head in ("", "0") or "." in head or len(head) > 3)


def offset_for(low: Offset, high: Offset, *, centre: bool) -> Offset:
    """What to subtract from a column before it becomes float32; 0 where it holds the values as they are.

    Args:
        low: the column's smallest value.
        high: its largest.
        centre: whether to subtract in any case, as from times.

    Raises:
        ValueError: values that differ, but that float32 cannot tell apart; the message says why.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0
    spread = high - low
    largest = max(abs(low), abs(high))
    with np.errstate(over="ignore"):
        step = float(np.spacing(np.float32(largest)))
    offset: Offset = 0
    if spread > 0 and (centre or step / 2 > _NOT_HELD * spread):
        middle = (low + high) // 2 if isinstance(low, int) and isinstance(high, int) else low + spread / 2
        offset = math.floor(middle) if spread >= 2 or isinstance(middle, int) else middle
    if spread > 0 and max(abs(low - offset), abs(high - offset)) < _SMALLEST:
        raise ValueError(f"values from {low:g} to {high:g} are too small for float32")
    return offset


def _less(values: npt.NDArray[Any], offset: Offset, unit: float) -> npt.NDArray[np.floating[Any]]:
    """(values * unit - offset) in float64; of integers the difference is exact."""
    if offset == 0 or values.dtype == np.float64:
        return values.astype(np.float64) * unit - offset
    rounded = values.astype(np.float64) - offset / unit
    if abs(rounded).max(initial=0) > 2**62 or not isinstance(offset, int):
        return rounded * unit
    start = round(offset / unit) if unit >= 1 else offset * round(1 / unit)
    wrapped = np.array([start % 2**64], np.uint64)
    rest = offset - start * unit if unit >= 1 else 0  # days do not divide every offset
    return (values.astype(np.uint64) - wrapped).astype(np.int64) * unit - rest


def _parsed(column: Any, decimal: Decimal) -> npt.NDArray[np.float64]:
    encoded = column.dictionary_encode()
    numbers = []
    for text in encoded.dictionary.to_pylist():
        number = number_in(text, decimal)
        number = _FLAGS.get(text.strip().lower()) if number is None else number
        if number is None:
            raise ValueError(text)
        numbers.append(number)
    return np.array(numbers, np.float64)[encoded.indices.to_numpy(zero_copy_only=False)]
