"""The stages in order: each is skipped where its results are there and valid, else run inside one Ray session.

ray is imported when the first stage has something to do, so that a run that is done costs a second or two.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from hydra_ray.cluster.session import SCRATCH, available, check_storage, is_private, session
from hydra_ray.cluster.signals import interrupts_noticed, raise_if_interrupted
from hydra_ray.cluster.temporary_folder import check_temporary_folder
from hydra_ray.config import Config
from hydra_ray.errors import UserError
from hydra_ray.runs import (
    STAGES,
    SWEEP_FILE,
    TRANSFER,
    Run,
    Stage,
    Tracker,
    artifacts_of,
    check_networks,
    check_object_store,
    check_resources,
    check_run,
    features_that_say_nothing,
    split_configs,
    stage_state,
    summarise,
)
from hydra_ray.storage import Folder, as_storage_error, owned, sealed

ERROR_LOG = "error.log"
_BEFORE = {
    "train_ensemble": (),
    "predict": ("train_ensemble",),
    "tune": ("train_ensemble",),
    "distill": ("train_ensemble",),
    "evaluate": ("train_ensemble", "predict", "distill"),
}
_LEARNT_FROM = {"tune": [TRANSFER, "validation"], "distill": [TRANSFER, "validation"]}


def run_stages(run: Run, names: Sequence[str], *, stack: ExitStack | None = None, wait: bool = False) -> None:
    """Bring the named stages up to date.

    Args:
        run: whose.
        names: of the stages, in order.
        stack: keeps the Ray session open for further runs, which use it as well; none to close it after this one.
        wait: until another command that works in the run folder has ended.

    Raises:
        UserError: something the user can mend, found before any worker starts where that is possible.
    """
    check_storage(run.config.storage)
    check_run(run)
    for line in [*run.data.lines(), *features_that_say_nothing(run)]:
        print(f"{'data':<15} {line}", flush=True)
    with owned(run.folder, wait=wait) as run.fence, ExitStack() as own:
        run.folder.delete(ERROR_LOG)
        (run.folder / SCRATCH).remove()  # a killed command's, whose workers may have finished what it was for
        run.folder.write("config.json", (run.config.model_dump_json(indent=1) + "\n").encode())
        run.folder.write("data.json", (json.dumps(run.data.describe(), indent=1) + "\n").encode())
        chain = _Chain(run, own if stack is None else stack)
        for name in names:
            chain.bring_up_to_date(name)


def run_splits(config: Config, *, wait: bool = False) -> dict[str, Any]:
    """All stages of every split of a sweep, one after the other in one session; writes and returns its sweep.json.

    Raises:
        UserError: as `run_stages`; what the splits before have finished stays.
    """
    configs, found = split_configs(config), []
    with ExitStack() as stack:
        for number, each in enumerate(configs, start=1):
            print(f"\n{each.name} [{number}/{len(configs)}]", flush=True)
            run = Run(each)
            run_stages(run, STAGES, stack=stack, wait=wait)
            found.append((int(each.data.test_split or 0), json.loads(run.report().read("metrics.json"))))
    summary = summarise(config, found)
    folder = Folder.open(config.storage) / config.name
    folder.write_json(SWEEP_FILE, sealed(summary))
    return summary


def resources(run: Run) -> str:
    """What there is, in words, for a plan.

    Raises:
        UserError: more is wanted than there is.
    """
    with ExitStack() as stack:
        if is_private():
            _check_own_session(run.config)
        else:
            stack.enter_context(session(run.config))
        cpus, gpus = available(run.config.cluster)
        check_resources(run.config, cpus, gpus)
        return f"{cpus:g} CPUs, {gpus:g} GPUs: enough for {run.config.cluster.num_workers} workers"


def _check_own_session(config: Config) -> None:
    """What a session on this machine needs beside CPUs."""
    check_object_store(config)
    check_temporary_folder()


class _Chain:
    """The stages of one command; Ray is connected to for the first that has something to do."""

    def __init__(self, run: Run, stack: ExitStack) -> None:
        self._run, self._stack = run, stack
        self._tracker = Tracker(run.folder, run.config)
        self._connected = self._checked = False

    def bring_up_to_date(self, name: str) -> None:
        """Run a stage, unless its results are there and valid."""
        self._run.data.require_unchanged()
        state = stage_state(self._run, name)
        if state.state == "off":
            return
        if state.state != "done" and not self._checked:
            check_networks(self._run)
            self._checked = True
        print(f"{name:<15} {state.detail}", flush=True)
        if state.state == "done":
            self._tracker.record(name, "skipped", detail=state.detail)
            return
        _require_inputs(self._run, name)
        with (
            self._tracker.stage(name, detail=state.detail, makes=_missing(self._run, name)) as stage,
            interrupts_noticed(),
            _clear_errors(self._run, name),
        ):
            self._connect()
            _call(self._run, name, stage, self._tracker)

    def _connect(self) -> None:
        if self._connected:
            return
        config = self._run.config
        if is_private():
            _check_own_session(config)
            check_resources(config, *available(config.cluster))
        self._stack.enter_context(session(config))
        check_resources(config, *available(config.cluster))
        self._connected = True


@contextmanager
def _clear_errors(run: Run, name: str) -> Iterator[None]:
    """What Ray raises as one line, and its pages of traceback in a file of the run folder."""
    try:
        yield
    except Exception as error:
        # not before the session is there: it imports ray, which session.py prepares
        from hydra_ray.cluster.daemons import daemon_death
        from hydra_ray.cluster.failures import cause_of, explained, full_text, is_from_ray

        raise_if_interrupted()
        of_storage = as_storage_error(cause_of(error), run.folder, is_local=run.folder.is_local)
        if of_storage is not None:
            raise of_storage from None
        if not is_from_ray(error):
            raise
        death = daemon_death()
        if death is not None:
            raise death from None
        clear = explained(error, name, f"{run.folder}/{ERROR_LOG}")
        if not isinstance(clear, UserError):
            with suppress(OSError, UserError):  # on a disk that is full; what failed is what counts
                run.folder.write(ERROR_LOG, full_text(error).encode())
        raise clear from None


def _missing(run: Run, name: str) -> list[str]:
    """What a stage is to make, for the count of the work behind it."""
    return [artifact.lineage for artifact in artifacts_of(run, name) if not artifact.is_done]


def _require_inputs(run: Run, name: str) -> None:
    for before in _BEFORE[name]:
        missing = [artifact for artifact in artifacts_of(run, before) if not artifact.is_done]
        if missing:
            reasons = f" ({missing[0].changes()[0]})" if missing[0].changes() else ""
            raise UserError(
                f"{name}: {missing[0].folder} is missing or of another configuration{reasons}; "
                f"run pipelines.{before} first"
            )
    for split in _LEARNT_FROM.get(name, []):
        run.require_shards(split)


def _call(run: Run, name: str, stage: Stage, tracker: Tracker) -> None:
    """Run one stage; its module, and with it the parts of Ray it needs, is imported here."""
    if name == "train_ensemble":
        from hydra_ray.cluster.train_ensemble import train_ensemble

        train_ensemble(run, stage)
    elif name == "predict":
        from hydra_ray.cluster.predict import predict

        predict(run, stage)
    elif name == "tune":
        from hydra_ray.cluster.tune import search

        search(run, stage, tracker)
    elif name == "distill":
        from hydra_ray.cluster.distill import distill

        distill(run, stage)
    else:
        from hydra_ray.cluster.evaluate import evaluate

        evaluate(run, stage, tracker)
