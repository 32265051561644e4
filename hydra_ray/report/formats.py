"""Numbers as people read them, a dash for a figure that is not there; and where the figures of a page come from.

The same text does for a terminal, Markdown and HTML; `ascii_only` serves terminals that know no
more. No layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

DASH = "–"
_CAPITALS = {name.lower(): name for name in ("NLL", "KL", "MI", "ECE", "AUROC", "AURC", "PRR", "RMSE")}
_UNITS = ("", " k", " M", " G", " T")


def ascii_only(text: str) -> str:
    """`text` without the two signs above ASCII that formats use."""
    return text.replace(DASH, "-").replace("×", "x")


def origin(command: str, facts: Mapping[str, str]) -> str:
    """The first line of a page that a command writes; `facts` are of software and machine."""
    known = "; ".join(f"{name}: {fact}" for name, fact in facts.items())
    return f"Made by `{command}`; do not edit. {known}."


def decimal(value: float | None, digits: int = 4) -> str:
    """0.0439; so small that fewer than two digits would be left: 4.3e-05."""
    if value is None:
        return DASH
    if value != 0 and abs(value) < 10.0 ** (1 - digits):
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def significant(value: float | None) -> str:
    """Four digits that matter, for figures in units of a target: 0.04123, 5.610, 2906, 123457, 1.235e-05."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    before_point = math.floor(math.log10(abs(value))) + 1
    return f"{value:.{max(0, 4 - before_point)}f}" if -4 < before_point < 8 else f"{value:.3e}"


def percent(value: float | None, digits: int = 2) -> str:
    """A share in percent: 97.22 %."""
    return DASH if value is None else f"{100 * value:.{digits}f} %"


def rough_percent(value: float | None) -> str:
    """A share in percent with two digits that matter: 98 %, 3.4 %, 0.52 %."""
    if value is None:
        return DASH
    digits = 0 if abs(value) >= 0.0995 else 1 if abs(value) >= 0.00995 else 2
    return percent(value, digits)


def times(value: float | None) -> str:
    """A ratio: 1.02 ×."""
    return DASH if value is None else f"{value:.2f} ×"


def count(value: float | None) -> str:
    """A count with three digits that matter: 650, 12.3 k, 1.20 M."""
    if value is None:
        return DASH
    unit = 0
    while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
        value = value / 1000
        unit = unit + 1
    return f"{value:.0f}" if unit == 0 else f"{_three_digits(value)}{_UNITS[unit]}"


def milliseconds(value: float | None) -> str:
    """A latency: 0.0213 ms, 1.35 ms, 208 ms."""
    if value is None:
        return DASH
    return f"{value:.3g} ms" if value < 1 else f"{_three_digits(value)} ms"


def duration(value: float | None) -> str:
    """Seconds as a stage took them: 3.2 s, 4 min 05 s, 2 h 01 min."""
    if value is None:
        return DASH
    if value < 59.95:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest:02d} min" if hours else f"{minutes} min {seconds:02d} s"


def words(key: str) -> str:
    """A key in words: validation_nll -> validation NLL."""
    return " ".join(_CAPITALS.get(word, word) for word in key.split("_"))


def capitalised(text: str) -> str:
    """With a capital letter first, the others as they are."""
    return text[0].upper() + text[1:]


def setting(value: Any) -> str:
    """A value of the configuration: numbers short, no quotes."""
    if isinstance(value, bool) or not isinstance(value, float):
        return DASH if value is None else str(value)
    return f"{value:.3g}"


def _three_digits(value: float) -> str:
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}"
