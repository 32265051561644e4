"""Columns of text that are numbers all the same: decimal commas, and what keeps a column from being numbers."""

from __future__ import annotations

from collections.abc import Iterable

from hydra_ray.data.tables.facts import ColumnFacts
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.numbers import Decimal, is_plain_number, number_in, proves_comma

_MOSTLY = 0.5
_MOST_EXAMPLES = 3


def decimal_of(facts: ColumnFacts, wanted: Decimal | None) -> Decimal | None:
    """What stands between ones and tenths in a column of text; None where it is no column of numbers, or unclear.

    A comma is a decimal one where a value leaves no doubt (0,5 or 1,25); 1,234 alone could be either.
    """
    texts = facts.texts
    if not texts:
        return None
    if wanted is not None:
        is_other = any(number_in(text, wanted) is None for text in texts)
        return None if is_other else wanted
    if all(is_plain_number(text) for text in texts):
        return "."
    are_numbers = all(number_in(text, ",") is not None for text in texts)
    return "," if are_numbers and any(proves_comma(text) for text in texts) else None


def problem_of(name: str, facts: ColumnFacts, decimal: Decimal | None) -> str:
    """Why a column of text is no column of numbers, in words."""
    if not facts.texts:
        return f"column {name} holds no value at all"
    if decimal is None and all(number_in(text, ",") is not None for text in facts.texts):
        return f"column {name} has commas that may part tenths or thousands ({_examples(facts.texts)})"
    numbers = sum(count for text, count in facts.texts.items() if number_in(text, decimal or ".") is not None)
    others = [text for text in facts.texts if number_in(text, decimal or ".") is None]
    if numbers < _MOSTLY * facts.num_rows:
        return f"column {name} holds text ({_examples(facts.texts)})"
    count = sum(facts.texts[text] for text in others)
    verb = "is" if count == 1 else "are"
    where = f"{others[0]!r}, row {facts.first_rows[others[0]]} counted from 0"
    return f"column {name}: {count} of {facts.num_rows} values {verb} no number ({where})"


def _examples(texts: Iterable[str]) -> str:
    return shortened([repr(text[:20]) for text in sorted(texts)], _MOST_EXAMPLES)
