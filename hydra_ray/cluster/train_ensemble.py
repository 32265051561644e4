"""train_ensemble: one Ray Train job that trains all missing members, divided among its workers.

Independent members have nothing to average, and there is no barrier between workers, or teams of workers that train a
member together (`ensemble.workers_per_member`). Each is published as soon as it is trained; the next start, with any
number of workers, trains those that are missing. Members that one loss trains (`ensemble.objective`) are resumed and
published as one. With `ensemble.min_members` those that fail for good are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from hydra_ray.cluster.member_jobs import MemberJob, fit_members
from hydra_ray.cluster.place_of_work import failed_workers, fit, progress
from hydra_ray.cluster.progress import Event, log_worker_event
from hydra_ray.config import EnsembleConfig
from hydra_ray.errors import UserError
from hydra_ray.runs import Pace, Run, Stage, in_words
from hydra_ray.tasks import Task


def train_ensemble(run: Run, stage: Stage) -> None:
    """Train and publish the members that are missing.

    Raises:
        UserError: members failed, and fewer are left than `ensemble.min_members`.
    """
    ensemble = run.wanted.ensemble
    failed = dict(run.given_up)
    while missing := _missing(run, failed):
        finished = ensemble.num_members - len(missing) - len(failed)
        record = _Record(stage, run.task, ensemble.num_members, finished, len(missing))
        try:
            _train(run, stage, record, missing)
        except Exception as error:
            if ensemble.min_members is None or not record.fail_with_their_workers(error):
                raise
            _require_quorum(ensemble, {**failed, **record.failed}, error)
        failed |= record.failed
        _require_quorum(ensemble, failed)
    if ensemble.min_members is not None:
        run.give_up(failed)
    if failed:
        stage.say(f"[{ensemble.num_members - len(failed)}/{ensemble.num_members}] goes on {in_words(failed)}")


def _missing(run: Run, failed: Collection[int]) -> list[int]:
    """Numbers of the members that are still to be trained."""
    return [number for number in run.member_numbers if number not in failed and not run.member(number).is_done]


def _train(run: Run, stage: Stage, record: _Record, missing: list[int]) -> None:
    """Train these members in one job."""
    config = run.wanted
    with progress(record.handle, config.cluster) as sender:
        specs = [run.group_spec(place) for place in range(len(config.ensemble.groups))]
        members = [(number, run.member(number)) for number in missing]
        job = MemberJob(config, run.data, specs, members, sender, run.features)
        fit(fit_members, job, config.cluster, run.folder, stage)


def _require_quorum(ensemble: EnsembleConfig, failed: Mapping[int, str], error: Exception | None = None) -> None:
    """Check that enough members are left without those that failed.

    Raises:
        UserError: there are too few.
        Exception: `error`, in its place.
    """
    left = ensemble.num_members - len(failed)
    if not failed or left >= (ensemble.min_members or ensemble.num_members):
        return
    if error is not None:
        raise error
    raise UserError(f"{in_words(failed)} there are {left} members, but ensemble.min_members={ensemble.min_members}")


class _Record:
    """Logs what workers send."""

    def __init__(self, stage: Stage, task: Task, num_members: int, num_finished: int, num_missing: int) -> None:
        self._stage = stage
        self._task = task
        self._num_members = num_members
        self._finished = num_finished
        self._pace = Pace(num_missing, "steps")
        self._latest = ""
        self._in_work: dict[int, list[int]] = {}
        self.failed: dict[int, str] = {}

    def handle(self, event: Event) -> None:
        """Log one event."""
        if event["event"] == "steps":
            self._stage.tell(**event)
            for member in event["members"]:
                self._pace.update(member, event["done"], event["total"])
            self._show()
        elif event["event"] == "begins":
            self._in_work[event["rank"]] = event["members"]
        elif event["event"] == "failed":
            self._fail([event["member"]], event["reason"])
        elif not log_worker_event(self._stage, event):
            self._record(event)

    def fail_with_their_workers(self, error: Exception) -> bool:
        """Count as failed what those workers were at which failed; whether the error says which they were."""
        for rank, reason in failed_workers(error).items():
            self._fail(self._in_work.get(rank, []), reason)
        return bool(self.failed)

    def _fail(self, members: list[int], reason: str) -> None:
        for number in sorted(set(members) - set(self.failed)):  # a team's workers fail one after the other
            self.failed[number] = reason
            self._stage.event("member_failed", member=number, reason=reason)
            self._stage.say(f"member {number} failed: {reason}")

    def _record(self, event: Event) -> None:
        facts = {key: value for key, value in event.items() if key != "event"}
        text = f"member {event['member']}: {self._task.words.quality(event)}"
        if event["event"] == "member":
            self._finished += 1
            self._stage.event("member", **facts)
            self._stage.say(f"[{self._finished}/{self._num_members}] {text}")
        else:
            self._stage.figures("epoch", series=f"member-{event['member']:03d}", **facts)
            self._latest = f"; {text} after epoch {event['epoch']}"
            self._show()

    def _show(self) -> None:
        self._stage.show(f"[{self._finished}/{self._num_members}] {self._pace}{self._latest}")
