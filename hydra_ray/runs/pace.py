"""How far a stage's work is, how fast it goes and how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

_SECONDS_BEFORE_RATE = 2.0
_DAY = 86_400


class Pace:
    """Counts pieces of work of about the same size, some of which may have been begun by an earlier command.

    As text: `12,300 of 45,000 steps, 310/s, 2 minutes left`.
    """

    def __init__(self, num_pieces: int, unit: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Nothing is done yet.

        Args:
            num_pieces: of work, e.g. members to train.
            unit: what is counted within them, in the plural.
            clock: seconds.
        """
        self._num_pieces = num_pieces
        self._unit = unit
        self._clock = clock
        self._began: float | None = None
        self._earlier: dict[Hashable, int] = {}
        self._done: dict[Hashable, int] = {}
        self._size = 0

    def update(self, piece: Hashable, done: int, size: int) -> None:
        """One piece is so far; what was done of it when it was first heard of is an earlier command's."""
        if self._began is None:
            self._began = self._clock()
        self._earlier.setdefault(piece, done)
        self._done[piece] = done
        self._size = size

    def __str__(self) -> str:
        done = sum(self._done.values())
        total = self._size * self._num_pieces
        text = f"{done:,} of {total:,} {self._unit}"
        seconds = 0.0 if self._began is None else self._clock() - self._began
        own = done - sum(self._earlier.values())
        if seconds < _SECONDS_BEFORE_RATE or own <= 0 or done >= total:
            return text
        rate = own / seconds
        return f"{text}, {_rate(rate)}, {time_in_words((total - done) / rate)} left"


def time_in_words(seconds: float) -> str:
    """In the unit that a person would use: 40 seconds, 12 minutes, 5 hours, 3 days."""
    for size, unit in ((_DAY, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {unit}s"
    return f"{seconds:.0f} seconds" if seconds >= 1.5 else "a second"


def _rate(rate: float) -> str:
    if rate >= 1:
        return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s"
    return f"{60 * rate:.1f}/min"
