"""Columns of text that are numbers all the same: decimal commas, and what keeps a column from being numbers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from hydra_ray.data.tables.facts import ColumnFacts
from hydra_ray.data.tables.gaps import is_word_for_missing
from hydra_ray.data.tables.labels import shortened
from hydra_ray.data.tables.numbers import Decimal, is_plain_number, number_in, proves_comma

_MOSTLY = 0.5
_MOST_EXAMPLES = 3


def decimal_of(texts: Collection[str], wanted: Decimal | None) -> Decimal | None:
    """What stands between ones and tenths in texts that are numbers; None where they are none, or unclear.

    A comma is a decimal one where a value leaves no doubt (0,5 or 1,25); 1,234 alone could be either.
    """
    if not texts:
        return None
    if wanted is not None:
        is_other = any(number_in(text, wanted) is None for text in texts)
        return None if is_other else wanted
    if all(is_plain_number(text) for text in texts):
        return "."
    are_numbers = all(number_in(text, ",") is not None for text in texts)
    return "," if are_numbers and any(proves_comma(text) for text in texts) else None


def likely_decimal(texts: Iterable[str], wanted: Decimal | None) -> Decimal:
    """The same for texts of which not all are numbers."""
    return wanted or decimal_of([text for text in texts if number_in(text, ",") is not None], None) or "."


def without_words(facts: ColumnFacts) -> Mapping[str, int]:
    """How often each text is there, without the words for a missing number."""
    return {text: count for text, count in facts.texts.items() if not is_word_for_missing(text)}


def problem_of(name: str, facts: ColumnFacts, decimal: Decimal | None) -> str | None:
    """What keeps a column of text that is mostly numbers from being one, in words; None where it is other text."""
    texts = without_words(facts)
    if texts and decimal is None and all(number_in(text, ",") is not None for text in texts):
        return f"column {name} has commas that may part tenths or thousands ({examples(texts)})"
    numbers = sum(count for text, count in texts.items() if number_in(text, decimal or ".") is not None)
    others = [text for text in texts if number_in(text, decimal or ".") is None]
    if not others or numbers < _MOSTLY * texts_in_all(texts):
        return None
    count = sum(texts[text] for text in others)
    verb = "is" if count == 1 else "are"
    where = f"{others[0]!r}, row {facts.first_rows[others[0]]} counted from 0"
    return f"column {name}: {count} of {facts.num_rows} values {verb} no number ({where})"


def texts_in_all(texts: Mapping[str, int]) -> int:
    """Rows that have one of them."""
    return sum(texts.values())


def examples(texts: Iterable[str]) -> str:
    """Some of them, for messages."""
    return shortened([repr(text[:20]) for text in sorted(texts)], _MOST_EXAMPLES)
