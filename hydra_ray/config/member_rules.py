"""Rules about members: what is said of them in two places agrees. Part of `tree.py`, which asks for them."""

from __future__ import annotations

from hydra_ray.config.member_groups import architecture_of
from hydra_ray.config.sections import EnsembleConfig, MemberGroup


def check_members(ensemble: EnsembleConfig, *, are_trained: bool) -> None:
    """Raises ValueError for the first rule that does not hold.

    Args:
        ensemble: the section.
        are_trained: whether members are trained here; else others answer in their place.
    """
    if not are_trained and (ensemble.members or ensemble.weights):
        key = "members" if ensemble.members else "weights"
        raise ValueError(f"ensemble.{key}: no member is trained here, others answer in their place; leave it out")
    _check_objective(ensemble, are_trained=are_trained)
    _check_quorum(ensemble, are_trained=are_trained)
    _check_architecture(ensemble)
    for place, group in enumerate(ensemble.members or ()):
        _check_weights(f"ensemble.members.{place}.", group)
    _check_weights("ensemble.", ensemble)
    if ensemble.train == "head" and not are_trained:
        raise ValueError("ensemble.train=head: no member is trained here, others answer in their place; leave it out")
    if ensemble.members is not None:
        _check_groups(ensemble, ensemble.members)


def _check_quorum(ensemble: EnsembleConfig, *, are_trained: bool) -> None:
    """A quorum is of members that are trained here, each by itself on all rows."""
    quorum = ensemble.min_members
    if quorum is None:
        return
    key = f"ensemble.min_members={quorum}"
    if not are_trained:
        raise ValueError(f"{key}: no member is trained here, others answer in their place; leave it out")
    if quorum > ensemble.num_members:
        raise ValueError(f"{key}, but ensemble.num_members={ensemble.num_members}: use fewer")
    if ensemble.objective_of_groups is not None:
        raise ValueError(
            f"{key}: one loss trains the members of a group together (ensemble.objective), none can fail alone; leave "
            "it out"
        )
    if ensemble.folds is not None:
        raise ValueError(
            f"{key} with ensemble.folds={ensemble.folds}: the rows of a fold would have no teacher without their "
            "member; leave one of them out"
        )


def _check_groups(ensemble: EnsembleConfig, groups: list[MemberGroup]) -> None:
    """M is the sum of the counts, and the network beside `members` is the first group's."""
    total = sum(group.count for group in groups)
    if total != ensemble.num_members:
        raise ValueError(
            f"ensemble.num_members={ensemble.num_members}, but the counts in ensemble.members add up to {total}: leave "
            "ensemble.num_members out, or change a count"
        )
    for key in ("architecture", "options", "weights"):
        given = getattr(ensemble, key)
        first = getattr(groups[0], key)
        if given != first:
            raise ValueError(
                f"ensemble.{key}={given}, but ensemble.members.0.{key}={first}: leave ensemble.{key} out where "
                "ensemble.members is set"
            )


def _check_weights(key: str, members: EnsembleConfig | MemberGroup) -> None:
    """Weights that a publisher named are for the architecture that they are of."""
    expected = architecture_of(members.weights) if members.weights else None
    if expected is not None and members.architecture != expected:
        raise ValueError(
            f"{key}weights={members.weights} are of {expected}, but {key}architecture={members.architecture}: leave "
            f"{key}architecture out"
        )


def _check_objective(ensemble: EnsembleConfig, *, are_trained: bool) -> None:
    """An objective of groups has members to train, in groups of two or more that use up all, on the same rows."""
    objective = ensemble.objective
    size = ensemble.group_size
    if objective is not None and objective.kind != "independent" and not are_trained:
        raise ValueError(
            f"ensemble.objective={objective.kind}: no member is trained here, others answer in their place; leave it "
            "out"
        )
    objective = ensemble.objective_of_groups
    if objective is None:
        if size is not None:
            raise ValueError(
                f"ensemble.group_size={size}, but members are trained independently: set ensemble.objective, or leave "
                "ensemble.group_size out"
            )
        return
    key = f"ensemble.objective={objective.kind}"
    if ensemble.folds is not None:
        raise ValueError(
            f"{key}: its members learn from the same rows, but ensemble.folds={ensemble.folds} gives each its own; "
            "leave one of them out"
        )
    for alike in ensemble.groups:
        _check_group_size(key, alike, size or alike.count)


def _check_architecture(ensemble: EnsembleConfig) -> None:
    """An objective of one architecture has members of no other."""
    objective = ensemble.objective
    if objective is None or objective.architecture is None:
        return
    for group in ensemble.groups:
        if group.architecture != objective.architecture:
            raise ValueError(
                f"ensemble.objective={objective.kind}: is for members of architecture {objective.architecture}, not "
                f"{group.architecture}; set ensemble.architecture={objective.architecture}, or leave it out"
            )


def _check_group_size(key: str, alike: MemberGroup, size: int) -> None:
    name = alike.architecture
    if size < 2:
        raise ValueError(f"{key}: is of several members of one architecture, but {name} has 1; use 2 or more")
    if alike.count % size:
        fitting = [str(each) for each in range(2, alike.count + 1) if alike.count % each == 0]
        raise ValueError(
            f"ensemble.group_size={size}: does not divide the {alike.count} members of architecture {name}; use "
            f"{' or '.join(fitting)}"
        )
