"""Checks before the first worker starts, of whatever a user can mend.

The configuration checks itself (`config/tree.py`), and opening the data set checks the data. The checks here need both,
or the machine: do networks and views accept these inputs, are the CPUs there, can the run folder be written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import product

import numpy as np

from hydra_ray.config import ClusterConfig, Config
from hydra_ray.data import Rows, shortened
from hydra_ray.errors import UserError
from hydra_ray.losses import check_own_term
from hydra_ray.models import (
    ModelSpec,
    check_architecture,
    in_gigabytes,
    memory_bytes,
)
from hydra_ray.runs.attack_checks import check_attacks, check_gradients_of_members
from hydra_ray.runs.gpus import most_workers
from hydra_ray.runs.head_checks import check_heads
from hydra_ray.runs.objective_checks import check_groups, check_objective
from hydra_ray.runs.rank_checks import check_parts, check_team
from hydra_ray.runs.run import TRANSFER, WRITTEN_BELOW, Run
from hydra_ray.runs.suitable_views import can_ask_validation_views, has_fixed_rows
from hydra_ray.runs.unknown_row_checks import check_unknown_rows
from hydra_ray.runs.view_checks import check_views, within
from hydra_ray.shards import is_labelled
from hydra_ray.teachers import OF_TASK, AskedTeachers, ForeignShards
from hydra_ray.training import kind_named
from hydra_ray.views import IDENTITY, view_named

_ROWS_AT_ONCE = 65_536
_MOST_NAMES = 8
_ROWS_ASKED = 2


def check_run(run: Run) -> None:
    """Check all but resources and networks; those take seconds and are checked once a stage has something to do.

    Raises:
        UserError: for the first problem found.
    """
    check_settings(run)
    check_features(run)
    run.folder.check_writable("storage", WRITTEN_BELOW)


def check_settings(run: Run) -> None:
    """Check what a plan can check too: that task, views, own terms and workers suit the data set.

    Raises:
        UserError: for the first problem found.
    """
    run.task.check(run.config)
    check_teachers_settings(run)
    check_views(run)
    check_objective(run)
    check_attacks(run)
    _check_losses(run)
    _check_batches(run)


def check_networks(run: Run) -> None:
    """Check that members and students can be built, fit into memory and accept the data set's inputs."""
    config = run.config
    data = run.data
    ensemble = config.ensemble
    distill = config.distill
    if run.teachers is None:
        _check_members(run)
        check_groups(run)
        check_gradients_of_members(run)
    else:
        check_teachers(run)
    space = config.tune.space if config.tune.num_trials else {}
    bodies = space.get("body", [distill.body])
    choices = space.get("body_options", [distill.body_options])
    for body, options in [(distill.body, distill.body_options), *product(bodies, choices)]:
        options = ensemble.options if options is None else options
        architecture = body or ensemble.architecture
        facts = (architecture, data.input_shape, data.num_outputs, options, data.categories)
        network = within("distill.body", check_architecture, *facts)
        check_heads(config, network, ModelSpec("student", architecture, *facts[1:4]))
        check_parts(f"distill.strategy={distill.strategy}", distill, network)


def check_teachers(run: Run) -> None:
    """Load the teachers and ask them about two training rows, or look at all predictions that exist already.

    Raises:
        UserError: they cannot be loaded, or what they say does not fit the data set.
    """
    teachers = run.teachers
    if isinstance(teachers, AskedTeachers):
        train = run.data.splits["train"]
        first = train.row_ids()[:_ROWS_ASKED]
        rows = train.read(int(first[0]), int(first[-1]) + 1)
        teachers.ask(rows.inputs[:_ROWS_ASKED], rows.row_id[:_ROWS_ASKED])
        return
    if isinstance(teachers, ForeignShards):
        teachers.check_rows()
    if teachers is not None:
        for split in run.split_names:
            for number, view in run.views(split).items():
                row_id = run.rows_of_view(split, number)
                for start in range(0, len(row_id), _ROWS_AT_ONCE):
                    rows = Rows(row_id[start : start + _ROWS_AT_ONCE], np.empty(0), None)
                    teachers.answer(split, view.rows_of, rows, number)


def check_teachers_settings(run: Run) -> None:
    """Check that what teachers say is of the task, and that they can be asked about the views.

    Raises:
        UserError: for the first problem found.
    """
    config = run.config
    teachers = config.ensemble.teachers
    fitting = OF_TASK[run.data.task]
    if teachers.outputs is not None and teachers.outputs not in fitting:
        raise UserError(
            f"ensemble.teachers.outputs={teachers.outputs}: data.source={config.data.source} is a {run.data.task}; use "
            f"{' or '.join(fitting)}"
        )
    if config.trains_members:
        return
    key = "predict.shards" if config.predict.shards is not None else f"ensemble.teachers.kind={teachers.kind}"
    if run.config.data.validation_views and not can_ask_validation_views(config):
        raise UserError(
            f"data.validation_views: {key} has no predictions for them; leave it out, or have views answered with "
            "`hydra-ray write-transfer`"
        )
    for place, view in enumerate(config.transfer.views or ()):
        if has_fixed_rows(config) and view.view != IDENTITY.view:
            raise UserError(
                f"transfer.views.{place}.view={view.view}: {key} has predictions for untouched rows alone; leave "
                "transfer.views out, or have views answered with `hydra-ray write-transfer`"
            )
        if view_named(view.view).needs_members:
            raise UserError(
                f"transfer.views.{place}.view={view.view}: needs members that are trained here; leave it out"
            )


def _check_members(run: Run) -> None:
    """Check the network of every group of members, and the weights that it starts from."""
    data = run.data
    ensemble = run.config.ensemble
    for place, group in enumerate(ensemble.groups):
        key = "ensemble" if ensemble.members is None else f"ensemble.members.{place}"
        num_outputs = run.group_spec(place).num_outputs
        shape = data.input_shape
        facts = (group.architecture, shape, num_outputs, group.options, data.categories)
        check_team(run.config, within(key, check_architecture, *facts))
        run.group_weights(place)


def _check_losses(run: Run) -> None:
    """Check that there are labels to learn where they are asked for; try own terms on two rows in every phase."""
    if "labels" in run.config.student_kinds:
        _check_labels(run, "students.labels", "leave this student out")
    if "prior_network" in run.config.student_kinds:
        _check_labels(run, "students.prior_network", "leave this student out")
        check_unknown_rows(run)
    if run.config.distill.label_weight > 0:
        _check_labels(run, f"distill.label_weight={run.config.distill.label_weight}", "leave it out")
    for kind in run.config.student_kinds:
        own = run.config.student(kind)
        members = len(run.config.members_learnt_from(kind))
        phases = kind_named(kind)(run.task, own, run.config.distill, members).phases
        for place, term in enumerate(own.terms):
            key = f"students.{kind}.terms.{place}.import_path={term.import_path}"
            for num_heads in {phase.num_heads for phase in phases}:
                within(key, check_own_term, term.import_path, run.task.name, num_heads, members, run.data.num_outputs)


def _check_labels(run: Run, key: str, way_out: str) -> None:
    labels = run.data.splits["train"].read_labels()
    if labels is None or not is_labelled(labels).any():
        raise UserError(f"{key}: no training row has a label; {way_out}")
    views = run.views(TRANSFER).values()
    if not any(view.has_labels and view_named(view.view.view).keeps_label for view in views):
        names = ", ".join(dict.fromkeys(view.view.view for view in views))
        raise UserError(
            f"{key}: no row of transfer.views ({names}) keeps its label; {way_out}, or add {{view: identity}}"
        )


def check_features(run: Run) -> None:
    """Check that features are finite numbers, by reading every row once; images need no check."""
    if run.features is None:
        return
    for split in run.data.splits.values():
        for start, stop in split.chunks(_ROWS_AT_ONCE):
            split.read(start, stop)


def features_that_say_nothing(run: Run) -> list[str]:
    """One line that names the features with a single value in all training rows; no line where there are none.

    Columns that are constant in the whole file have been left out when it was opened.
    """
    features = run.features
    train = run.data.splits["train"]
    if features is None:
        return []
    names = train.source.feature_names
    places = (features.low == features.high).nonzero().flatten().tolist()
    if not places:
        return []
    found = shortened([names[place] if names else f"number {place}" for place in places], _MOST_NAMES)
    verb = "features are" if len(places) > 1 else "feature is"
    return [f"{len(places)} {verb} the same in all {train.num_rows:,} training rows: {found}"]


def check_shards(run: Run, splits: Iterable[str]) -> None:
    """Check that the shards of `splits` are published, have the right sizes and hold enough members.

    Raises:
        UserError: they are missing, cut short, of another configuration, or hold too few members.
    """
    for split in splits:
        shards = run.shards(split)
        wanted = run.config.ensemble.num_members
        if shards.is_done:
            continue
        manifest = shards.manifest()
        if manifest is None:
            raise UserError(f"{shards.folder}: no shards there; run the predict stage first")
        held = len(manifest["key"]["members"])
        if held < wanted:
            raise UserError(
                f"{shards.folder}: the shards hold {held} members, but ensemble.num_members={wanted}: "
                "train and ask the others (the stages train_ensemble, then predict), or set "
                f"ensemble.num_members={held} and num_heads to {held} or less"
            )
        reasons = "; ".join(shards.changes()[:3])
        raise UserError(f"{shards.folder}: shards of another configuration ({reasons}); run the predict stage again")


def check_resources(config: Config, cpus: float, gpus: float) -> None:
    """Check that there are CPUs and GPUs for all workers of each stage.

    Args:
        config: says how many workers there are, and what each needs.
        cpus: of the machine or cluster.
        gpus: of the machine or cluster.

    Raises:
        UserError: there are too few; Ray would wait for ever.
    """
    cluster = config.cluster
    wanted = cluster.fewest_workers * cluster.cpus_per_worker
    if wanted > cpus:
        most = int(cpus / cluster.cpus_per_worker)
        raise UserError(
            f"cluster.num_workers={cluster.num_workers} with cluster.cpus_per_worker={cluster.cpus_per_worker:g} "
            f"needs {wanted:g} CPUs, there are {cpus:g}: use cluster.num_workers={max(1, most)} or fewer CPUs for each"
        )
    trial = config.tune.workers_per_trial * cluster.cpus_per_worker
    if config.tune.num_trials and trial > cpus:
        raise UserError(
            f"tune.workers_per_trial={config.tune.workers_per_trial} needs {trial:g} CPUs, there are {cpus:g}: "
            "lower it or cluster.cpus_per_worker"
        )
    workers = max(cluster.fewest_workers, config.tune.workers_per_trial)
    if cluster.has_gpu and workers > most_workers(cluster, gpus):
        wanted = math.ceil(workers / most_workers(cluster, 1))
        raise UserError(
            f"cluster.use_gpu=true with {workers} workers needs {wanted} GPUs, there are {gpus:g}: "
            "lower cluster.num_workers or cluster.gpu_share, or set cluster.use_gpu=false"
        )


def check_object_store(cluster: ClusterConfig) -> None:
    """Check that the object store of a private session fits into this machine's memory.

    Raises:
        UserError: it does not.
    """
    wanted = cluster.object_store_mb << 20
    memory = memory_bytes()
    if wanted > memory:
        raise UserError(
            f"cluster.object_store_mb={cluster.object_store_mb} is {in_gigabytes(wanted)}, but this machine has "
            f"{in_gigabytes(memory)} of memory: lower it"
        )


def _check_batches(run: Run) -> None:
    workers = run.config.cluster.most_workers
    rows = run.data.splits["train"].num_rows
    if rows < workers:
        raise UserError(f"cluster.num_workers={workers}, but there are {rows} training rows: lower cluster.num_workers")
