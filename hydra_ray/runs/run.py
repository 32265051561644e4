"""A run: its folder, its data set, and the place of each of its results.

What a result depends on is in `fingerprints.py`, which stage makes it in `stages.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from hydra_ray.config import (
    Config,
    DataConfig,
    StudentKind,
    ViewConfig,
    parse_yaml,
    space_of,
    with_overlay,
)
from hydra_ray.data import DataSet, Features, Ints, TableOptions, open_data
from hydra_ray.errors import UserError
from hydra_ray.models import ModelSpec
from hydra_ray.randomness import seed_of
from hydra_ray.runs.fingerprints import TRANSFER, member_key, report_key, search_key, shards_key, student_key
from hydra_ray.shards import Shards, row_digest, verify
from hydra_ray.storage import Artifact, Fence, Folder
from hydra_ray.tasks import Task, task_named
from hydra_ray.views import IDENTITY, NumberedView, number_views, source_split, view_named


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
        folder = self.folder / "ensemble" / f"member-{number:03d}"
        return Artifact(folder, member_key(self, number), "model.json", fence=self.fence)

    def member_spec(self) -> ModelSpec:
        """What every member is, weights aside."""
        ensemble, data = self.config.ensemble, self.data
        output, number = self.task.likelihood.member_output(self.config, data.num_outputs)
        return ModelSpec("member", ensemble.architecture, data.input_shape, number, ensemble.options, output=output)

    def members(self) -> list[Artifact]:
        """All members, in order."""
        return [self.member(number) for number in range(self.config.ensemble.num_members)]

    @cached_property
    def member_digests(self) -> tuple[str, ...]:
        """Hashes of all members as they are published, in order."""
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
        return Shards(
            self.folder / "predictions" / split,
            shards_key(self, split),
            members=self.member_digests,
            rows_follow_members=self.rows_follow_members(split),
            fence=self.fence,
        )

    def rows_follow_members(self, split: str) -> bool:
        """Whether the members decide what the rows of a split look like, as where a view follows their gradients."""
        return any(view_named(view.view.view).needs_members for view in self.views(split).values())

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
        return Artifact(self.folder / "tune" / kind, search_key(self, kind), fence=self.fence)

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
        return Artifact(self.folder / "students" / kind, student_key(self, kind), "model.json", fence=self.fence)

    def report(self) -> Artifact:
        """The report over all students."""
        return Artifact(self.folder / "report", report_key(self), fence=self.fence)
