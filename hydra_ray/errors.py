"""The exceptions that commands turn into one line: what a user can mend, what failed all the same, an end asked for.

Also what such lines are made of: an exception's own words, and the known word that a wrong one is close to.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class OneLineError(Exception):
    """Its message is one line, whatever names of files and columns and texts of libraries stand in it."""

    def __init__(self, message: str) -> None:
        super().__init__(in_one_line(message))


def in_one_line(text: str) -> str:
    """A text with a space for every break between lines."""
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def reason_of(error: BaseException, longest: int = 240) -> str:
    """An exception's own words on one line, or its type's name if it has none; of a long one beginning and end."""
    return elided(str(error) or type(error).__name__, longest)


def elided(text: str, longest: int) -> str:
    """A text on one line; of a long one beginning and end, where libraries say why."""
    text = " ".join(text.split())
    half = (longest - 3) // 2
    return text if len(text) <= longest else f"{text[:half]}...{text[-half:]}"


def close_to(word: str, known: Iterable[str], *, most: int = 1) -> list[str]:
    """The known words that a wrong one may stand for, the nearest first, whatever their case; at most `most`."""
    by_lower = {each.lower(): each for each in known}
    return [by_lower[match] for match in difflib.get_close_matches(word.lower(), by_lower, n=most, cutoff=0.5)]


class UserError(OneLineError):
    """Something the user can mend.

    The message is one line that names the key or file, the value and the way out; commands print it and exit
    with code 2.
    """


class OpenQuestionError(UserError):
    """What a table leaves open; `proposal` has the keys of `data`, with the values, that are the likeliest answer."""

    def __init__(self, message: str, proposal: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.proposal = dict(proposal)


class StorageError(UserError):
    """A place that cannot be read or written: no room, no right, no answer."""


class DivergedError(UserError):
    """A fit whose losses, weights or figures are no finite numbers any more; in a search, a failed trial."""


class StageError(OneLineError):
    """A stage that failed in a worker, e.g. in a network of the user's own.

    The message is one line that says what and where; commands print it and exit with code 1.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, whose name is the message: the command ends in order, as with Ctrl-C.

    Commands exit with code 128 + the signal's number.
    """
