"""The search's trials as a table of text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hydra_ray.config import MACS
from hydra_ray.evaluation import figure
from hydra_ray.report.formats import count, decimal, setting, times, words
from hydra_ray.report.inputs import SearchResult
from hydra_ray.report.tables import TextTable

BEST_TRIALS = 10


def trials_table(kind: str, search: SearchResult) -> TextTable:
    """The best trials of the search for one kind of student; of several objectives all that no other beats.

    The one that is taken stands last where a budget took another than these.
    """
    is_front = len(search.objectives) > 1
    best = search.front if is_front else search.ranked[:BEST_TRIALS]
    shown = best if search.best in best else [*best, search.best]
    figures_of = [name for name in search.objectives if name != MACS]
    rows = []
    for trial in shown:
        ended = "stopped early" if trial["stopped_early"] else "ran to the end"
        taken = "taken" if trial["trial"] == search.taken else ""
        cells = [*(decimal(trial[name]) for name in figures_of), _trial_cost(trial)]
        settings = [setting(trial[key]) for key in (*search.keys, "epochs")]
        rows.append((trial["trial"], taken, *cells, *settings, ended))
    has_ratio = any(figure(trial, "macs_ratio") is not None for trial in shown)
    cost = "MACs /\nmember's" if has_ratio else "MACs"
    columns = ("trial", "", *map(words, figures_of), cost, *map(words, search.keys), "epochs", "")
    title = (
        f"The {len(best)} trials of {kind} that no other beats"
        if is_front
        else f"The best {len(best)} trials of {kind}"
    )
    return TextTable(title, columns, tuple(rows))


def _trial_cost(trial: Mapping[str, Any]) -> str:
    """Multiply-adds as multiples of a member's; their number where a member's are not known."""
    ratio = figure(trial, "macs_ratio")
    return count(figure(trial, MACS)) if ratio is None else times(ratio)
