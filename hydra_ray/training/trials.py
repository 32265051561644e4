"""The trials of a search: what is known of each, when one is stopped early, which is the best.

Everything here follows from what trials have reported, trial by trial in the order of their numbers, and not from when
they did: a search gives the same table and the same best trial on one worker and on ten, undisturbed or with workers
and drivers killed on the way. What runs the trials is in `cluster/tune.py`; no Ray, no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra_ray.config import MACS, Goal, TuneConfig
from hydra_ray.errors import StageError
from hydra_ray.training.pareto import Earlier, nearest_to_ideal, on_front

_REDUCTION = 2
_LONGEST = 300

Values = tuple[float | None, ...]
"""One number an objective; None where there is none yet, as one head has no disagreement."""


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: of its kind's, from 0 on.
        parameters: what it draws, keys of `distill`.
        curve: epoch -> the objectives after it, from 1 on without gaps.
        macs: multiply-adds of the student that it fits; None while it is not known.
        error: why it failed, in one line; None while and where it did not.
        is_over: whether it will report nothing more.
        seconds: it took.
    """

    number: int
    parameters: dict[str, Any]
    curve: dict[int, Values] = field(default_factory=dict)
    macs: int | None = None
    error: str | None = None
    is_over: bool = False
    seconds: float | None = None

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return f"{self.number:03d}"

    def add(self, epoch: int, values: Sequence[float | None]) -> None:
        """A report; an objective that is not finite is a failure."""
        self.curve[epoch] = tuple(values)
        if not _are_sound(values):
            self.error = f"an objective is not finite after epoch {epoch}"

    def to_json(self) -> dict[str, Any]:
        """For a file."""
        facts = {"number": self.number, "parameters": self.parameters, "error": self.error, "seconds": self.seconds}
        curve = [list(self.curve[epoch]) for epoch in sorted(self.curve) if _are_sound(self.curve[epoch])]
        return {**facts, "macs": self.macs, "curve": curve}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Trial:
        """The trial of a file, which is over."""
        curve = {epoch: tuple(values) for epoch, values in enumerate(found["curve"], start=1)}
        return cls(found["number"], found["parameters"], curve, found["macs"], found["error"], True, found["seconds"])


@dataclass(frozen=True)
class StoppingRule:
    """When a trial is stopped before its last epoch, by comparison with the trials of lower number alone.

    `asha` (Li et al. 2018): after 1, 2, 4, ... times the grace period, which is the first phase and one epoch, a trial
    goes on if it is no worse than the median of those before it at the same epoch. So it is in Ray Tune, but for the
    order: there it is that of arrival. What that means of several objectives stands in `pareto.Earlier`.
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
        before = Earlier(len(goal.objectives))
        is_known = True  # of all trials of lower number, whether and with what they reached this epoch
        for place, (trial, curve) in enumerate(zip(trials, curves, strict=True)):
            if found[place] is not None and found[place] != math.inf:
                continue
            ended_before = len(curve) < epoch and (trial.is_over or trial.error is not None)
            is_known = is_known and found[place] is not None and (len(curve) >= epoch or ended_before)
            if not is_known:
                found[place] = None
            elif not ended_before:
                found[place] = float(epoch) if before.is_beaten_by_half(curve[epoch - 1]) else math.inf
    return found


def outcome(trial: Trial, stop: float | None) -> dict[str, Any]:
    """What counts of a trial: its objectives after its last epoch that counts, and why there are none."""
    reported = [epoch for epoch, values in trial.curve.items() if _are_sound(values)]
    longest = max(reported, default=0)
    is_stopped = stop is not None and stop <= longest
    epochs = int(stop) if is_stopped and stop is not None else longest
    error = None if is_stopped else trial.error
    values = trial.curve[epochs] if epochs and error is None else None
    if values is None or None in values:
        values = None
        error = error or "it ended without an objective"
    return {"values": values, "epochs": epochs, "stopped_early": is_stopped, "error": error}


def table_of(
    trials: Sequence[Trial],
    keys: Sequence[str],
    goal: Goal,
    rule: StoppingRule,
    member_macs: float | None = None,
) -> list[dict[str, Any]]:
    """The rows of `trials.parquet`, one a trial: its parameters, last objectives, cost, epochs, and how it ended.

    `seconds` is all in it that differs from one search to the next: how long the trial ran, what does not count too.

    Args:
        trials: all of one kind.
        keys: that were searched.
        goal: what they are compared by.
        rule: when they were stopped.
        member_macs: multiply-adds of a member; None where they are not known.
    """
    found = [outcome(trial, stop) for trial, stop in zip(trials, stops(trials, goal, rule), strict=True)]
    are_best = _on_front_of([each["values"] for each in found], goal)
    rows = []
    for trial, facts, is_best in zip(trials, found, are_best, strict=True):
        ratio = None if member_macs is None or trial.macs is None else trial.macs / member_macs
        rows.append(
            {
                "trial": trial.name,
                **{key: trial.parameters.get(key) for key in keys},
                **dict(zip(goal.objectives, facts["values"] or [None] * len(goal.objectives), strict=True)),
                MACS: trial.macs,
                "macs_ratio": ratio,
                "on_front": is_best,
                "epochs": facts["epochs"],
                "stopped_early": facts["stopped_early"],
                "seconds": trial.seconds,
                "error": facts["error"],
            }
        )
    return rows


def _on_front_of(values: Sequence[Values | None], goal: Goal) -> list[bool]:
    """Which trials no other is better than in all objectives; none that has failed."""
    rated = [place for place, each in enumerate(values) if each is not None]
    front = on_front([goal.badness(each) for each in values if each is not None])
    best = {place for place, is_best in zip(rated, front, strict=True) if is_best}
    return [place in best for place in range(len(values))]


def best_of(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], goal: Goal, kind: str, macs_ratio: float | None = None
) -> dict[str, Any]:
    """Parameters and objectives of the trial that is taken; of equal ones the first.

    With a limit to its cost it is the best in the first objective of those within it, of equal ones in the next; with
    none the one on the front that is nearest to the ideal point (`pareto.nearest_to_ideal`).

    Args:
        rows: see `table_of`.
        keys: that were searched.
        goal: what trials are compared by.
        kind: of the student.
        macs_ratio: the most multiply-adds that a student may have, over a member's.

    Raises:
        StageError: all have failed, or cost too much.
    """
    rated = [row for row in rows if None not in values_of(row, goal)]
    if not rated:
        errors = "; ".join(dict.fromkeys(str(row["error"]) for row in rows))
        raise StageError(f"tune: all {len(rows)} trials of {kind} failed: {errors[:_LONGEST]}")
    if macs_ratio is None:
        front = [row for row in rated if row["on_front"]]
        row = front[nearest_to_ideal([goal.badness(values_of(each, goal)) for each in front])]
    else:
        within = _within(rated, keys, kind, macs_ratio)
        row = min(within, key=lambda each: goal.badness(values_of(each, goal)))
    return {
        "trial": row["trial"],
        "parameters": {key: row[key] for key in keys},
        "objectives": {name: row[name] for name in goal.objectives},
        "macs_ratio": row["macs_ratio"],
    }


def values_of(row: Mapping[str, Any], goal: Goal) -> Values:
    """The objectives of a row of the table."""
    return tuple(row[name] for name in goal.objectives)


def _within(
    rows: Sequence[Mapping[str, Any]], keys: Sequence[str], kind: str, macs_ratio: float
) -> list[Mapping[str, Any]]:
    found = [row for row in rows if row["macs_ratio"] <= macs_ratio]
    if not found:
        least = min(rows, key=lambda row: row["macs_ratio"])
        what = ", ".join(f"{key}={least[key]}" for key in keys)
        raise StageError(
            f"tune: no trial of {kind} is within tune.budget.macs_ratio={macs_ratio:g}: the cheapest, {least['trial']} "
            f"({what}), has {least['macs_ratio']:.3g}; raise the budget (trials are kept), or search smaller students"
        )
    return found


def _badness(trial: Trial, goal: Goal) -> list[tuple[float, ...]]:
    """By epoch, as far as the objectives are finite; infinite where there is none yet."""
    found: list[tuple[float, ...]] = []
    for epoch in range(1, len(trial.curve) + 1):
        values = trial.curve.get(epoch)
        if values is None or not _are_sound(values):
            break
        found.append(goal.badness(values))
    return found


def _are_sound(values: Sequence[float | None]) -> bool:
    return all(value is None or math.isfinite(value) for value in values)
