"""Results that another run of the same sweep has already: of the same key, so that they need not be made again.

They are linked into the run's own folder, where each run stays complete and can be moved or deleted by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from hydra_ray.errors import StorageError, UserError
from hydra_ray.runs.run import Run
from hydra_ray.runs.stages import StageSpec
from hydra_ray.storage import Artifact, Folder


def take_from_siblings(run: Run, stage: StageSpec) -> str | None:
    """Publish in the run's folder what siblings have of a stage; in words, how much; None for nothing.

    Raises:
        StorageError: the run folder cannot be written.
    """
    if not stage.shared or not run.siblings:
        return None
    taken: list[Folder] = []
    for artifact in stage.missing(run):
        for folder, there in _at_siblings(run, artifact):
            if _take(artifact, there):
                taken.append(folder)
                break
    if not taken:
        return None
    return f"{len(taken)} {stage.unit} taken from {', '.join(dict.fromkeys(folder.name for folder in taken))}"


def has_sibling(run: Run, artifact: Artifact) -> bool:
    """Whether a sibling has the same result."""
    return any(_is_done(there) for _, there in _at_siblings(run, artifact))


def _at_siblings(run: Run, artifact: Artifact) -> Iterator[tuple[Folder, Artifact]]:
    place = artifact.folder.path.removeprefix(f"{run.folder.path}/")
    for sibling in run.siblings:
        yield sibling, replace(artifact, folder=sibling / place, fence=None)


def _take(artifact: Artifact, there: Artifact) -> bool:
    """Whether there was a valid result, which is published here now; a damaged one is left to its own run."""
    if not _is_done(there):
        return False
    try:
        artifact.take(there)
    except StorageError:
        raise
    except UserError:
        return False
    return True


def _is_done(there: Artifact) -> bool:
    with suppress(UserError):
        return there.is_done
    return False
