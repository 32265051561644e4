"""What a benchmark gives: tables of figures; and pairs of measurements taken one after the other, A B A B.

Two programs measured in turn see the same neighbours, clock and caches, so that their ratio means something even where
the seconds do not.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

PAIRED = ["what", "unit", "ours", "plain loop", "ours / plain", "in each pair", "pairs"]


@dataclass(frozen=True)
class Table:
    """One table of the results.

    Attributes:
        name: of the benchmark, as `--only` takes it.
        title: what was measured and how, sizes included.
        columns: headings.
        rows: cells, in the columns' order.
        samples: every single measurement behind the cells; JSON-able.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    samples: Any = None

    def markdown(self) -> str:
        """The table under its title."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)
        return f"## {self.name}\n\n{self.title}\n\n{table}\n"


@dataclass(frozen=True)
class Pairs:
    """Rates of two programs that did the same work in turn; more is better."""

    what: str
    unit: str
    ours: list[float]
    plain: list[float]

    @classmethod
    def measure(
        cls, what: str, unit: str, ours: Callable[[], float], plain: Callable[[], float], repeats: int
    ) -> Pairs:
        """A B A B: each call returns its rate."""
        pairs = [(ours(), plain()) for _ in range(repeats)]
        return cls(what, unit, [one for one, _ in pairs], [other for _, other in pairs])

    def row(self) -> list[Any]:
        """Cells of a `PAIRED` table: medians, their ratio, and the smallest and largest ratio of a pair."""
        ratios = [one / other for one, other in zip(self.ours, self.plain, strict=True)]
        ours = statistics.median(self.ours)
        plain = statistics.median(self.plain)
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        return [self.what, self.unit, _three(ours), _three(plain), f"{ours / plain:.2f}", spread, len(ratios)]


def paired_table(name: str, title: str, pairs: Iterable[Pairs]) -> Table:
    """Pairs as a table."""
    pairs = list(pairs)
    samples = [{"what": each.what, "ours": each.ours, "plain": each.plain} for each in pairs]
    return Table(name, title, PAIRED, [each.row() for each in pairs], samples)


def steady_rate(times: Sequence[float], amounts: Sequence[float]) -> float:
    """Amount a second between the first and the last of several moments at which some amount was done."""
    done = sorted(zip(times, amounts, strict=True))
    return sum(amount for _, amount in done[1:]) / (done[-1][0] - done[0][0])


def round_robin(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each call; all are called in every round, so that all see the same neighbours.

    Twice each, of which the second counts: the first finds what the call before has left in the caches.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            call()
            begin = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def line_through(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """Slope and value at 0 of the least-squares line."""
    fitted = statistics.linear_regression(xs, ys)
    return fitted.slope, fitted.intercept


def _three(value: float) -> str:
    """Three significant digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _cell(value: Any) -> str:
    return _three(value) if isinstance(value, float) else str(value)
