"""The actor between workers and driver. Its process imports this module and no other of ours: no torch, no pandas."""

from __future__ import annotations

from typing import Any

Event = dict[str, Any]


class Channel:
    """Holds events until the driver collects them."""

    def __init__(self) -> None:
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        """Add one."""
        self._events.append(event)

    def take_all(self) -> list[Event]:
        """Those since the last call, in order."""
        events = self._events
        self._events = []
        return events
