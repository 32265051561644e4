"""The chain of stages: each is skipped if its results are published and valid, else run, all in one Ray session.

ray is imported when the first stage has something to do, so that a run that is done costs a second or two.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module

from hydra_ray.cluster.place_of_work import LocalWorkError
from hydra_ray.cluster.session import (
    SCRATCH,
    available,
    check_storage,
    is_private,
    needs_dashboard,
    prepare_environment,
    reachable,
    session,
    submitted_as,
)
from hydra_ray.cluster.signals import interrupts_noticed
from hydra_ray.cluster.temporary_folder import check_temporary_folder
from hydra_ray.cluster.worker_logs import WORKER_LOG, with_worker_logs
from hydra_ray.config import ClusterConfig
from hydra_ray.errors import StageError, UserError
from hydra_ray.runs import (
    STAGES,
    Listener,
    Redo,
    Run,
    Stage,
    StageSpec,
    Tracker,
    check_experiment,
    check_networks,
    check_object_store,
    check_resources,
    check_run,
    features_that_say_nothing,
    is_small,
    never,
    resources_in_words,
    stage_state,
    take_from_siblings,
    teacher_lines,
)
from hydra_ray.storage import Folder, as_storage_error, owned

ERROR_LOG = "error.log"


def run_stages(
    run: Run,
    names: Iterable[str],
    *,
    stack: ExitStack | None = None,
    wait: bool = False,
    redo: Redo = never,
    listener: Listener | None = None,
) -> None:
    """Bring the named stages up to date.

    Args:
        run: the run.
        names: of its stages, in order.
        stack: keeps the Ray session open for further runs; None to close it after this one.
        wait: whether to wait for another command that works in the run folder, rather than fail.
        redo: asked before finished results of another seed, or of other data, are replaced.
        listener: takes the events, and nothing is printed; None to print lines.

    Raises:
        UserError: something the user can mend; where possible it is found before any worker starts.
    """
    check_storage(run.config.storage)
    check_run(run)
    tracker = Tracker(run.folder, run.config, listener, group=run.group)
    for line in [*run.data.lines(), *features_that_say_nothing(run)]:
        tracker.say(f"{'data':<15} {line}")
    for line in teacher_lines(run):
        tracker.say(f"{'teachers':<15} {line}")
    with owned(run.folder, wait=wait) as run.fence, ExitStack() as own:
        tracker.sign(run.fence.attempt, **submitted_as())
        check_experiment(run, redo)
        for log in (ERROR_LOG, WORKER_LOG):
            run.folder.delete(log)
        (run.folder / SCRATCH).remove()  # a killed command's, whose workers may have finished what it was for
        run.folder.write("config.json", (run.config.model_dump_json(indent=1) + "\n").encode())
        run.folder.write("data.json", (json.dumps(run.data.describe(), indent=1) + "\n").encode())
        chain = _Chain(run, tracker, own if stack is None else stack)
        for name in names:
            chain.bring_up_to_date(STAGES[name])


def resources(run: Run) -> str:
    """The CPUs and GPUs that there are, in words, for a plan.

    Raises:
        UserError: there are too few.
    """
    with ExitStack() as stack:
        if is_private():
            check_own_session(run.config.cluster)
        else:
            stack.enter_context(session(run.config.cluster))
        return _resources(run)


def _resources(run: Run) -> str:
    """Decide who gets a GPU, and say in words what there is.

    Raises:
        UserError: there are too few CPUs or GPUs, and there will be no more.
    """
    cluster = run.config.cluster
    cpus, gpus = available(cluster)
    most_cpus, most_gpus = reachable(cluster)
    run.decide_gpus(gpus if math.isinf(most_gpus) else most_gpus)
    check_resources(run.config, most_cpus, most_gpus)
    return resources_in_words(run.config, cpus, gpus)


def check_own_session(cluster: ClusterConfig) -> None:
    """Check what a private session needs besides CPUs: memory, and a temporary folder.

    Raises:
        UserError: there is not enough memory, or the folder cannot be used.
    """
    check_object_store(cluster)
    check_temporary_folder()


class _Chain:
    """Runs the stages of one command; connects to Ray for the first that has something to do."""

    def __init__(self, run: Run, tracker: Tracker, stack: ExitStack) -> None:
        self._run = run
        self._stack = stack
        self._tracker = tracker
        self._ready = False
        self._said_here = False
        self._connected = False
        self._checked = False

    def bring_up_to_date(self, stage: StageSpec) -> None:
        """Run a stage, unless its results are there and valid."""
        self._run.data.require_unchanged()
        taken = take_from_siblings(self._run, stage)
        if taken is not None:
            self._tracker.record(stage.name, "taken", detail=taken)
            self._tracker.say(f"{stage.name:<15} {taken}")
        state = stage_state(self._run, stage)
        if state.state == "off":
            return
        if state.state != "done" and not self._checked:
            check_networks(self._run)
            self._checked = True
        self._tracker.say(f"{stage.name:<15} {state.detail}")
        if state.state == "done":
            self._tracker.record(stage.name, "skipped", detail=state.detail)
            return
        _require_inputs(self._run, stage)
        makes = [artifact.lineage for artifact in stage.missing(self._run)]  # to count the seconds of work behind each
        with (
            self._tracker.stage(stage.name, detail=state.detail, makes=makes) as running,
            clear_errors(self._run.folder, stage.name),
        ):
            is_local = self._find_place(stage.name, running)
            if not is_local:
                from hydra_ray.cluster.room import wait_for_room

                wait_for_room(self._run.config.cluster, running, stage.workers(self._run.config))
            with self._run.working(is_local=is_local):
                _function_of(stage)(self._run, running)

    def _find_place(self, name: str, running: Stage) -> bool:
        """Whether a stage works in this process; for the first that does not, Ray is connected to."""
        if is_private():
            self._get_ready()
        is_local = works_here(self._run, name)
        if not is_local:
            self._connect()
            self._get_ready()
        running.event("place", local=is_local)
        if is_local and not self._said_here:
            self._said_here = True
            running.say("in this process, as all stages that are shorter than the start of workers")
        return is_local

    def _connect(self) -> None:
        if self._connected:
            return
        config = self._run.config
        self._stack.enter_context(session(config.cluster, dashboard=needs_dashboard(config)))
        from hydra_ray.cluster.shared_folder import check_shared

        check_shared(self._run.folder, "storage")
        from hydra_ray.cluster.metrics import RunMetrics

        self._tracker.observe(RunMetrics(config.name).count)
        self._connected = True

    def _get_ready(self) -> None:
        """Check that the CPUs and GPUs are there which the recipe asks for, and decide who gets a GPU."""
        if self._ready:
            return
        if is_private():
            check_own_session(self._run.config.cluster)
        _, gpus = available(self._run.config.cluster)
        resources = _resources(self._run)
        if gpus or not is_private():
            self._tracker.say(f"  {resources}")
        self._ready = True


def works_here(run: Run, stage: str) -> bool:
    """Whether a stage works in this process.

    Args:
        run: with GPUs decided.
        stage: its name.
    """
    wish = run.config.cluster.local
    if stage == "tune" or wish is False:
        return False
    return wish is True or (is_private() and is_small(run, stage))


@contextmanager
def clear_errors(folder: Folder, name: str) -> Iterator[None]:
    """Raise Ray's errors again as one line, and write their tracebacks to a file of the folder; notice signals.

    Args:
        folder: of the run, or whatever else is being written.
        name: of the stage or command, for the line.
    """
    try:
        with interrupts_noticed():
            yield
    except Exception as error:
        prepare_environment()  # these import ray
        from hydra_ray.cluster.daemons import daemon_death
        from hydra_ray.cluster.failures import cause_of, explained, full_text, is_from_ray

        failed_here = isinstance(error, LocalWorkError)
        failure = error.cause if failed_here else error
        of_storage = as_storage_error(cause_of(failure), folder, is_local=folder.is_local)
        if of_storage is not None:
            raise of_storage from None
        if not failed_here and not is_from_ray(error):
            if isinstance(error, StageError):
                raise with_worker_logs(error, folder) from None
            raise
        death = daemon_death()
        if death is not None:
            raise death from None
        clear = explained(failure, name, f"{folder}/{ERROR_LOG}")
        if isinstance(clear, UserError):
            raise clear from None
        with suppress(OSError, UserError):  # on a disk that is full; what failed is what counts
            folder.write(ERROR_LOG, full_text(failure).encode())
        raise (clear if failed_here else with_worker_logs(clear, folder)) from None


def _require_inputs(run: Run, stage: StageSpec) -> None:
    """Check that what a stage needs is published, and every byte of the shards that it trains on.

    Raises:
        UserError: something is missing, stale or damaged; it says which command makes it.
    """
    for before in stage.needs:
        missing = STAGES[before].missing(run)
        if missing:
            reasons = f" ({missing[0].changes()[0]})" if missing[0].changes() else ""
            raise UserError(
                f"{stage.name}: {missing[0].folder} is missing or of another configuration{reasons}; "
                f"run the {before} stage first"
            )
    for split in run.splits_students_read if stage.trains_on_shards else ():
        run.require_shards(split)


def _function_of(stage: StageSpec) -> Callable[[Run, Stage], object]:
    """The function that runs a stage; its module, and with it the parts of Ray it needs, is imported here."""
    module, name = stage.run.split(":")
    return getattr(import_module(module), name)
