"""A run: its folder, its data set and its results.

What each result depends on is in `fingerprints.py`; which stage makes it, in `stages.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

from hydra_ray.config import (
    Config,
    StudentKind,
    ViewConfig,
    parse_yaml,
    space_of,
    with_overlay,
)
from hydra_ray.data import (
    TEST,
    VALIDATION,
    VALIDATION_VIEWS,
    DataSet,
    Features,
    InputFormat,
    Ints,
    SplitId,
    unknown_split,
)
from hydra_ray.errors import UserError
from hydra_ray.inference import CONFIG as STUDENT_MANIFEST
from hydra_ray.models import ModelSpec, Pretrained
from hydra_ray.randomness import seed_of
from hydra_ray.runs.fingerprints import (
    TRANSFER,
    member_key,
    report_key,
    search_key,
    shards_key,
    student_key,
    trials_key,
)
from hydra_ray.runs.gpus import with_gpus_decided
from hydra_ray.runs.named_inputs import data_of, group_weights
from hydra_ray.runs.quorum import given_up, record_given_up, without_members
from hydra_ray.runs.suitable_views import with_suitable_views
from hydra_ray.shards import Shards, shard_names
from hydra_ray.storage import Artifact, Fence, Folder, check_listed
from hydra_ray.tasks import Task, task_named
from hydra_ray.teachers import Teachers, teacher_digests, teachers_of
from hydra_ray.views import IDENTITY, NumberedView, number_views, view_named

WRITTEN_BELOW = ("ensemble", "predictions", "tune", "students", "report")
"""Folders of a run that stages write to."""


class Run:
    """The run that a configuration describes."""

    def __init__(self, config: Config, *, group: str | None = None) -> None:
        """Opens the run folder; the data set is opened when it is first used.

        Args:
            config: what it is made of.
            group: name of the sweep that the run is one of.

        Raises:
            UserError: the storage cannot be reached.
        """
        self._given = config
        self.folder = Folder.open(config.storage) / config.name
        self.group = group
        self.siblings: tuple[Folder, ...] = ()  # run folders of the same sweep
        self.fence: Fence | None = None  # of the command that holds the run folder

    @cached_property
    def wanted(self) -> Config:
        """The configuration; where it names no views, those that suit the kind of rows are filled in."""
        return with_suitable_views(self._given, lambda: self.data)

    @cached_property
    def config(self) -> Config:
        """The same of the members that there will be: without those that were given up."""
        return without_members(self.wanted, self.given_up)

    def decide_gpus(self, gpus: float) -> None:
        """Replace `cluster.use_gpu=auto` by what so many GPUs allow."""
        self._given = with_gpus_decided(self._given, gpus)
        self._forget("wanted", "config")

    @contextmanager
    def working(self, *, is_local: bool) -> Iterator[None]:
        """Say for the length of a `with` block, a stage, whether its work is done in this process."""
        wished = self._given
        cluster = wished.cluster.model_copy(update={"local": is_local})
        self._given = wished.model_copy(update={"cluster": cluster})
        self._forget("wanted", "config")
        try:
            yield
        finally:
            self._given = wished
            self._forget("wanted", "config")

    def _forget(self, *names: str) -> None:
        """Have cached properties computed again."""
        for name in names:
            self.__dict__.pop(name, None)

    @cached_property
    def data(self) -> DataSet:
        """The data set with all its splits, also the unknown sets that are views of the test rows.

        Raises:
            UserError: the data are not there or do not fit the configuration.
        """
        found = data_of(self._given)
        test = found.splits["test"]
        views = {split.name: test for split in self.views_of_test}
        return replace(found, splits={**found.splits, **views})

    @cached_property
    def features(self) -> Features | None:
        """Statistics of the training rows' features, computed once; None for images."""
        return None if len(self.data.input_shape) == 3 else Features.of(self.data.splits["train"])

    @property
    def task(self) -> Task:
        """The task, which the data set decides: classification or regression."""
        return task_named(self.data.task)

    @property
    def shard_dtype(self) -> str:
        """Data type of the members' outputs in the shards."""
        return self.config.predict.dtype or self.task.likelihood.shard_dtype

    @property
    def about(self) -> dict[str, Any]:
        """What stands in a student's folder of the data that it was made for; JSON-able."""
        data = self.data
        return {
            "data": self.config.data.source,
            "task": data.task,
            "classes": list(data.class_names),
            "inputs": InputFormat.of(data).to_json(),
        }

    # members, or teachers in their place

    @cached_property
    def teachers(self) -> Teachers | None:
        """Who answers in the members' place; None where members are trained here."""
        return teachers_of(self.config, self.data)

    def member(self, number: int) -> Artifact:
        """Member `number` of the ensemble."""
        folder = self.folder / "ensemble" / f"member-{number:03d}"
        return Artifact(folder, member_key(self, number), "model.json", fence=self.fence)

    def member_spec(self, number: int = 0) -> ModelSpec:
        """What to build for a member; those of one group differ by their weights alone."""
        return self.group_spec(self.wanted.ensemble.group_of(number))

    def group_spec(self, place: int) -> ModelSpec:
        """What to build for the members of one of `ensemble.groups`."""
        group = self.wanted.ensemble.groups[place]
        data = self.data
        output, num_outputs = self.task.likelihood.member_output(self.wanted, data.num_outputs)
        spec = ModelSpec("member", group.architecture, data.input_shape, num_outputs, group.options, output=output)
        return replace(spec, categories=data.categories)

    def group_weights(self, place: int) -> Pretrained | None:
        """The trained body that the members of a group start from; None for fresh ones. Raises as `load_pretrained`."""
        return group_weights(self.wanted, place, self.data)

    @cached_property
    def given_up(self) -> dict[int, str]:
        """Members that failed for good and without which the run goes on (`ensemble.min_members`), and why."""
        return given_up(self)

    def give_up(self, reasons: Mapping[int, str]) -> None:
        """Go on without these members, now and in later commands, as long as they would be trained in the same way."""
        record_given_up(self, reasons)
        self._forget("given_up", "config", "member_digests")

    @property
    def member_numbers(self) -> list[int]:
        """Numbers of the members that are trained here, in order; none where teachers answer in their place."""
        if not self.wanted.trains_members:
            return []
        return [number for number in range(self.wanted.ensemble.num_members) if number not in self.given_up]

    def members(self) -> list[Artifact]:
        """Those members."""
        return [self.member(number) for number in self.member_numbers]

    @cached_property
    def member_digests(self) -> tuple[str, ...]:
        """Digests of the published members, or of the teachers, in order."""
        if self.config.trains_members:
            return tuple(member.digest() for member in self.members())
        return teacher_digests(self.config)

    @property
    def member_ids(self) -> list[dict[str, str]]:
        """What stands in footers of the members, in order: id and fingerprint."""
        word = "member" if self.config.trains_members else "teacher"
        numbers = self.member_numbers or range(len(self.member_digests))
        return [
            {"id": f"{word}-{number:03d}", "fingerprint": digest}
            for number, digest in zip(numbers, self.member_digests, strict=True)
        ]

    # shards

    @property
    def predicted_splits(self) -> list[SplitId]:
        """The splits that members predict: the transfer set, and those that the report needs."""
        data = self.config.data
        unknown = [*data.unknown, *(data.held_out or ())]
        of_validation = [VALIDATION, VALIDATION_VIEWS] if data.validation_views else [VALIDATION]
        return [SplitId("transfer"), *of_validation, TEST, *map(unknown_split, unknown)]

    @property
    def splits_to_choose_on(self) -> list[str]:
        """Names of the splits that students are calibrated and chosen on."""
        return [split.name for split in self.predicted_splits if split in (VALIDATION, VALIDATION_VIEWS)]

    @property
    def splits_students_read(self) -> list[str]:
        """Names of the splits that students learn from, are calibrated and chosen on."""
        return [TRANSFER, *self.splits_to_choose_on]

    @property
    def split_names(self) -> list[str]:
        """Names of the predicted splits, which are those of their folders."""
        return [split.name for split in self.predicted_splits]

    @property
    def views_of_test(self) -> list[SplitId]:
        """The unknown splits that are the test rows under a view."""
        return [unknown_split(name) for name in self._views_of_test()]

    def _views_of_test(self) -> dict[str, ViewConfig]:
        unknown = self._given.data.unknown
        return {name: place for name, place in unknown.items() if isinstance(place, ViewConfig)}

    def shards(self, split: str) -> Shards:
        """The members' predictions on one split; the members must be published."""
        return Shards(
            self.folder / "predictions" / split,
            shards_key(self, split),
            members=self.member_digests,
            rows_follow_members=self.rows_follow_members(split) or self._choice_follows_members(split),
            fence=self.fence,
        )

    def rows_follow_members(self, split: str) -> bool:
        """Whether a view moves the split's rows by the members' gradients, so that other members make other rows."""
        return any(view_named(view.view.view).needs_members for view in self.views(split).values())

    def _choice_follows_members(self, split: str) -> bool:
        """Whether a row's members are chosen among all, so that among more members others are chosen."""
        return split == TRANSFER and self.config.predict.members_per_row is not None

    def views(self, split: str) -> dict[int, NumberedView]:
        """The views of a split by their number; 0 is the untouched row."""
        if split == TRANSFER:
            return number_views(self.config.transfer, {name: each.num_rows for name, each in self.data.splits.items()})
        if split == VALIDATION_VIEWS.name:
            views = [view for view in self.config.data.validation_views or () for _ in range(view.count)]
            return {number: NumberedView(view, VALIDATION.name) for number, view in enumerate(views, start=1)}
        views_of_test = {unknown_split(name).name: view for name, view in self._views_of_test().items()}
        if split in views_of_test:
            return {1: NumberedView(views_of_test[split], split)}
        return {0: NumberedView(IDENTITY, split)}

    def rows_of_view(self, split: str, number: int) -> Ints:
        """The row_id of every row that a predicted split has under a view, in order."""
        view = self.views(split)[number]
        rows = self.data.splits[view.rows_of].row_ids()
        return rows[view.kept(rows, seed_of(self.config.seed, "share of a view", split, number))]

    def num_rows(self, split: str) -> int:
        """Number of rows of a predicted split, summed over its views."""
        return sum(
            self.data.splits[view.rows_of].num_rows if view.keep >= 1 else len(self.rows_of_view(split, number))
            for number, view in self.views(split).items()
        )

    def require_shards(self, split: str) -> None:
        """Check that a split's shards are those of this run, complete, and no others beside them.

        What is in them was checked when they were written, and that it is still that, whoever reads one checks.

        Raises:
            UserError: they are missing, stale, cut short, or of another ensemble.
        """
        shards = self.shards(split)
        if shards.status() == "missing":
            raise UserError(f"{shards.folder}: no shards there; run the predict stage first")
        if shards.status() == "stale":
            reasons = "; ".join(shards.changes()[:3])
            raise UserError(
                f"{shards.folder}: shards of another configuration ({reasons}); run the predict stage again"
            )
        check_listed(shards.files, shard_names(shards.files), shards.require()["files"])

    # search and students

    @property
    def searched_kinds(self) -> list[StudentKind]:
        """The kinds of students that a key of `tune.space` changes; each has its own search."""
        tune = self.config.tune
        return [kind for kind in self.config.student_kinds if tune.num_trials and space_of(kind, tune)]

    def search(self, kind: StudentKind) -> Artifact:
        """The result of the search for one kind of student."""
        return Artifact(self.folder / "tune" / kind, search_key(self, kind), fence=self.fence)

    def trials(self, kind: StudentKind) -> Artifact:
        """The same, whichever trial is taken; never published, its attempt holds the trials that are over."""
        return Artifact(self.folder / "tune" / kind, trials_key(self, kind), fence=self.fence)

    def tuned(self, kind: StudentKind) -> Config:
        """The configuration that a kind of student trains with: `distill.use_best_trial` lays its best trial over it.

        Raises:
            UserError: its search has no result yet.
        """
        if not self.config.distill.use_best_trial or kind not in self.searched_kinds:
            return self.config
        search = self.search(kind)
        if not search.is_done:
            raise UserError(
                f"distill.use_best_trial=true, but the search for {kind} has no valid result: run the tune stage first"
            )
        place = f"{search.files}/best.yaml"
        return with_overlay(self.config, parse_yaml(search.read("best.yaml").decode()), place)

    def student(self, kind: StudentKind) -> Artifact:
        """The student of one kind; its manifest is `config.json`, as the Hugging Face Hub has it."""
        return Artifact(self.folder / "students" / kind, student_key(self, kind), STUDENT_MANIFEST, fence=self.fence)

    def report(self) -> Artifact:
        """The report on all students."""
        return Artifact(self.folder / "report", report_key(self), fence=self.fence)
