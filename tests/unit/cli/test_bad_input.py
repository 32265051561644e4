"""What a user can mend: one line and exit code 2, before Ray is started, and nothing half-made taken for done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.finished import RECIPE, loaded, published, recipe
from support import REPO

from hydra_ray.runs.preflight import check_features, features_that_say_nothing

# the configuration


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["distill.temprature=2"], "command line: distill.temprature=2: unknown key; nearest: distill.temperature"),
        (["ensemble.epochs=many"], 'command line: ensemble.epochs="many": must be a valid integer'),
        (["distill.temperature=0"], "command line: distill.temperature=0: must be greater than 0"),
        (["distill.temperature=-2"], "command line: distill.temperature=-2: must be greater than 0"),
        (["ensemble.num_members=0"], "command line: ensemble.num_members=0: must be greater than or equal to 1"),
        (["cluster.num_workers=[3, 2]"], "command line: cluster.num_workers=[3, 2]: the fewest come first: [2, 3]"),
        (["cluster.num_workers=[2]"], "command line: cluster.num_workers=[2]: "),
        (["cluster.wait_minutes=-1"], "command line: cluster.wait_minutes=-1: must be greater than or equal to 0"),
        (["students.hydra.num_heads=6"], "command line: students.hydra.num_heads=6, but ensemble.num_members=5: use 5"),
        (["tune.num_trials=2"], "command line: tune.num_trials=2, but tune.space is empty"),
        (["nonsense"], "command line: 'nonsense' is not key=value"),
    ],
)
@pytest.mark.parametrize("stage", ["run", "distill"])
def test_mistakes_in_the_configuration(path, refused, stage, words, expected):
    assert refused(stage, path, *words).startswith(expected)
    assert not (path.parent / "runs").exists()


def test_mistakes_in_the_recipe_name_the_file(tmp_path, refused):
    path = recipe(tmp_path, RECIPE.replace("epochs: 1", "epochz: 1"))
    assert refused("run", path).startswith(f"{path}: ensemble.epochz=1: unknown key; nearest: ensemble.epochs")
    assert refused("run", tmp_path / "tini.yaml").endswith(f"no such recipe; nearest: {path}")


# the data


@pytest.mark.parametrize("stage", ["run", "train_ensemble"])
def test_a_data_folder_that_is_not_there(path, refused, stage):
    text = refused(stage, path, "data.source=nowhere/mnist")
    assert "nowhere/mnist" in text
    assert "data.source" in text
    assert not (path.parent / "runs").exists()


def test_a_torchvision_set_that_is_not_there(path, refused, tmp_path):
    text = refused("run", path, "data.source=MNIST", f"data.torchvision_root={tmp_path}/empty")
    assert f"{tmp_path}/empty" in text
    assert "data.download=true" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data.validation_fraction=0.9"], "data.validation_fraction=0.9"),
        (["transfer.views=[{view: identity}, {view: identity}]"], "transfer.views: identity "),
        (["data.unknown={'a b': digits}"], "data.unknown.a b"),
    ],
)  # fmt: skip
def test_what_takes_the_data_to_be_found_out(path, refused, words, expected):
    for stage in (["run"], ["run", "--plan"], ["train_ensemble"]):
        assert refused(stage[0], path, *words, *stage[1:]).startswith(expected)
    assert published(path.parent) == []


VIEWS = "transfer.views=[{view: identity}, {view: mixup}, {view: %s}]"
NOT_KNOWN = "unknown view; nearest: affine, or package.module:function"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([VIEWS % "afine"], f'transfer.views.2.view="afine": {NOT_KNOWN}'),
        ([VIEWS % "nothing.there:f"], 'transfer.views.2.view="nothing.there:f": cannot be imported (ModuleNotFound'),
        ([VIEWS % "math:pi"], 'transfer.views.2.view="math:pi": is a float, not a view; write @view(...) of hydra_ray'),
        (
            [VIEWS % "affine, options: {degreez: 3}"],
            "transfer.views.2.options.degreez=3: unknown key; nearest: transfer.views.2.options.degrees",
        ),
        (
            [VIEWS % "affine, options: {degrees: 200}"],
            "transfer.views.2.options.degrees=200: must be less than or equal to 180",
        ),
        (
            [VIEWS % "smooth_noise, options: {amount_max: 0.1}"],
            'transfer.views.2.options={"amount_max": 0.1}: amount_min=0.3 is above amount_max=0.1; swap them',
        ),
        (["data.unknown={far: {view: afine}}"], f'data.unknown.far.view="afine": {NOT_KNOWN}'),
        (
            ["ensemble.augment={view: crop_flip, options: {flip: yes}}"],
            'ensemble.augment.options.flip="yes": must be a valid number',
        ),
        (["ensemble.architecture=nope"], 'ensemble.architecture="nope": not known; use one of mlp, cnn, resnet20'),
        (
            ["ensemble.options={hiden: [3]}"],
            "ensemble.options.hiden=[3]: unknown key; nearest: ensemble.options.hidden",
        ),
        (
            ["ensemble.options={hidden: [3, 0]}"],
            "ensemble.options.hidden.1=0: must be greater than or equal to 1",
        ),
        (["distill.body=nope"], 'distill.body="nope": not known; '),
        (
            ["distill.body_options={hidden: 3}"],
            "distill.body_options.hidden=3: must be a valid list",
        ),
        (
            ["tune.num_trials=1", "tune.space.body_options=[{hidden: [3]}, {hidden: [0]}]"],
            "tune.space.body_options.1.hidden.0=0: must be greater than or equal to 1",
        ),
    ],
)
def test_options_are_checked_when_the_recipe_is_read(path, refused, words, expected):
    """Also where no data are: what a view or an architecture is called and takes follows from the recipe."""
    for stage in (["run"], ["run", "--plan"], ["distill"]):
        text = refused(stage[0], path, *words, "data.source=nowhere", *stage[1:])
        assert text.startswith(f"command line: {expected}")


def test_options_in_a_recipe_name_the_file(path, refused):
    path.write_text(path.read_text().replace("{hidden: [4]}", "{hidden: [4], hiden: [3]}"))
    assert refused("run", path) == f"{path}: ensemble.options.hiden=[3]: unknown key; nearest: ensemble.options.hidden"


def test_a_body_without_options_of_its_own_has_the_members(path, refused):
    assert refused("run", path, "distill.body=cnn") == (
        f"{path}: distill.body=cnn without distill.body_options has the members' options: ensemble.options.hidden=[4]: "
        "unknown key; valid here: widths, depth, norm"
    )


WIDTH = "distill.head_width=32"  # the default
CNN = ["distill.body=cnn", "distill.body_options={widths: [4, 4]}"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["distill.head=conv1x1"], "distill.head=conv1x1: the body mlp does not end in a mean over pixels"),
        (["tune.num_trials=1", "tune.space.head=[mlp, conv1x1]"], "distill.head=conv1x1: the body mlp does not end"),
        (
            [*CNN, "distill.head=conv1x1", "distill.head_depth=0"],
            "distill.head_depth=0: heads with distill.head=conv1x1 have 1 convolution or more",
        ),
        ([WIDTH, "distill.head=block"], "distill.head=block: the body mlp does not end in a mean over pixels"),
        (["tune.num_trials=1", "tune.space.head=[mlp, block]"], "distill.head=block: the body mlp does not end"),
        (
            [*CNN, WIDTH, "distill.head=block", "distill.cut=3"],
            "distill.head=block: the body cnn has 2 blocks; set distill.cut",
        ),
        (
            [*CNN, WIDTH, "distill.head=block", "tune.num_trials=1", "tune.space.cut=[1, 9]"],
            "distill.head=block: the body cnn",
        ),
        (["distill.cut=1"], "distill.cut=1: distill.head=mlp has no blocks; set distill.head=block"),
        (
            [WIDTH, "distill.head=linear", "distill.head_depth=2"],
            "distill.head_depth=2: distill.head=linear has no hidden",
        ),
        (
            [*CNN, "distill.head=block", "distill.head_width=8"],
            "distill.head_width=8: distill.head=block has no hidden",
        ),
        (["distill.head=conv3x3"], 'command line: distill.head="conv3x3": must be'),
    ],
)
def test_heads_that_do_not_suit_the_body(path, refused, words, expected):
    text = refused("run", path, *words)
    assert text.startswith(expected)
    assert "\n" not in text


def test_a_misspelt_key_is_told_without_torch(path):
    """Which takes seconds to import."""
    program = f"""
import sys
from hydra_ray.cli.main import main
code = main(["run", {str(path)!r}, "transfer.vews=3"])
print(code, "torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO)
    assert found.stdout == "2 False\n"


def houses(folder: Path, **changed) -> Path:
    """Forty rows of a regression: columns size, rooms and price."""
    table = {"size": np.linspace(1, 2, 40), "rooms": np.arange(40) % 5, "price": np.linspace(5, 9, 40) ** 2}
    table |= {name: np.asarray(values) for name, values in changed.items()}
    pq.write_table(pa.table(table), folder / "houses.parquet")
    return folder / "houses.parquet"


@pytest.mark.parametrize(
    ("changed", "words", "expected"),
    [
        ({}, ["data.target=prize"], "data.target=prize: "),
        ({"price": [1.0] * 40}, [], "the target is 1 in all 28 training rows, so there is nothing to learn"),
        ({"rooms": [3] * 40, "size": [1.0] * 40}, [], "no column says anything: size is 1, rooms is 3 in every row"),
        ({"size": [*range(39), np.inf]}, [], "column size: row 39 has a value that is not finite"),
        ({"price": [*range(39), np.nan]}, [], "column price: row 39 has a value that is not finite"),
        (
            {"size": [0.0, 1.0, 2.0], "rooms": [0, 1, 2], "price": [1.0, 2.0, 3.0]},
            [],
            "leaves none of 3 rows; use 0.33",
        ),
        ({}, ["data.test_split=0"], "data.test_split=0: houses.parquet has no columns test_split_0, test_split_1, ..."),
        ({}, ["data.test_split=0-9"], "data.test_split=0-9: "),
        ({}, ["transfer.views=[{view: affine}]"], "transfer.views.0: view affine needs images"),
    ],
)
def test_mistakes_in_a_regression(path, refused, tmp_path, changed, words, expected):
    views = "transfer.views=[{view: identity}, {view: resample}]"
    source = houses(tmp_path, **changed)
    text = refused("train_ensemble", path, f"data.source={source}", "data.target=price", views, *words)
    assert expected in text
    assert published(path.parent) == []


TASKS = {"regression": {}, "classification": {"price": np.arange(40) % 2}}


def houses_read(path, folder, task, words=(), **changed):
    """A run on houses, whose price is the target or the class."""
    source = houses(folder, **{**TASKS[task], **changed})
    key = "data.target=price" if task == "regression" else "data.label=price"
    views = "transfer.views=[{view: identity}, {view: uniform_box}]"
    run = loaded(path, f"data.source={source}", key, views, "data.unknown={}", *words)
    check_features(run)
    return run


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("rooms", [[3] * 40, ["3"] * 40, [True] * 40, [np.datetime64("1970-01-01T00:00:03")] * 40])
def test_a_column_that_never_changes_is_left_out_and_said(path, tmp_path, task, rooms):
    run = houses_read(path, tmp_path, task, rooms=rooms)
    assert run.data.splits["train"].source.feature_names == ("size",)
    assert re.search(r"left out rooms \(\S+ in every row for training; data.ignore=\[\] uses it\)", run.data.lines()[0])
    assert features_that_say_nothing(run) == []


@pytest.mark.parametrize("task", TASKS)
def test_a_column_that_does_not_change_in_training_rows_is_used_and_said(path, tmp_path, task):
    run = houses_read(path, tmp_path, task, ["data.ignore=[]"], rooms=[3] * 40)
    assert run.data.splits["train"].source.feature_names == ("size", "rooms")
    assert features_that_say_nothing(run) == ["1 feature is the same in all 28 training rows: rooms"]
    rare = np.zeros(40)
    rare[run.data.splits["test"].row_ids()[0]] = 1.0
    run = houses_read(path, tmp_path, task, rooms=rare)
    assert run.data.splits["train"].source.feature_names == ("size", "rooms")
    assert features_that_say_nothing(run) == ["1 feature is the same in all 28 training rows: rooms"]


@pytest.mark.parametrize("task", TASKS)
def test_a_column_of_one_value_and_a_gap_is_not_left_out(path, tmp_path, task):
    run = houses_read(path, tmp_path, task, rooms=[3.0] * 39 + [np.nan])
    assert run.data.splits["train"].source.feature_names == ("size", "rooms", "rooms is missing")


# the machine


@pytest.mark.parametrize("stage", ["run", "train_ensemble"])
def test_storage_that_cannot_be_written(path, refused, stage):
    """A path below a file, which not even root can make."""
    text = refused(stage, path, f"storage={path}/runs")
    assert text.startswith(f"storage={path}/runs/tiny: cannot be written (")
    assert text.endswith("choose another place with storage=...")


def test_a_plan_says_that_storage_cannot_be_written(path, refused):
    assert refused("run", path, "--plan", f"storage={path}/runs").startswith(f"storage={path}/runs/tiny: cannot be")


def test_storage_that_nothing_can_open(path, refused):
    assert refused("run", path, "storage=nosuch://bucket").startswith("storage=nosuch://bucket: ")


@pytest.mark.parametrize("words", [["run"], ["run", "--plan"], ["train_ensemble"]])
def test_more_workers_than_cpus(path, refused, words):
    most = len(os.sched_getaffinity(0)) + 1
    text = refused(words[0], path, f"cluster.num_workers={most}", f"distill.batch_size={most}", *words[1:])
    assert re.fullmatch(
        rf"cluster.num_workers={most} with cluster.cpus_per_worker=1 needs {most} CPUs, there are \d+: "
        r"use cluster.num_workers=\d+ or fewer CPUs for each",
        text,
    )
    assert published(path.parent) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ["tune.workers_per_trial=640", "distill.batch_size=640", "tune.num_trials=1", "tune.space.head_width=[2]"],
            "tune.workers_per_trial=640 needs 640 CPUs",
        ),
    ],
)
def test_more_of_other_processes_than_cpus(path, refused, words, expected):
    assert refused("train_ensemble", path, *words).startswith(expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gpus_that_are_not_there(path, refused):
    text = refused("train_ensemble", path, "cluster.use_gpu=true")
    assert text.startswith("cluster.use_gpu=true with 2 workers needs 2 GPUs, there are 0: ")


# sizes out of all bounds


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ensemble.options={hidden: [1000000000]}"], "ensemble: architecture=mlp with options={'hidden': ["),
        (["distill.body_options={hidden: [1000000000]}"], "distill.body: architecture=mlp with options={'hidden': [10"),
        (["distill.head_width=100000", "distill.head_depth=100"], "distill.head_width=100000, distill.head_depth=100"),
        (
            ["tune.num_trials=2", "tune.space={head_width: [8, 100000]}", "distill.head_depth=100"],
            "distill.head_width=100000, distill.head_depth=100, 5 heads: ",
        ),
        (["cluster.object_store_mb=99999999"], "cluster.object_store_mb=99999999 is 104,858 GB, but this machine has "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("flags", [[], ["--plan"]])
def test_what_memory_does_not_hold(path, refused, words, expected, flags):
    text = refused("run", path, *words, *flags)
    assert text.startswith(expected)
    assert re.search(r"this machine has [\d.,]+ GB", text)
    assert published(path.parent) == []
