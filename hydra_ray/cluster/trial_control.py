"""What Tune calls during a search: which trial comes next, when to stop one, and where events go.

Tune decides nothing and stores nothing: it places trials on processes, and restarts those that it lost. What a trial
draws and when it stops early depends on the trials of lower number alone (`training/trials.py`,
`training/search_space.py`); finished trials are kept in files of the run folder (`tune.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from hydra_ray.cluster.failures import cause_of, full_text, one_line
from hydra_ray.cluster.progress import Event
from hydra_ray.cluster.signals import raise_if_interrupted
from hydra_ray.cluster.trial_jobs import FAILED, TrialWork
from hydra_ray.config import MACS, Goal, StudentKind
from hydra_ray.training import Sampler, StoppingRule, Trial, drawn, outcome, stops

CHANNEL = "hydra-ray-trials"


@dataclass(frozen=True)
class KindSearch:
    """The search for one kind of student.

    Attributes:
        kind: of the student.
        space: the search space.
        sampler: how trials draw from it.
        seed: the run's.
        goal: the figures that trials are compared by.
        rule: when trials are stopped.
        trials: all of them, by number; an earlier command may have finished some.
    """

    kind: StudentKind
    space: Mapping[str, Any]
    sampler: Sampler
    seed: int
    goal: Goal
    rule: StoppingRule
    trials: list[Trial]

    def stop_of(self, number: int) -> float | None:
        """See `trials.stops`."""
        return stops(self.trials, self.goal, self.rule)[number]

    def draw(self, number: int, at_once: int) -> dict[str, Any] | None:
        """The parameters that trial `number` draws; None while it has to wait for earlier trials.

        Optuna is told of all earlier trials but the last `at_once - 1`, which run at the same time, so that it does not
        matter which of them is the faster.
        """
        known = self.trials[: max(0, number - at_once + 1)] if self.sampler == "optuna" else []
        if not all(trial.is_over for trial in known):
            return None
        found = [(trial.parameters, badness) for trial in known if (badness := self._badness(trial)) is not None]
        num_objectives = len(self.goal.objectives)
        return drawn(self.space, self.sampler, self.seed, self.kind, number, found, num_objectives)

    def _badness(self, trial: Trial) -> tuple[float, ...] | None:
        values = outcome(trial, self.stop_of(trial.number))["values"]
        return None if values is None else self.goal.badness(values)


class InOrder(Searcher):
    """Suggests the trials that are left, kind by kind in the order of their numbers, `at_once` at a time."""

    def __init__(self, searches: Sequence[KindSearch], at_once: int) -> None:
        super().__init__()
        self._searches = searches
        self._at_once = at_once
        self._left = [
            (place, each.number) for place, one in enumerate(searches) for each in one.trials if not each.is_over
        ]
        self._running: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial; None to be asked again later."""
        if not self._left:
            return Searcher.FINISHED
        if len(self._running) >= self._at_once:
            return None
        place, number = self._left[0]
        search = self._searches[place]
        parameters = search.draw(number, self._at_once)
        if parameters is None:
            return None
        self._left.pop(0)
        trial = search.trials[number]
        trial.parameters = parameters
        self._running[trial_id] = trial
        return TrialWork(search.kind, number, parameters).to_config()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Make room for the next trial; one that Tune gave up is not over, but lost."""
        trial = self._running.pop(trial_id, None)
        if trial is not None and not error:
            trial.is_over = True
            trial.seconds = (result or {}).get("time_total_s")

    def save(self, checkpoint_path: str) -> None:
        """Do nothing; finished trials are files of the run folder."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing; finished trials are files of the run folder."""


class StopInOrder(FIFOScheduler):
    """Notes what trials report, and stops those that failed or that their rule stops."""

    def __init__(self, searches: Sequence[KindSearch]) -> None:
        super().__init__()
        self._searches = {search.kind: search for search in searches}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Note a trial's report, and decide whether it goes on."""
        work = TrialWork.of(trial.config)
        search = self._searches[work.kind]
        own = search.trials[work.number]
        if FAILED in result:
            own.error = own.error or result[FAILED]
            return TrialScheduler.STOP
        own.macs = result[MACS]
        own.add(result["epoch"], [result.get(name) for name in search.goal.objectives])
        stop = search.stop_of(work.number)
        ends = own.error is not None or (stop is not None and stop <= result["epoch"])
        return TrialScheduler.STOP if ends else TrialScheduler.CONTINUE


class Forward(tune.Callback):
    """Sends events of trials to the progress channel.

    Tune pickles its callbacks, so this one holds the name of an actor and nothing else.
    """

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        """Send the figures of an epoch."""
        figures = {
            key: result[key] for key in result if key.startswith("validation_") or key in ("epoch", "loss", "phase")
        }
        if FAILED not in result:
            _send("trial_epoch", trial, figures)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Send that a trial is over, also where it failed."""
        _send("trial", trial, {})

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Send that a trial was lost and is run again."""
        _send("trial_again", trial, {"failure": _failure_of(trial)})

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        """Send that a trial was lost too often."""
        _send("trial_lost", trial, {"failure": _failure_of(trial)})

    def on_step_end(self, iteration: int, trials: list[Any], **_: Any) -> None:
        """Stop Tune if the command was interrupted."""
        raise_if_interrupted()


def _failure_of(trial: Any) -> str:
    error = trial.get_pickled_error()
    return one_line(cause_of(error), full_text(error)) if error is not None else "a trial's process failed"


def _send(event: str, trial: Any, facts: dict[str, Any]) -> None:
    work = TrialWork.of(trial.config)
    who: Event = {"event": event, "student": work.kind, "number": work.number, "parameters": work.parameters}
    ray.get_actor(CHANNEL).put.remote({**who, **facts})
