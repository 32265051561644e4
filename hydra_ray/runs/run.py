"""A run: its folder, its data set, and what each of its results depends on.

Here the configuration is cut into keys: what of it matters to a member, to a split's shards, to a student,
to the search and to the report. Two rules follow from the keys alone: adding members redoes nothing that is
there, and a student on the first m members does not care how many there are in all. What the stages do is
not here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from hydra_ray.config import (
    OF_OTHERS,
    Config,
    DataConfig,
    Section,
    StudentKind,
    ViewConfig,
    goal_of,
    parse_yaml,
    space_of,
    with_overlay,
)
from hydra_ray.data import DataSet, Features, Ints, TableOptions, open_data
from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec
from hydra_ray.randomness import STREAMS_VERSION, seed_of
from hydra_ray.runs.fingerprints import body_code, data_key, member_code, searched_bodies, view_key
from hydra_ray.shards import Shards, row_digest, verify
from hydra_ray.storage import Artifact, Fence, Folder
from hydra_ray.tasks import Task, task_named
from hydra_ray.views import IDENTITY, NumberedView, number_views, source_split, view_named

TRANSFER = "transfer"
_HOW_NOT_WHAT = {
    "kind",
    "use_best_trial",
    "checkpoint_every",
    "compile",
}  # keys of distill that leave students as they are
_HOW_TRIALS_ARE_RUN = {"max_concurrent", "workers_per_trial"}
_HOW_MEMBERS_ARE_MADE = {"num_members", "stack_size", "compile"}  # and of ensemble, each member as it is


def _what_is_set(section: Section, leave_out: set[str]) -> dict[str, Any]:
    """A section for a key; what is none is left out, so that an option that is new makes nothing stale."""
    return {name: value for name, value in section.model_dump(exclude=leave_out).items() if value is not None}


def table_options(data: DataConfig) -> TableOptions:
    """What a configuration says of tables."""
    ignore = None if data.ignore is None else tuple(data.ignore)
    return TableOptions(data.target, data.label, ignore, data.header, data.decimal)


class Run:
    """The run that a configuration describes."""

    def __init__(self, config: Config) -> None:
        """Opens the data set, reads no rows.

        Raises:
            UserError: the data are not there or do not fit the configuration.
        """
        self._given = config
        self.folder = Folder.open(config.storage) / config.name
        self.fence: Fence | None = None  # of the command that holds the run folder

    @cached_property
    def config(self) -> Config:
        """The configuration; where it names no views, with those that suit the kind of rows."""
        given = self._given
        if given.transfer.views is not None:
            return given
        return given.model_copy(update={"transfer": given.transfer.with_views(self.data.input_shape)})

    @cached_property
    def data(self) -> DataSet:
        """The data set's splits; unknown sets that are views of the test rows among them."""
        data, seed = self._given.data, self._given.seed
        if isinstance(data.test_split, str):
            several = "stands for several splits, each a run of its own, which pipelines.run makes one after the other"
            raise UserError(f"data.test_split={data.test_split}: {several}; name one of them, e.g. data.test_split=0")
        found = open_data(
            data.source,
            root=data.torchvision_root,
            download=data.download,
            validation_fraction=data.validation_fraction,
            test_fraction=data.test_fraction,
            seed=seed,
            max_train_rows=data.max_train_rows,
            unknown={name: place for name, place in data.unknown.items() if isinstance(place, str)},
            unlabelled={
                source_split(place): (f"transfer.views.{place}.source", view.source)
                for place, view in enumerate(self._given.transfer.views or ())
                if view.source is not None
            },
            options=table_options(data),
            split=data.test_split,
            max_pixels=data.max_pixels,
        )
        test = found.splits["test"]
        views = {f"unknown-{name}": test for name, place in data.unknown.items() if isinstance(place, ViewConfig)}
        return replace(found, splits={**found.splits, **views})

    @cached_property
    def features(self) -> Features | None:
        """The scale of the training rows' features, read from them once; none for images."""
        return None if len(self.data.input_shape) == 3 else Features.of(self.data.splits["train"])

    @property
    def task(self) -> Task:
        """What is learnt; the data set says it."""
        return task_named(self.data.task)

    @property
    def shard_dtype(self) -> str:
        """Type of the outputs in the shards."""
        return self.config.predict.dtype or self.task.likelihood.shard_dtype

    # members

    def member(self, number: int) -> Artifact:
        """One member of the ensemble."""
        ensemble = _what_is_set(self.config.ensemble, _HOW_MEMBERS_ARE_MADE)
        key = {
            "data": data_key(self.config.data, self.data, "train"),
            "ensemble": ensemble,
            **member_code(self.config, self.data, self.member_spec().num_outputs),
            "streams": STREAMS_VERSION,
            "seed": self.config.seed,
            "member": number,
        }
        return Artifact(self.folder / "ensemble" / f"member-{number:03d}", key, "model.json", fence=self.fence)

    def member_spec(self) -> ModelSpec:
        """What every member is, weights aside."""
        ensemble, data = self.config.ensemble, self.data
        output, number = self.task.likelihood.member_output(self.config, data.num_outputs)
        return ModelSpec("member", ensemble.architecture, data.input_shape, number, ensemble.options, output=output)

    def members(self) -> list[Artifact]:
        """All members, in order."""
        return [self.member(number) for number in range(self.config.ensemble.num_members)]

    @cached_property
    def _member_digests(self) -> tuple[str, ...]:
        return tuple(member.digest() for member in self.members())

    # shards

    @property
    def split_names(self) -> list[str]:
        """Splits that are predicted: the transfer set, and whatever a report needs."""
        return [TRANSFER, "validation", "test", *self.unknown_names]

    @property
    def unknown_names(self) -> list[str]:
        """Splits of unknown sets, `unknown-<name>`."""
        return [f"unknown-{name}" for name in self.config.data.unknown]

    @property
    def views_of_test(self) -> list[str]:
        """Unknown splits that show the test rows, each under a view."""
        unknown = self.config.data.unknown
        return [f"unknown-{name}" for name, place in unknown.items() if isinstance(place, ViewConfig)]

    def shards(self, split: str) -> Shards:
        """The members' predictions on one split; the members must be published."""
        key: dict[str, Any] = {
            "data": {
                name: data_key(self.config.data, self.data, name)
                for name in sorted({view.rows_of for view in self.views(split).values()})
            },
            "split": split,
            "streams": STREAMS_VERSION,
            "seed": self.config.seed,
            "predict": {**_what_is_set(self.config.predict, {"batch_size"}), "dtype": self.shard_dtype},
            "views": {
                str(number): {**view.describe(), **view_key(view.view, self.data)}
                for number, view in self.views(split).items()
            },
        }
        moved = any(view_named(view.view.view).needs_members for view in self.views(split).values())
        if moved:  # older versions extended such shards and left the rows where the first members had moved them
            key["rows_moved_by"] = "all members"
        key["members"] = list(self._member_digests)
        return Shards(
            self.folder / "predictions" / split,
            key,
            members=self._member_digests,
            rows_follow_members=moved,
            fence=self.fence,
        )

    def views(self, split: str) -> dict[int, NumberedView]:
        """View number -> view of a split; 0 is the untouched row."""
        if split == TRANSFER:
            return number_views(self.config.transfer, {name: each.num_rows for name, each in self.data.splits.items()})
        unknown = self.config.data.unknown.get(split.removeprefix("unknown-"))
        return (
            {1: NumberedView(unknown, split)} if isinstance(unknown, ViewConfig) else {0: NumberedView(IDENTITY, split)}
        )

    def rows_of_view(self, split: str, number: int) -> Ints:
        """row_id of every row that a predicted split shows under a view, in order."""
        view = self.views(split)[number]
        rows = self.data.splits[view.rows_of].row_ids()
        return rows[view.kept(rows, seed_of(self.config.seed, "share of a view", split, number))]

    def num_rows(self, split: str) -> int:
        """Rows of a predicted split, those of all its views together."""
        return sum(len(self.rows_of_view(split, number)) for number in self.views(split))

    def require_shards(self, split: str) -> None:
        """Check every byte of a split's shards before anything is learnt from them.

        Raises:
            UserError: they are missing, stale, damaged, or another ensemble's.
        """
        shards = self.shards(split)
        if shards.status() == "missing":
            raise UserError(f"{shards.folder}: no shards there; run pipelines.predict first")
        if shards.status() == "stale":
            reasons = "; ".join(shards.changes()[:3])
            raise UserError(
                f"{shards.folder}: shards of another configuration ({reasons}); run pipelines.predict again"
            )
        manifest = shards.require()
        self.verify_shards(split, shards.folder, manifest["key"]["members"])

    def verify_shards(self, split: str, folder: Folder, members: Sequence[str]) -> None:
        """Check what is inside a folder of shards of one split, published or not yet.

        Raises:
            UserError: see `shard_checks.verify`.
        """
        rows = {number: self.rows_of_view(split, number) for number in self.views(split)}
        verify(
            folder,
            members=members,
            num_rows=sum(len(row_id) for row_id in rows.values()),
            expected={"split": split},
            task=self.data.task,
            num_outputs=self.data.num_outputs,
            digest=row_digest((number, row_id) for number, row_id in rows.items() if len(row_id)),
        )

    # search and students

    @property
    def searched_kinds(self) -> list[StudentKind]:
        """Kinds of students to which a key of `tune.space` matters; each is searched for itself."""
        tune = self.config.tune
        return [kind for kind in self.config.student_kinds if tune.num_trials and space_of(kind, tune)]

    def search(self, kind: StudentKind) -> Artifact:
        """The result of the search for one kind of student."""
        tune, heads = self.config.tune, self.config.ensemble.num_members
        space = space_of(kind, tune)
        key = {
            "kind": kind,
            "tune": {**_what_is_set(tune, _HOW_TRIALS_ARE_RUN), **goal_of(kind, tune)._asdict(), "space": space},
            "distill": _what_is_set(self.config.distill, _HOW_NOT_WHAT | OF_OTHERS[kind] | space.keys()),
            **body_code(self.config, self.data, *searched_bodies(self.config)),
            "streams": STREAMS_VERSION,
            "seed": self.config.seed,
            TRANSFER: self.shards(TRANSFER).digest_of(heads),
            "validation": self.shards("validation").digest_of(heads),
        }
        return Artifact(self.folder / "tune" / kind, key, fence=self.fence)

    def tuned(self, kind: StudentKind) -> Config:
        """The configuration a kind of student is trained with: what its search found laid over it, where asked for.

        Raises:
            UserError: its search has no result yet.
        """
        if not self.config.distill.use_best_trial or kind not in self.searched_kinds:
            return self.config
        search = self.search(kind)
        if not search.is_done:
            raise UserError(
                f"distill.use_best_trial=true, but the search for {kind} has no valid result: run pipelines.tune first"
            )
        place = f"{search.folder}/best.yaml"
        return with_overlay(self.config, parse_yaml(search.read("best.yaml").decode()), place)

    def student(self, kind: StudentKind) -> Artifact:
        """One student, its manifest `model.json`."""
        config = self.tuned(kind)
        leave_out = _HOW_NOT_WHAT | OF_OTHERS[kind] | {"num_heads"}  # which `num_members` says, however it came about
        heads = config.num_heads if kind == "hydra" else config.ensemble.num_members
        key = {
            "kind": kind,
            "distill": _what_is_set(config.distill, leave_out),
            "body": [config.ensemble.architecture, config.ensemble.options],
            **body_code(config, self.data),
            "streams": STREAMS_VERSION,
            "seed": config.seed,
            TRANSFER: self.shards(TRANSFER).digest_of(heads),
            "validation": self.shards("validation").digest_of(heads),
            "num_members": heads,
        }
        return Artifact(self.folder / "students" / kind, key, "model.json", fence=self.fence)

    def report(self) -> Artifact:
        """The report over all students."""
        key = {
            "students": {kind: self.student(kind).digest() for kind in self.config.student_kinds},
            "splits": {name: self.shards(name).digest() for name in self.split_names},
            "evaluate": self.config.evaluate.model_dump(),
            "streams": STREAMS_VERSION,
            "search": {kind: self.search(kind).digest() for kind in self.searched_kinds},
        }
        return Artifact(self.folder / "report", key, fence=self.fence)
