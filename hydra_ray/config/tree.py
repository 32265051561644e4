"""The typed configuration tree, the one interface of every command, and the rules that several of its keys share.

Unknown keys and wrong types are refused with the place, the key, the value and the nearest valid name; a rule names
the keys, the values and the way out. Neither torch nor ray is imported, so that a wrong key costs a fraction of a
second. The keys of each section are in `sections.py`, how a recipe is read in `load.py` and `yaml_files.py`, errors in
words in `messages.py`. What needs the data or the cluster to be checked is in `runs/preflight.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from hydra_ray.config.cluster import ClusterConfig
from hydra_ray.config.member_rules import check_members
from hydra_ray.config.messages import explain, nearest
from hydra_ray.config.rank_rules import check_ranks
from hydra_ray.config.search import overlay_of, space_of
from hydra_ray.config.sections import (
    DataConfig,
    DistillConfig,
    EnsembleConfig,
    EvaluateConfig,
    PredictConfig,
    Section,
    TrackingConfig,
)
from hydra_ray.config.student_rules import check_students
from hydra_ray.config.students import STUDENTS, HydraConfig, Student, StudentConfig, StudentKind
from hydra_ray.config.transfer import TransferConfig
from hydra_ray.config.tuning import TuneConfig
from hydra_ray.config.types import FolderName, NotEmpty, Seed

_NEEDS_HEADS = (
    "validation_member_kl",
    "validation_rank_correlation",
    "validation_mutual_information_ratio",
    "validation_knowledge_variance_ratio",
)


class Config(Section):
    """Everything a run is made of."""

    name: FolderName
    """Folder of the run under `storage`; by default the recipe's file name."""
    storage: NotEmpty = "runs"
    """A folder, or a URI such as s3://bucket/runs."""
    seed: Seed = 0
    """Every random choice derives from it."""
    data: DataConfig
    """The data set."""
    ensemble: EnsembleConfig = EnsembleConfig()
    """The members."""
    transfer: TransferConfig = TransferConfig()
    """The inputs students learn on."""
    predict: PredictConfig = PredictConfig()
    """The shards."""
    students: list[Student] = Field(default=[HydraConfig()], min_length=1)
    """The students to train and compare: names of kinds, or `{kind: hydra, num_heads: 4}` with a kind's own keys. On
    the command line `students.hydra.num_heads=4`."""
    distill: DistillConfig = DistillConfig()
    """How students are trained."""
    tune: TuneConfig = TuneConfig()
    """The search."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """The report."""
    cluster: ClusterConfig = ClusterConfig()
    """Resources."""
    tracking: TrackingConfig = TrackingConfig()
    """Where metrics are logged."""

    @property
    def student_kinds(self) -> list[StudentKind]:
        """Kinds that `distill` trains and `evaluate` compares."""
        return [self.distill.kind] if self.distill.kind else [entry.kind for entry in self.students]

    def student(self, kind: StudentKind) -> StudentConfig:
        """The keys of one kind's own."""
        return next(entry for entry in self.students if entry.kind == kind)

    @property
    def trains_members(self) -> bool:
        """Whether members are trained here; else teachers answer in their place, or shards are there already."""
        return self.ensemble.teachers.are_trained and self.predict.shards is None

    @property
    def members_to_distil(self) -> list[int]:
        """Numbers of the members that students learn from, in the order of their heads."""
        chosen = self.distill.members
        return list(range(self.ensemble.num_members)) if chosen is None else chosen

    def members_learnt_from(self, kind: StudentKind) -> list[int]:
        """Numbers of the members that a student of a kind learns from: the first of those to distil."""
        members = self.members_to_distil
        return members[: self.student(kind).learns_from(len(members))]

    @model_validator(mode="before")
    @classmethod
    def _shards_are_data(cls, tree: Any) -> Any:
        """Foreign shards bring their own inputs: they are the data set."""
        shards = (tree.get("predict") or {}).get("shards") if isinstance(tree, Mapping) else None
        data = tree.get("data") or {} if shards else None
        return tree if data is None else {**tree, "data": {"source": shards, **data}}

    @model_validator(mode="after")
    def _keys_agree(self) -> Self:
        check_rules(self)
        return self


def check_rules(config: Config) -> None:
    """Raises ValueError for the first rule that does not hold."""
    for rule in _RULES:
        rule(config)


def _check_data(config: Config) -> None:
    data = config.data
    if data.target is not None and data.label is not None:
        raise ValueError(
            f"data.target={data.target} is for a regression, data.label={data.label} for classes: leave one of them out"
        )
    for key in ("target", "label"):
        if getattr(data, key) is not None and getattr(data, key) in (data.ignore or ()):
            raise ValueError(f"data.{key}={getattr(data, key)} stands in data.ignore too: take it out there")


def _check_members(config: Config) -> None:
    check_members(config.ensemble, are_trained=config.trains_members)


def _check_batch(config: Config) -> None:
    """Every worker has a row of every batch; some may have one more than others."""
    size = config.distill.batch_size
    wanted = {
        "cluster.num_workers": config.cluster.most_workers,
        "tune.workers_per_trial": config.tune.workers_per_trial,
    }
    for key, workers in wanted.items():
        if size < workers:
            raise ValueError(
                f"distill.batch_size={size}, but {key}={workers}: some workers would have no row; "
                f"use distill.batch_size={workers} or more"
            )


def _check_searched_keys(config: Config) -> None:
    """Every key is one that some kind reads."""
    known = sorted(set().union(*(student.searched_keys() for student in STUDENTS.values())))
    for key in config.tune.space:
        if key not in known:
            raise ValueError(f"tune.space.{key}: not a key of students that can be searched; {nearest(key, known)}")


def _check_search(config: Config) -> None:
    tune = config.tune
    if config.distill.use_best_trial and not tune.num_trials:
        raise ValueError("distill.use_best_trial=true, but tune.num_trials=0: set tune.num_trials and tune.space")
    if not tune.num_trials:
        return
    if not tune.space:
        raise ValueError(f"tune.num_trials={tune.num_trials}, but tune.space is empty: name keys of students")
    if tune.budget is not None and not config.trains_members:
        raise ValueError(
            f"tune.budget.macs_ratio={tune.budget.macs_ratio}: no member is trained here, so what one costs is not "
            "known; leave tune.budget out"
        )
    if not any(space_of(kind, tune) for kind in config.student_kinds):
        raise ValueError(
            f"tune.space={list(tune.space)}: none of these keys matters to the students "
            f"{config.student_kinds}; search others, or set tune.num_trials=0"
        )


def _check_space(config: Config) -> None:
    """Every value that a trial may draw makes a valid configuration."""
    for key, domain in config.tune.space.items():
        for value in _values(f"tune.space.{key}", domain):
            _check_choice(config, key, value)
    _check_objectives(config)


def _check_objectives(config: Config) -> None:
    tune = config.tune
    needing = [name for name in tune.objectives if name in _NEEDS_HEADS]
    if not tune.num_trials or not needing:
        return
    for kind in config.student_kinds:
        heads = min(_trial_sizes(config, kind), default=1)
        if STUDENTS[kind].imitates_members and heads < 2:
            raise ValueError(
                f"tune.objectives={list(tune.objectives)}: {needing[0]} is about the heads' disagreement, but a trial "
                f"may have num_heads={heads}: leave it out, or set tune.objectives=[validation_nll]"
            )


def student_sizes(config: Config) -> list[int]:
    """How many members each student, and each trial of one, learns from."""
    sizes = [len(config.members_learnt_from(kind)) for kind in config.student_kinds]
    if config.tune.num_trials:
        sizes += [size for kind in config.student_kinds for size in _trial_sizes(config, kind)]
    return sizes


def _trial_sizes(config: Config, kind: StudentKind) -> list[int]:
    """How many members trials of a kind learn from; what is no such number is found by `_check_space`."""
    entry = config.student(kind)
    space = space_of(kind, config.tune)
    own = {key: _values(f"tune.space.{key}", domain) for key, domain in space.items() if key in entry.own_keys()}
    drawn = [entry.model_copy(update=dict(zip(own, values, strict=True))) for values in product(*own.values())]
    sizes: list[Any] = [each.learns_from(len(config.members_to_distil)) for each in drawn]
    return [size for size in sizes if isinstance(size, int)]


def _check_folds(config: Config) -> None:
    """Rows held out from members are held out from some member that a student learns from."""
    folds = config.ensemble.folds
    heads = min(student_sizes(config))
    for place, view in enumerate(config.transfer.views or ()):
        key = f"transfer.views.{place}: held_out=true"
        if view.held_out and view.source is not None:
            raise ValueError(f"{key}, but no member was trained on the rows of source={view.source}: leave it out")
        if view.held_out and folds is None:
            raise ValueError(f"{key}, but members are trained on all training rows: set ensemble.folds, e.g. 5")
        if view.held_out and folds is not None and folds > heads:
            raise ValueError(
                f"{key} with ensemble.folds={folds}, but a student of {heads} heads learns from {heads} members, each "
                f"of which leaves out one fold: rows of other folds have no teacher; use ensemble.folds={max(2, heads)}"
                + (" and two members" if heads < 2 else " or fewer")
            )
        covered = {number % (folds or 1) for number in config.members_to_distil[:heads]}
        if view.held_out and folds is not None and len(covered) < folds:
            missing = min(set(range(folds)) - covered)
            raise ValueError(
                f"{key}, but none of the first {heads} of distill.members={config.distill.members} leaves out fold "
                f"{missing} of {folds}: add member {missing} there, or leave held_out out"
            )


def _check_teachers(config: Config) -> None:
    """Keys that speak of members that are trained here stand beside no others."""
    teachers = config.ensemble.teachers
    shards = config.predict.shards
    if shards is not None and not teachers.are_trained:
        raise ValueError(
            f"predict.shards={shards} beside ensemble.teachers.kind={teachers.kind}: shards hold predictions already; "
            "leave one of them out"
        )
    if shards is not None and config.data.source != shards:
        raise ValueError(f"data.source={config.data.source} beside predict.shards={shards}: leave data.source out")
    if teachers.weights is not None and len(teachers.weights) != config.ensemble.num_members:
        raise ValueError(
            f"ensemble.teachers.weights has {len(teachers.weights)} weights, but ensemble.num_members="
            f"{config.ensemble.num_members}: give one a member"
        )
    per_row = config.predict.members_per_row
    if per_row is not None and per_row > config.ensemble.num_members:
        raise ValueError(
            f"predict.members_per_row={per_row}, but ensemble.num_members={config.ensemble.num_members}: use fewer"
        )
    if per_row is not None and not (config.trains_members or teachers.are_asked):
        raise ValueError(f"predict.members_per_row={per_row}: all predictions are there already; leave it out")
    if config.ensemble.folds is not None and not config.trains_members:
        raise ValueError(
            f"ensemble.folds={config.ensemble.folds}: no member is trained here; leave it out "
            "(kind arrays has ensemble.teachers.folds)"
        )


def _values(name: str, domain: Any) -> Iterator[Any]:
    """All choices of a list, both ends of a range."""
    if isinstance(domain, list) and domain:
        yield from domain
        return
    if not isinstance(domain, Mapping) or not {"low", "high"} <= set(domain) <= {"low", "high", "log"}:
        raise ValueError(f"{name}={domain}: must be a list of choices, or {{low: ..., high: ..., log: true}}")
    low = domain["low"]
    high = domain["high"]
    log = domain.get("log", False)
    if not (_is_number(low) and _is_number(high) and low < high):
        raise ValueError(f"{name}: low={low}, high={high}: must be numbers, low below high")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ValueError(f"{name}: log={log}, low={low}: log is true or false, and true for low above 0 only")
    yield from (low, high)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_choice(config: Config, key: str, value: Any) -> None:
    """Build the configuration of a trial that draws `value`, of every kind that reads the key."""
    for kind in config.student_kinds:
        if key not in space_of(kind, config.tune):
            continue
        tree = config.model_dump()
        overlay = overlay_of(kind, {key: value})
        own = overlay.get("students", {}).get(kind, {})
        tree["students"] = [{**entry, **own} if entry["kind"] == kind else entry for entry in tree["students"]]
        tree["distill"] |= {**overlay["distill"], "use_best_trial": False}
        tree["tune"] |= {"num_trials": 0, "space": {}}
        try:
            type(config).model_validate(tree)
        except ValidationError as error:
            raise ValueError(explain(error, f"tune.space.{key}", type(config))) from None


_RULES = (
    _check_data,
    _check_members,
    check_students,
    check_ranks,
    _check_batch,
    _check_searched_keys,
    _check_search,
    _check_teachers,
    _check_folds,
    _check_space,
)
