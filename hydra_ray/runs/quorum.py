"""Members that failed for good, without which a run goes on (`ensemble.min_members`).

They stand in `ensemble/given_up.json`, each with its fingerprint, so that a member which would be trained in another
way, or a run without the key, tries again. Everything after training sees an ensemble of those that are left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from hydra_ray.config import Config
from hydra_ray.errors import UserError

if TYPE_CHECKING:
    from hydra_ray.runs.run import Run

_FILE = "given_up.json"


def given_up(run: Run) -> dict[int, str]:
    """Number -> why a member is left out; nothing where all have to be there, or too few would be left."""
    ensemble = run.wanted.ensemble
    if ensemble.min_members is None:
        return {}
    found = {
        int(number): entry["reason"]
        for number, entry in _recorded(run).items()
        if int(number) < ensemble.num_members and _is_lost(run, int(number), entry["fingerprint"])
    }
    return found if ensemble.num_members - len(found) >= ensemble.min_members else {}


def record_given_up(run: Run, reasons: Mapping[int, str]) -> None:
    """Write down members that failed for good, in place of those that an earlier command wrote down."""
    entries = {
        str(number): {"fingerprint": run.member(number).fingerprint, "reason": reason}
        for number, reason in sorted(reasons.items())
    }
    if entries or _recorded(run):
        (run.folder / "ensemble").write_json(_FILE, entries)


def without_members(config: Config, numbers: Collection[int]) -> Config:
    """The configuration of an ensemble without some of its members.

    Raises:
        UserError: a student asks for more members than are left.
    """
    if not numbers:
        return config
    ensemble = config.ensemble
    lost = [ensemble.group_of(number) for number in numbers]
    groups = ensemble.members and [
        group.model_copy(update={"count": group.count - lost.count(place)})
        for place, group in enumerate(ensemble.members)
        if group.count > lost.count(place)
    ]
    left = ensemble.num_members - len(numbers)
    for student in config.students:
        try:
            student.check(left, f"{left} of {ensemble.num_members} members are left, the others failed")
        except ValueError as error:
            raise UserError(str(error)) from None
    smaller = ensemble.model_copy(update={"num_members": left, "members": groups})
    return config.model_copy(update={"ensemble": smaller})


def in_words(reasons: Mapping[int, str]) -> str:
    """Which members are left out, and why, in a line."""
    each = "; ".join(f"{number} ({reason})" for number, reason in sorted(reasons.items()))
    return f"without {'member' if len(reasons) == 1 else 'members'} {each}"


def _is_lost(run: Run, number: int, fingerprint: str) -> bool:
    member = run.member(number)
    return member.fingerprint == fingerprint and not member.is_done


def _recorded(run: Run) -> dict[str, dict[str, str]]:
    return (run.folder / "ensemble").read_json(_FILE) or {}
