"""Makes the runs of a sweep, one after the other in one Ray session, and the tables of what they have together."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.report import TextTable, sweep_files, sweep_picture, sweep_table
from hydra_ray.runs import (
    STAGES,
    SWEEP_FILE,
    Redo,
    Sweep,
    always,
    check_experiment,
    check_networks,
    check_run,
    never,
    summarise,
)
from hydra_ray.storage import Folder, sealed


def run_sweep(sweep: Sweep, *, wait: bool = False, redo: Redo = never) -> tuple[Folder, TextTable, list[str]]:
    """Make all runs; write sweep.json, its tables and its picture beside their folders.

    Returns:
        The sweep's folder, its table, and the names of the files that show it.

    Raises:
        UserError: see `run_stages`; the results of earlier runs stay.
    """
    folder, found = make_runs(sweep, wait=wait, redo=redo)
    summary = summarise(sweep, found)
    folder.write_json(SWEEP_FILE, sealed(summary))
    files: dict[str, bytes | None] = {**sweep_files(summary), "sweep.png": sweep_picture(summary)}
    for name, content in files.items():
        if content is None:
            folder.delete(name)  # an earlier command's, of other settings
        else:
            folder.write(name, content)
    return folder, sweep_table(summary), [name for name, content in files.items() if content is not None]


def make_runs(sweep: Sweep, *, wait: bool = False, redo: Redo = never) -> tuple[Folder, list[dict[str, Any]]]:
    """Bring all runs up to date; the folder above theirs, and the metrics.json of each.

    Raises:
        UserError: see `run_stages`; the results of earlier runs stay.
    """
    runs = sweep.make_runs()
    for run in runs:  # checked and asked before hours of work, not in between
        check_run(run)
        check_networks(run)
        check_experiment(run, redo)
    found = []
    with ExitStack() as stack:
        for number, run in enumerate(runs, start=1):
            print(f"\n{run.folder.name} [{number}/{len(runs)}]", flush=True)
            run_stages(run, STAGES, stack=stack, wait=wait, redo=always)
            found.append(json.loads(run.report().read("metrics.json")))
    return runs[0].folder.parent, found
