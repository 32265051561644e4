"""What a user can mend: one line and exit code 2, before Ray is started, and nothing half-made taken for done."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, recipe

from hydra_ray.errors import UserError
from hydra_ray.preflight import check_features
from pipelines import run as run_pipeline
from pipelines.command import stage_command

REPO = Path(__file__).parents[2]
STAGES = ["train_ensemble", "predict", "tune", "distill", "evaluate"]


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    """Starting Ray, or connecting to it, fails the test."""

    def started(config):
        raise AssertionError("Ray was started")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("hydra_ray.cluster.chain.session", started)


@pytest.fixture
def path(tmp_path):
    """A recipe of five members; nothing has run."""
    return recipe(tmp_path)


@pytest.fixture(scope="module")
def five_members(tmp_path_factory):
    """Five members and their shards; to be copied."""
    folder = tmp_path_factory.mktemp("five")
    run = loaded(recipe(folder))
    publish_members(run)
    publish_shards(run)
    return folder / "runs"


@pytest.fixture
def predicted(path, five_members):
    """A recipe of five members whose shards are there."""
    shutil.copytree(five_members, path.parent / "runs")
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    """A command of the command line, in this process: exit code, output, errors."""

    def call(stage, *words):
        monkeypatch.setattr(sys, "argv", [f"pipelines.{stage}", *map(str, words)])
        code = run_pipeline.main() if stage == "run" else stage_command(stage, "A stage.")
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def refused(call):
    """The line of a command that must fail by a mistake of the user's."""

    def refused(stage, *words) -> str:
        code, _, errors = call(stage, *words)
        assert code == 2, errors
        assert errors.startswith("error: ")
        assert errors.count("\n") == 1
        assert "Traceback" not in errors
        return errors.removeprefix("error: ").rstrip("\n")

    return refused


def published(folder: Path) -> list[str]:
    """Everything in a folder that looks done or half done."""
    found = [*folder.rglob("manifest.json"), *folder.rglob("model.json"), *folder.rglob(".attempt-*")]
    return sorted(str(path.relative_to(folder)) for path in found)


# the configuration


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["distill.temprature=2"], "command line: distill.temprature=2: unknown key; nearest: distill.temperature"),
        (["ensemble.epochs=many"], 'command line: ensemble.epochs="many": must be a valid integer'),
        (["distill.temperature=0"], "command line: distill.temperature=0: must be greater than 0"),
        (["distill.temperature=-2"], "command line: distill.temperature=-2: must be greater than 0"),
        (["ensemble.num_members=0"], "command line: ensemble.num_members=0: must be greater than or equal to 1"),
        (["distill.num_heads=6"], "command line: distill.num_heads=6, but ensemble.num_members=5: raise"),
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
    text = refused("run", path, "data.source=MNIST", f"data.root={tmp_path}/empty")
    assert f"{tmp_path}/empty" in text
    assert "data.download=true" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["data.validation_share=0.9"], "data.validation_share=0.9"),
        (["ensemble.architecture=nope"], "ensemble: architecture=nope"),
        (["ensemble.options.hiden=[3]"], "ensemble: "),
        (["distill.body=nope"], "distill.body: architecture=nope"),
        (["transfer.views=[{view: nope}]"], "transfer.views.0: "),
        (["transfer.views=[{view: affine, options: {degreez: 3}}]"], "transfer.views.0: "),
        (["transfer.views=[{view: identity}, {view: identity}]"], "transfer.views: identity "),
        (["data.unknown={'a b': digits}"], "data.unknown.a b"),
    ],
)  # fmt: skip
def test_what_takes_the_data_to_be_found_out(path, refused, words, expected):
    for stage in (["run"], ["run", "--plan"], ["train_ensemble"]):
        assert refused(stage[0], path, *words, *stage[1:]).startswith(expected)
    assert published(path.parent) == []


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
        ({"rooms": [3] * 40}, [], "feature rooms is 3 in all 28 training rows, it says nothing: drop it"),
        ({"size": [*range(39), np.nan]}, [], "column size: row 39 has a value that is not finite"),
        ({"price": [*range(39), np.nan]}, [], "column price: row 39 has a value that is not finite"),
        (
            {"size": [0.0, 1.0, 2.0], "rooms": [0, 1, 2], "price": [1.0, 2.0, 3.0]},
            [],
            "leaves none of 3 rows; use 0.33",
        ),
        ({}, ["data.split=0"], "data.split=0: houses.parquet has no columns test_split_0, test_split_1, ..."),
        ({}, ["data.split=0-9"], "data.split=0-9: "),
        ({}, ["transfer.views=[{view: affine}]"], "transfer.views.0: view affine needs images"),
    ],
)
def test_mistakes_in_a_regression(path, refused, tmp_path, changed, words, expected):
    views = "transfer.views=[{view: identity}, {view: resample}]"
    source = houses(tmp_path, **changed)
    text = refused("train_ensemble", path, f"data.source={source}", "data.target=price", views, *words)
    assert expected in text
    assert published(path.parent) == []


def test_classes_of_feature_rows_may_have_a_feature_that_says_nothing(path, tmp_path):
    source = houses(tmp_path, size=[1.0] * 40, label=np.arange(40) % 2, rooms=np.linspace(0, 1, 40))
    views = "transfer.views=[{view: identity}, {view: uniform_box}]"
    check_features(loaded(path, f"data.source={source}", views, "data.unknown={}"))


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
        (["cluster.num_actors=640"], "cluster.num_actors=640 needs more than the"),
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


# the shards


def test_students_without_shards_or_members(path, refused):
    assert "run pipelines.predict first" in refused("distill", path)
    assert "run pipelines.train_ensemble first" in refused("predict", path)
    assert "run pipelines.train_ensemble first" in refused("evaluate", path)
    assert published(path.parent) == []


@pytest.mark.parametrize("words", [[], ["distill.num_heads=7"]])
@pytest.mark.parametrize("all_members_there", [False, True])
def test_more_heads_than_members_in_the_shards(predicted, refused, words, all_members_there):
    if all_members_there:
        publish_members(loaded(predicted, "ensemble.num_members=8"))
    before = published(predicted.parent)
    text = refused("distill", predicted, "ensemble.num_members=8", *words)
    assert "the shards hold 5 members, but ensemble.num_members=8" in text
    assert "pipelines.predict" in text
    assert "set ensemble.num_members=5" in text
    assert published(predicted.parent) == before


def shard(path: Path, split="transfer") -> Path:
    return path.parent / "runs" / "tiny" / "predictions" / split / "part-000-00000.parquet"


@pytest.mark.parametrize("stage", ["run", "predict", "distill", "evaluate"])
@pytest.mark.parametrize("split", ["transfer", "validation"])
def test_a_truncated_shard(predicted, refused, stage, split):
    file = shard(predicted, split)
    file.write_bytes(file.read_bytes()[:-100])
    text = refused(stage, predicted)
    assert re.search(rf"{split}/part-000-00000.parquet: has [\d,]+ bytes, was published with [\d,]+; delete ", text)
    assert not (predicted.parent / "runs" / "tiny" / "students").exists()


@pytest.mark.parametrize("stage", ["run", "distill"])
def test_a_shard_that_is_gone(predicted, refused, stage):
    shard(predicted).unlink()
    assert "transfer/part-000-00000.parquet: is gone; delete " in refused(stage, predicted)


def test_a_truncated_shard_in_a_plan(predicted, refused):
    shard(predicted).write_bytes(b"")
    assert "has 0 bytes, was published with" in refused("run", predicted, "--plan")


def other_ensemble(tmp_path: Path) -> Path:
    """Shards of five members of another seed."""
    folder = tmp_path / "other"
    folder.mkdir()
    run = loaded(recipe(folder), "ensemble.learning_rate=0.5", "seed=1")
    publish_members(run)
    publish_shards(run)
    return folder / "runs" / "tiny" / "predictions" / "transfer"


def test_the_shards_of_another_ensemble(predicted, refused, tmp_path):
    target = shard(predicted).parent
    shutil.rmtree(target)
    shutil.copytree(other_ensemble(tmp_path), target)
    text = refused("distill", predicted)
    assert re.search(r"transfer: shards of another configuration \(seed: 1 -> 0; members.0: \w+ -> \w+;", text)
    assert text.endswith("run pipelines.predict again")
    assert not (predicted.parent / "runs" / "tiny" / "students").exists()


def test_one_shard_of_another_ensemble_among_the_right_ones(predicted, tmp_path):
    """Found by the check of every byte before students learn, though sizes and sums agree with a forged manifest."""
    run = loaded(predicted)
    run.require_shards("transfer")
    target, source = shard(predicted), other_ensemble(tmp_path)
    shutil.copy(source / target.name, target)
    manifest = json.loads((target.parent / "manifest.json").read_text())
    manifest["files"] = json.loads((source / "manifest.json").read_text())["files"]
    (target.parent / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"00000.parquet: a shard from another ensemble \(members 5: .*delete "):
        loaded(predicted).require_shards("transfer")


def test_bytes_that_changed_without_a_trace(predicted):
    content = bytearray(shard(predicted).read_bytes())
    content[len(content) // 3] ^= 1
    shard(predicted).write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"part-000-00000.parquet: (not the bytes that were published|damaged|logits)"):
        loaded(predicted).require_shards("transfer")


# what is no mistake


def test_a_plan_starts_nothing_and_makes_nothing(path, call):
    code, out, errors = call("run", path, "--plan", "data.unknown={patches: photo_patches}")
    assert (code, errors) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["run", *STAGES, "resources"]
    assert "to do  0/5 members done; whole stage: 5 member-epochs of 200 rows" in lines["train_ensemble"]
    assert "waits  after train_ensemble" in lines["predict"]
    assert re.search(r"rows x 5 members, up to [\d.]+ [kM]B of shards", lines["predict"])
    assert "off    tune.num_trials=0" in lines["tune"]
    assert "enough for 2 workers" in lines["resources"]
    assert not (path.parent / "runs").exists()


def test_a_plan_says_what_is_done_and_why_something_is_not(predicted, call):
    out = call("run", predicted, "--plan")[1]
    assert "train_ensemble  done   5/5 members done" in out
    assert "predict         done   3/3 splits done" in out
    assert "distill         to do  0/1 students done" in out
    out = call("run", predicted, "--plan", "ensemble.learning_rate=0.5")[1]
    assert "0/5 members done, 5 redone because ensemble.learning_rate: 0.001 -> 0.5" in out
    out = call("run", predicted, "--plan", "ensemble.num_members=7")[1]
    assert "train_ensemble  to do  5/7 members done" in out
    out = call("run", predicted, "--plan", "predict.dtype=float32")[1]
    assert "0/3 splits done, 3 redone because predict.dtype: float16 -> float32" in out
    out = call("run", predicted, "--plan", "tune.num_trials=3", "tune.space.head_width=[2, 4]")[1]
    assert re.search(r"tune +to do  0/1 searches done; whole stage: 3 trials, 6 epochs of 200 rows at most", out)


def test_a_plan_and_a_run_that_is_done_do_not_even_import_ray(predicted):
    """In a process of its own, as other tests may have imported it here."""
    script = (
        "import sys; from pipelines import run; from pipelines.command import stage_command; recipe = sys.argv[1]\n"
        "sys.argv = ['run', recipe, '--plan']; codes = [run.main()]\n"
        "sys.argv = ['stage', recipe]; codes += [stage_command(name, '') for name in ('train_ensemble', 'predict')]\n"
        "print('codes', codes, 'ray' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(predicted)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert found.stdout.splitlines()[-1] == "codes [0, 0, 0] False", found.stdout + found.stderr
    events = (predicted.parent / "runs" / "tiny" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["skipped", "skipped"]


def test_a_reader_that_has_read_enough_is_no_error(path):
    """As in `--plan | head -1`: nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "pipelines.run", str(path), "--plan"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, cwd=REPO, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
