"""Columns of text that are dates and times all the same, in the ways that people write them."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from hydra_ray.data.tables.numbers import without_dictionary

ISO = "ISO 8601"
"""2026-03-01, 2026-03-01 10:30:00 and the like."""
_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d %b %Y", "%d-%b-%Y", "%b %d, %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S")
_FORMATS = (ISO, *(f"{date}{clock}" for date in _DATES for clock in _CLOCKS))
_LOOKS_LIKE = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}.*|\d{1,2}[-./ ]\w{1,9}[-./ ]\d{4}.*|[A-Z][a-z]{2} \d{1,2}, \d{4}.*"
)
_SAMPLE = 20


def format_of(texts: Collection[str]) -> str | None:
    """How all of some texts are written as dates, month before day where both could be; None where they are none."""
    some = list(texts)[:_SAMPLE]
    if not some or not all(_LOOKS_LIKE.fullmatch(text) for text in some):
        return None
    few = pa.array(some, pa.string())
    column = pa.array(list(texts), pa.string())
    return next((each for each in _FORMATS if _fits(few, each) and _fits(column, each)), None)


def _fits(column: pa.Array, written: str) -> bool:
    try:
        return as_times(column, written).null_count == 0
    except pa.ArrowInvalid:
        return False


def as_times(column: Any, written: str) -> Any:
    """A column of text as timestamps in seconds, without a time zone.

    Args:
        column: Arrow text.
        written: how, as `format_of` found it.

    Raises:
        pa.ArrowInvalid: a text that is written in another way; the message quotes it.
    """
    texts = pc.utf8_trim_whitespace(without_dictionary(column).cast(pa.string()))  # pyright: ignore[reportAttributeAccessIssue]
    if written == ISO:
        return texts.cast(pa.timestamp("us")).cast(pa.timestamp("s"), safe=False)
    return pc.strptime(texts, format=written, unit="s")  # pyright: ignore[reportAttributeAccessIssue]
