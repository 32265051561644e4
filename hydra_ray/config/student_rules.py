"""Rules on students and the members that they learn from.

Part of `tree.py`, which applies them to the whole configuration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hydra_ray.config.students import STUDENTS

if TYPE_CHECKING:
    from hydra_ray.config.tree import Config


def check_students(config: Config) -> None:
    """Raises ValueError for the first rule that does not hold."""
    names = [entry.kind for entry in config.students]
    for kind in names:
        if names.count(kind) > 1:
            raise ValueError(f"students=[{', '.join(names)}]: {kind} stands there more than once; name it once")
    if config.distill.kind is not None and config.distill.kind not in names:
        raise ValueError(
            f"distill.kind={config.distill.kind} is not in students=[{', '.join(names)}]: add it there, or leave it out"
        )
    _check_team(config)
    members = len(config.members_to_distil)
    among = _key_of_members(config)
    for kind in config.student_kinds:
        config.student(kind).check(members, among)
        if members < STUDENTS[kind].least_members:
            raise ValueError(
                f"students: {kind} learns how members disagree, but {among}: use "
                f"{STUDENTS[kind].least_members} or more, or students=[kd]"
            )


def _check_team(config: Config) -> None:
    chosen = config.distill.members
    if chosen is None:
        return
    last = config.ensemble.num_members - 1
    if max(chosen) > last:
        raise ValueError(f"distill.members={chosen}: there is no member {max(chosen)}; members are 0 to {last}")
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"distill.members={chosen}: a member stands there more than once; name each once")
    if config.ensemble.min_members is not None:
        raise ValueError(
            f"distill.members={chosen} with ensemble.min_members={config.ensemble.min_members}: one of these members "
            "may be missing; leave ensemble.min_members out once the ensemble is complete"
        )


def _key_of_members(config: Config) -> str:
    """The key that says how many members students learn from, with its value."""
    chosen = config.distill.members
    return f"ensemble.num_members={config.ensemble.num_members}" if chosen is None else f"distill.members={chosen}"
