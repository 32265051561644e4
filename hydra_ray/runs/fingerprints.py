"""What each result of a run depends on: the keys whose hashes are fingerprints, in the order of the stages.

A key holds the part of the configuration that matters to its result, and the digests of what it is made from. So adding
members redoes nothing that is there, and a student of the first m members does not care how many there are in all.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from hydra_ray.config import (
    STUDENTS,
    Config,
    DataConfig,
    EnsembleConfig,
    MemberGroup,
    Section,
    StudentConfig,
    StudentKind,
    ViewConfig,
    goal_of,
    space_of,
)
from hydra_ray.data import DataSet
from hydra_ray.losses import own_term_code
from hydra_ray.models import code_of
from hydra_ray.randomness import STREAMS_VERSION
from hydra_ray.runs.named_inputs import key_of_weights
from hydra_ray.views import view_code

if TYPE_CHECKING:
    from hydra_ray.runs.run import Run

TRANSFER = "transfer"
"""The split on which members are asked and from which students learn."""
_HOW_MEMBERS_ARE_TRAINED = {
    "num_members", "min_members", "stack_size", "workers_per_member", "strategy", "compile", "teachers",
}  # fmt: skip
"""Keys that leave each member as it is."""
_OF_GROUPS = {"members", "weights", "train", "objective", "group_size"}  # a member's own group says what holds for it
_NOT_OF_TRIALS = {"max_concurrent", "workers_per_trial", "budget"}  # how they are run, which of them is taken


def member_key(run: Run, number: int) -> dict[str, Any]:
    """The key of one member of the ensemble."""
    ensemble = run.wanted.ensemble
    group = ensemble.groups[ensemble.group_of(number)]
    return {
        "data": data_key(run.wanted.data, run.data, "train"),
        "ensemble": {
            **_what_is_set(ensemble, _HOW_MEMBERS_ARE_TRAINED | _OF_GROUPS),
            **group.model_dump(include={"architecture", "options"}),
            **key_of_weights(ensemble, group),
        },
        **_objective(ensemble, number),
        **member_code(run.wanted, run.data, group, run.member_spec(number).num_outputs),
        "streams": STREAMS_VERSION,
        "seed": run.wanted.seed,
        "member": number,
    }


def _objective(ensemble: EnsembleConfig, number: int) -> dict[str, Any]:
    """What a member or its group minimises, and who is in it; nothing where members have their own loss alone."""
    if ensemble.own_objective is not None:
        return {"objective": ensemble.own_objective.model_dump()}
    objective = ensemble.objective_of_groups
    if objective is None:
        return {}
    group = next(each for each in ensemble.trained_together if number in each)
    return {"objective": objective.model_dump(), "trained_together": [group.start, group.stop]}


def shards_key(run: Run, split: str) -> dict[str, Any]:
    """The key of the members' predictions on one split."""
    views = run.views(split)
    sources = sorted({view.rows_of for view in views.values()})
    key: dict[str, Any] = {
        "data": {name: data_key(run.config.data, run.data, name) for name in sources},
        "split": split,
        "streams": STREAMS_VERSION,
        "seed": run.config.seed,
        "predict": {**_what_is_set(run.config.predict, _not_in_shards(split)), "dtype": run.shard_dtype},
        "views": {str(number): {**view.describe(), **view_key(view.view, run.data)} for number, view in views.items()},
    }
    if run.rows_follow_members(split):
        # older versions extended such shards and left the rows where the first members had moved them
        key["rows_moved_by"] = "all members"
    key["members"] = list(run.member_digests)
    return key


def _not_in_shards(split: str) -> set[str]:
    """Keys of `predict` that change nothing in a split's shards: foreign ones are the data set."""
    return {"batch_size", "shards"} | (set() if split == TRANSFER else {"members_per_row"})


def search_key(run: Run, kind: StudentKind) -> dict[str, Any]:
    """The key of the search for one kind of student: its trials, and what chooses among them."""
    budget = run.config.tune.budget
    return {**trials_key(run, kind), **({} if budget is None else {"budget": budget.model_dump()})}


def trials_key(run: Run, kind: StudentKind) -> dict[str, Any]:
    """The key of the trials of a search, which another budget leaves as they are.

    They hold the predictions of all members, whatever a student learns from: figures of trials compare with all.
    """
    tune = run.config.tune
    space = space_of(kind, tune)
    return {
        "kind": kind,
        "tune": {**_what_is_set(tune, _NOT_OF_TRIALS), **goal_of(kind, tune)._asdict(), "space": space},
        **_student_settings(run, run.config, kind, space.keys()),
        **body_code(run.config, run.data, *searched_bodies(run.config)),
        **_trained_on(run, run.config.members_to_distil),
    }


def student_key(run: Run, kind: StudentKind) -> dict[str, Any]:
    """The key of one student; `distill.use_best_trial` puts the best trial's parameters into it."""
    config = run.tuned(kind)
    members = config.members_learnt_from(kind)
    return {
        "kind": kind,
        **_student_settings(run, config, kind),
        "body": [config.ensemble.architecture, config.ensemble.options],
        **body_code(config, run.data),
        **_trained_on(run, members),
        "num_members": len(members),
    }


def report_key(run: Run) -> dict[str, Any]:
    """The key of the report on all students."""
    return {
        "students": {kind: run.student(kind).digest() for kind in run.config.student_kinds},
        "splits": {name: run.shards(name).digest() for name in run.split_names},
        "evaluate": _what_is_set(run.config.evaluate, set()),
        "streams": STREAMS_VERSION,
        "search": {kind: run.search(kind).digest() for kind in run.searched_kinds},
    }


def _trained_on(run: Run, members: Sequence[int]) -> dict[str, Any]:
    """The part of a key for what is trained on shards: the seed, and the shards of these members."""
    chosen = run.config.distill.members
    return {
        **({} if chosen is None else {"members": list(members)}),
        "streams": STREAMS_VERSION,
        "seed": run.config.seed,
        TRANSFER: run.shards(TRANSFER).digest_of(members),
        **{split: run.shards(split).digest_of(members) for split in run.splits_to_choose_on},
    }


def _student_settings(run: Run, config: Config, kind: StudentKind, searched: Collection[str] = ()) -> dict[str, Any]:
    """What a kind reads of `distill`, and its own section; of a search without the keys that it tries."""
    own = config.student(kind).resolved(len(config.members_to_distil))
    others = type(config.distill).model_fields.keys() - STUDENTS[kind].reads
    return {
        "distill": _what_is_set(config.distill, {*others, *searched}),
        "students": {kind: {**_what_is_set(own, {"kind", "terms", *searched}), **_terms_key(run, own)}},
    }


def _terms_key(run: Run, student: StudentConfig) -> dict[str, Any]:
    """The user's own terms, each with a hash of its code; nothing where there are none."""
    task = run.task.name
    num_outputs = run.data.num_outputs
    terms = [
        {**term.model_dump(), "code": own_term_code(term.import_path, task, num_outputs)} for term in student.terms
    ]
    return {"terms": terms} if terms else {}


def _what_is_set(section: Section, leave_out: set[str]) -> dict[str, Any]:
    """A section without `leave_out` and without keys that are None, so that adding an option makes nothing stale."""
    return {name: value for name, value in section.model_dump(exclude=leave_out).items() if value is not None}


def data_key(data: DataConfig, found: DataSet, split: str) -> dict[str, Any]:
    """The part of a key that says which rows a split has and what is in them.

    Fractions are those that were used. A source that brings its own validation or test split used none: changing such
    a key then makes nothing stale, and a validation file that is added later retrains the members.
    """
    shares = found.splits[split].shares
    set_later = {"target": data.target, "test_split": data.test_split, "held_out": data.held_out or None}
    return {
        "source": found.splits[split].source.fingerprint(),
        "class_names": list(found.class_names),
        "num_outputs": found.num_outputs,
        "validation_fraction": shares.validation if shares else None,
        "test_fraction": shares.test if shares else None,
        "max_train_rows": shares.max_train_rows if shares else None,
        **{key: value for key, value in set_later.items() if value is not None},
    }


def member_code(config: Config, found: DataSet, group: MemberGroup, num_outputs: int) -> dict[str, Any]:
    """`code`: a hash of a member's architecture and of its view, where these are the user's own."""
    ensemble = config.ensemble
    code = code_of(group.architecture, found.input_shape, num_outputs, group.options, found.categories)
    augment = view_key(ensemble.augment, found) if ensemble.augment else {}
    return {**({"code": code} if code else {}), **({"augment": augment} if augment else {})}


def view_key(view: ViewConfig, found: DataSet) -> dict[str, Any]:
    """`code`: a hash of a view where it is the user's own; nothing for a built-in one."""
    code = view_code(view.view, view.options, found.input_shape)
    return {"code": code} if code else {}


def body_code(config: Config, found: DataSet, *others: str | None) -> dict[str, Any]:
    """`code`: hashes of a student's body and of `others` that a search tries; nothing where all are built in."""
    ensemble = config.ensemble
    distill = config.distill
    options = ensemble.options if distill.body_options is None else distill.body_options
    names = [body or ensemble.architecture for body in (distill.body, *others)]
    codes = [code_of(name, found.input_shape, found.num_outputs, options, found.categories) for name in names]
    return {"code": codes} if any(codes) else {}


def searched_bodies(config: Config) -> list[str | None]:
    """The bodies that a search chooses from, in addition to the configuration's."""
    found = config.tune.space.get("body") if config.tune.num_trials else None
    return found if isinstance(found, list) else []
