"""Makes the runs of a study, one after the other in one Ray session, and the page of what they say together."""

from __future__ import annotations

from typing import Any

from hydra_ray.cluster.sweep import make_runs
from hydra_ray.config import Study
from hydra_ray.report import study_files
from hydra_ray.runs import STUDY_FILE, Redo, Sweep, never, study_results
from hydra_ray.storage import Folder, sealed


def run_study(
    study: Study, sweep: Sweep, command: str, *, wait: bool = False, redo: Redo = never
) -> tuple[Folder, dict[str, Any], list[str]]:
    """Make all runs; write study.json and the page beside their folders.

    Args:
        study: what is asked.
        sweep: its runs.
        command: as the page says it.
        wait: for another command that works in a run folder.
        redo: see `run_stages`.

    Returns:
        The study's folder, the content of study.json, and the names of the files that show it.

    Raises:
        UserError: see `run_stages`; the results of earlier runs stay.
    """
    folder, found = make_runs(sweep, wait=wait, redo=redo)
    results = study_results(study, sweep, found, command)
    folder.write_json(STUDY_FILE, sealed(results))
    files = study_files(results)
    for name, content in files.items():
        folder.write(name, content)
    return folder, results, list(files)
