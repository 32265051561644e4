"""How long the work behind the results took that are in use now, over all commands that had a part in it.

It reads the events of a run folder; who writes them is in `tracking.py`.
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
    """As its end says; None where it was killed."""

    @property
    def length(self) -> float:
        """Of a killed one up to its last event."""
        return self.latest - self.began if self.seconds is None else self.seconds


def work_seconds(events: Sequence[Mapping[str, Any]], in_use: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Seconds of each stage: the sum over all commands that worked on a result that is in use now.

    A command that failed, was interrupted or was killed counts up to its end or its last event, as what it had done was
    gone on with; one whose results have been replaced since does not count; nor does finding out that nothing is to be
    done, so that a stage that was skipped keeps the time it took when it ran. Of a command that also made what is not
    in use now, all of its time counts.

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
