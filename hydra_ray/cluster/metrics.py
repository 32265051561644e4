"""Counts of a run's work as metrics of Ray, which Prometheus scrapes from the cluster's nodes.

They follow the events of the run (`Tracker.observe`), so that no other module knows of them. Each counts from zero
with the command; Ray exports them as `ray_NAME_total` with the labels `run` and `stage`, every ten seconds, from the
machine of the command. `configs/cluster/grafana.json` is a dashboard of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ray.util.metrics import Counter

ROWS = "hydra_rows_predicted"
STEPS = "hydra_optimisation_steps"
MEMBERS = "hydra_members_done"
RESTARTS = "hydra_restarts"
BYTES = "hydra_bytes_written"
COUNTERS = {
    ROWS: "Rows that the members have predicted; a row under another view is another one",
    STEPS: "Optimisation steps of members and students; of a stack, each member's",
    MEMBERS: "Members trained and published",
    RESTARTS: "Starts of workers and trials beyond the first, after a failure or a preemption",
    BYTES: "Bytes of shards, members and students",
}
"""Name -> what is counted."""
_LABELS = ("run", "stage")


class RunMetrics:
    """The counters of one run; Ray is connected."""

    def __init__(self, run: str) -> None:
        """Nothing is counted yet.

        Args:
            run: its name.
        """
        self._run = run
        self._counters = {name: Counter(name, text, _LABELS) for name, text in COUNTERS.items()}
        self._steps: dict[Any, int] = {}

    def count(self, event: Mapping[str, Any]) -> None:
        """Count what an event tells, as `Tracker.observe` passes it on."""
        for name, amount in self._amounts(event):
            if amount > 0:
                self._counters[name].inc(amount, {"run": self._run, "stage": event["stage"]})

    def _amounts(self, event: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        kind = event["event"]
        if kind in ("shard", "member", "student"):
            yield BYTES, event["bytes"]
        if kind == "shard":
            yield ROWS, event["rows"]
        elif kind == "member":
            yield MEMBERS, 1
        elif kind in ("restart", "trial_again"):
            yield RESTARTS, 1
        elif kind == "steps":
            yield STEPS, self._new_steps(event)

    def _new_steps(self, event: Mapping[str, Any]) -> int:
        """Steps since the last event; one that is the first, or is behind the last, tells of its own step alone."""
        fit = tuple(event.get("members") or [event.get("student")])
        before = self._steps.get(fit, event["done"])
        self._steps[fit] = event["done"]
        steps = event["done"] - before if before < event["done"] else 1
        return steps * len(fit)
