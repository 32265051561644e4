"""Whether a command would replace the results in a run folder by those of another experiment.

A changed learning rate improves the same experiment: what depends on it is made again, with a line that says so.
Another seed, or other data, is a second experiment beside the first, whose hours of work a slip must not cost.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any

from hydra_ray.config import flatten
from hydra_ray.errors import UserError
from hydra_ray.runs.run import Run

Redo = Callable[[str], bool]
"""Given what would be replaced, in words: whether to go on."""

_KEYS = ("seed", "data.source", "data.target", "data.label", "data.test_split")


def never(what: str) -> bool:
    """Keep the results: the `Redo` of whoever was not asked."""
    return False


def always(what: str) -> bool:
    """Replace the results: the `Redo` of `--redo`."""
    return True


def check_experiment(run: Run, redo: Redo) -> None:
    """Check that no finished results of another experiment would be replaced unless `redo` agrees.

    Raises:
        UserError: they would, and it does not.
    """
    what = what_is_replaced(run)
    if what is not None and not redo(what):
        raise UserError(f"{what}; keep them and give this run a name of its own (name=...), or say --redo")


def what_is_replaced(run: Run) -> str | None:
    """The results that the run would replace by those of another experiment, in words; None where there are none.

    Raises:
        UserError: a member of the ensemble is published, but damaged.
    """
    before = flatten(run.folder.read_json("config.json"))
    changed = {key: attrgetter(key)(run.config) for key in _KEYS}
    changed = {key: value for key, value in changed.items() if key in before and before[key] != value}
    if not changed or not any(member.status() == "stale" for member in run.members()):
        return None
    found = {key: before[key] for key in changed}
    return f"{run.folder} holds finished results of {_words(found)}, which {_words(changed)} would replace"


def _words(values: dict[str, Any]) -> str:
    return " ".join(f"{key}={'null' if value is None else value}" for key, value in values.items())
