"""Seconds of work behind a run's present results, summed over all commands that worked on them.

They are computed from the events of the run folder, which `tracking.py` writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_ENDS = ("done", "failed")


@dataclass
class _Entry:
    """One command's time in a stage."""

    makes: Collection[str] | None
    began: float
    latest: float
    seconds: float | None = None
    """Seconds that its last event gives; None where the command was killed."""

    @property
    def length(self) -> float:
        """Seconds in the stage; of a killed command, those up to its last event."""
        return self.latest - self.began if self.seconds is None else self.seconds


def work_seconds(events: Sequence[Mapping[str, Any]], in_use: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Seconds of each stage, summed over all commands that worked on a present result.

    A command that failed, was interrupted or was killed counts up to its end or its last event, because the next one
    resumed its work. A command whose results have been replaced does not count, nor does one that skipped the stage.
    Where a command made present and replaced results, all of its time counts.

    Args:
        events: of the run folder, in order.
        in_use: stage -> lineages of its results (`Artifact.lineage`); other stages are left out.
    """
    found: dict[str, float] = {}
    for stage, lineages in in_use.items():
        entries = _entries(each for each in events if each.get("stage") == stage)
        counted = [each.length for each in entries if each.makes is None or set(lineages) & set(each.makes)]
        if counted:
            found[stage] = round(sum(counted), 3)
    return found


def _entries(events: Iterable[Mapping[str, Any]]) -> list[_Entry]:
    entries: list[_Entry] = []
    is_open = False
    for event in events:
        if event["event"] == "start":
            entries.append(_Entry(event.get("makes"), event["time"], event["time"]))
            is_open = True
        elif event["event"] == "skipped":  # by another command: the one before was killed
            is_open = False
        elif is_open:
            entries[-1].latest = event["time"]
            if event["event"] in _ENDS:
                entries[-1].seconds = event.get("seconds")
                is_open = False
    return entries
