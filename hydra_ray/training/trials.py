"""The trials of a search: what is known of each, when one is stopped early, which is the best.

Everything here follows from what trials have reported, trial by trial in the order of their numbers, and not from when
they did: a search gives the same table and the same best trial on one worker and on ten, undisturbed or with workers
and drivers killed on the way. What runs the trials is in `cluster/tune.py`; no Ray, no torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.config import Goal, TuneConfig
from hydra_ray.errors import StageError

_REDUCTION = 2
_LONGEST = 300


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: of its kind's, from 0 on.
        parameters: what it draws, keys of `distill`.
        curve: epoch -> the objective after it, from 1 on without gaps; None where there is none yet, as one head has no
            disagreement.
        error: why it failed, in one line; None while and where it did not.
        is_over: whether it will report nothing more.
        seconds: it took.
    """

    number: int
    parameters: dict[str, Any]
    curve: dict[int, float | None] = field(default_factory=dict)
    error: str | None = None
    is_over: bool = False
    seconds: float | None = None

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.number:03d}"

    def add(self, epoch: int, value: float | None) -> None:
        """A report; an objective that is not finite is a failure."""
        self.curve[epoch] = value
        if not _is_sound(value):
            self.error = f"the objective is not finite after epoch {epoch}"

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        curve = [self.curve[epoch] for epoch in sorted(self.curve) if _is_sound(self.curve[epoch])]
        facts = {"number": self.number, "parameters": self.parameters, "error": self.error, "seconds": self.seconds}
        return {**facts, "curve": curve}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Trial:
        """The trial of a file, which is over."""
        curve = dict(enumerate(found["curve"], start=1))
        return cls(found["number"], found["parameters"], curve, found["error"], True, found["seconds"])


@dataclass(frozen=True)
class StoppingRule:
    """When a trial is stopped before its last epoch, by comparison with the trials of lower number alone.

    `asha` (Li et al. 2018): after 1, 2, 4, ... times the grace period, which is the first phase and one epoch, a trial
    goes on if it is no worse than the median of those before it at the same epoch. So it is in Ray Tune, but for the
    order: there it is that of arrival.
    """

    scheduler: str
    grace: int
    num_epochs: int

    @classmethod
    def of(cls, tune: TuneConfig, mean_phase_epochs: int, num_epochs: int) -> StoppingRule:
        """Of a configuration."""
        return cls(tune.scheduler, min(1 + mean_phase_epochs, num_epochs), num_epochs)

    @property
    def epochs(self) -> list[int]:
        """After which a trial may be stopped."""
        found = []
        epoch = self.grace
        while self.scheduler == "asha" and epoch < self.num_epochs:
            found.append(epoch)
            epoch *= _REDUCTION
        return found

    @staticmethod
    def goes_on(own: float, others: Sequence[float]) -> bool:
        """Whether a trial goes on, from the badness of itself and of those before it after the same epoch."""
        return not others or own <= statistics.median(others)


def stops(trials: Sequence[Trial], goal: Goal, rule: StoppingRule) -> list[float | None]:
    """The epoch after which each trial is stopped: infinite for never, None where that cannot be said yet.

    Args:
        trials: all of one kind, numbers 0, 1, ... in order; what has not begun has reported nothing.
        goal: what they are compared by.
        rule: when they are stopped.
    """
    curves = [_badness(trial, goal) for trial in trials]
    found: list[float | None] = [math.inf] * len(trials)
    for epoch in rule.epochs:
        before: list[float] = []
        is_known = True  # of all trials of lower number, whether and with what they reached this epoch
        for place, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
            if found[place] is not None and found[place] != math.inf:
                continue
            ended_before = len(curve) < epoch and (trial.is_over or trial.error is not None)
            is_known = is_known and found[place] is not None and (len(curve) >= epoch or ended_before)
            if not is_known:
                found[place] = None
            elif not ended_before:
                found[place] = math.inf if rule.goes_on(curve[epoch - 1], before) else float(epoch)
                before.append(curve[epoch - 1])
    return found


def outcome(trial: Trial, stop: float | None) -> dict[str, Any]:
    """What counts of a trial: its objective after its last epoch that counts, and why there is none."""
    reported = [epoch for epoch, value in trial.curve.items() if _is_sound(value)]
    longest = max(reported, default=0)
    is_stopped = stop is not None and stop <= longest
    epochs = int(stop) if is_stopped and stop is not None else longest
    error = None if is_stopped else trial.error
    objective = trial.curve[epochs] if epochs and error is None else None
    if objective is None and error is None:
        error = "it ended without an objective"
    return {"objective": objective, "epochs": epochs, "stopped_early": is_stopped, "error": error}


def table_of(trials: Sequence[Trial], keys: Sequence[str], goal: Goal, rule: StoppingRule) -> list[dict[str, Any]]:
    """The rows of `trials.parquet`, one a trial: its parameters, last objective, epochs, and how it ended.

    `seconds` is all in it that differs from one search to the next: how long the trial ran, what does not count too.
    """
    rows = []
    for trial, stop in zip(trials, stops(trials, goal, rule), strict=True):
        found = outcome(trial, stop)
        error = found.pop("error")
        parameters = {key: trial.parameters.get(key) for key in keys}
        rows.append({"trial": trial.name, **parameters, **found, "seconds": trial.seconds, "error": error})
    return rows


def best_of(rows: Sequence[Mapping[str, Any]], keys: Sequence[str], goal: Goal, kind: str) -> dict[str, Any]:
    """Parameters and objective of the best trial; of equal ones the first.

    Raises:
        StageError: all have failed.
    """
    rated = [row for row in rows if row["objective"] is not None]
    if not rated:
        errors = "; ".join(dict.fromkeys(str(row["error"]) for row in rows))
        raise StageError(f"tune: all {len(rows)} trials of {kind} failed: {errors[:_LONGEST]}")
    row = min(rated, key=lambda each: goal.badness(each["objective"]))
    return {"parameters": {key: row[key] for key in keys}, "objective": row["objective"], "trial": row["trial"]}


def _badness(trial: Trial, goal: Goal) -> list[float]:
    """By epoch, as far as the objective is finite; infinite where there is none yet."""
    found: list[float] = []
    for epoch in range(1, len(trial.curve) + 1):
        value = trial.curve.get(epoch, math.nan)
        if not _is_sound(value):
            break
        found.append(math.inf if value is None else goal.badness(value))
    return found


def _is_sound(value: float | None) -> bool:
    return value is None or math.isfinite(value)
