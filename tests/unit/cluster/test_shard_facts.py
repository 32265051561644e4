"""What predict knows of a shard from writing it: publishing reads nothing again, and finds what is not as planned."""

import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from helpers.finished import loaded, publish_members, recipe

from hydra_ray.cluster import predict
from hydra_ray.cluster.predict_steps import MakeShards
from hydra_ray.cluster.shard_facts import ShardFacts
from hydra_ray.errors import UserError
from hydra_ray.runs import Run
from hydra_ray.shards import ShardReader, files, load, row_digest, shard_names, with_logits
from hydra_ray.storage import Folder, artifact, manifests

VIEWS = "transfer.views=[{view: identity}, {view: affine, count: 2}, {view: mixup}]"
SILENT = SimpleNamespace(figures=lambda *args, **facts: None, say=lambda text: None, show=lambda text: None)


@pytest.fixture
def written(tmp_path):
    """A run, its transfer shards as an attempt, and the facts of each."""
    run = loaded(recipe(tmp_path), VIEWS, "predict.rows_per_shard=64")
    publish_members(run)
    shards = run.shards("transfer")
    plan = predict.plan_split(run, "transfer")
    work = predict.work_of(run, {"transfer": shards})
    made = MakeShards(work)(pa.table({"item": [item.to_text() for item in plan]}))
    facts = {
        work.name(item): ShardFacts.from_json(each["facts"][0].as_py()) for item, each in zip(plan, made, strict=True)
    }
    assert len(facts) > 4
    assert sorted(facts) == shard_names(shards.attempt)
    return run, shards, facts


@pytest.fixture
def read(monkeypatch):
    """Names of the shards that are read."""
    names = []
    whole, described = Folder.read, manifests.describe
    monkeypatch.setattr(Folder, "read", lambda self, name: names.append(name) or whole(self, name))
    monkeypatch.setattr(artifact, "describe", lambda folder, name: names.append(name) or described(folder, name))
    return names


def manifest_of(shards):
    return {key: value for key, value in shards.require().items() if key in ("files", "rows", "views", "members")}


def test_shards_that_this_command_wrote_are_not_read_to_publish_them(written, read):
    run, shards, facts = written
    predict._publish(run, SILENT, "transfer", shards, dict(facts))
    assert not [name for name in read if name.endswith(".parquet")]
    at_once = manifest_of(shards)
    assert at_once["rows"] == sum(found.sums["rows"] for found in facts.values()) == len(load(shards.folder))
    shards.folder.move_to(shards.attempt)
    shards.attempt.delete("manifest.json")
    predict._publish(run, SILENT, "transfer", shards, {})  # as after a command that was killed before it published
    assert {name for name in read if name.endswith(".parquet")} == facts.keys()
    assert manifest_of(shards) == at_once


def test_a_file_touched_since_it_was_written_is_read_again(written, read):
    run, shards, facts = written
    name = min(facts)
    shards.attempt.write(name, shards.attempt.read(name))
    read.clear()
    predict._publish(run, SILENT, "transfer", shards, dict(facts))
    assert [each for each in read if each.endswith(".parquet")] == [name]


def without(facts, name):
    return {each: found for each, found in facts.items() if each != name}


CHANGES = {
    "is missing": without,
    "is none of this split's shards": lambda facts, name: {**facts, "part-999-00000.parquet": facts[name]},
    "has other rows than the run's": lambda facts, name: {
        **facts, name: replace(facts[name], digest=row_digest(facts[name].view, np.arange(3)))
    },
    "or in another order": lambda facts, name: {**facts, name: replace(facts[name], digest="0")},
}  # fmt: skip


@pytest.mark.parametrize(("text", "change"), CHANGES.items(), ids=CHANGES)
def test_shards_that_are_not_as_planned_are_not_published(written, text, change):
    run, shards, facts = written
    with pytest.raises(UserError, match=rf"part-\d+-\d+.parquet: .*{text}.*; delete .* to have it made again"):
        predict.check_rows(run, "transfer", shards.attempt, change(facts, min(facts)))
    assert not shards.is_done


def test_outputs_that_are_not_finite_are_refused_before_they_are_written(written):
    run, shards, _ = written
    shards.attempt.remove()
    work = predict.work_of(run, {"transfer": shards})
    make = MakeShards(work)
    inputs = predict.ReadRows(work)(pa.table({"item": [predict.plan_split(run, "transfer")[0].to_text()]}))
    logits = np.full((inputs.num_rows, 5, work.data.num_outputs), np.inf, np.float16)
    with pytest.raises(UserError, match=r"part-000-00000.parquet: logits are not finite; .* predict.dtype=float32"):
        predict.WriteShard(make.work)(with_logits(inputs, logits))
    assert shard_names(shards.attempt) == []


def test_what_tasks_get_does_not_grow_with_the_plan(tmp_path):
    """Each unpickles it, so that it would cost time by the square of the number of shards."""
    sizes = []
    for rows in (64, 1):
        run = loaded(recipe(tmp_path), VIEWS.replace(", {view: mixup}", ""), f"predict.rows_per_shard={rows}")
        sizes.append(len(pickle.dumps(predict.work_of(run, {"transfer": run.shards("transfer")}))))
    assert abs(sizes[1] - sizes[0]) < 100


def test_numbers_of_rows_are_in_the_manifest_so_that_nobody_opens_each_shard_for_them(written, monkeypatch):
    run, shards, facts = written
    predict._publish(run, SILENT, "transfer", shards, dict(facts))
    monkeypatch.setattr(files, "count_rows", lambda folder, name: pytest.fail(f"{name} is opened"))
    assert ShardReader(shards.folder).sizes().num_rows == len(load(shards.folder))


def test_the_manifest_of_published_shards_is_read_once_a_process(written, read):
    run, shards, facts = written
    predict._publish(run, SILENT, "transfer", shards, dict(facts))
    more = Run(run.config.model_copy(update={"ensemble": run.config.ensemble.model_copy(update={"num_members": 6})}))
    publish_members(more)
    work = predict.work_of(more, {"transfer": more.shards("transfer")})
    texts = [item.to_text() for item in predict.plan_split(more, "transfer")]
    read.clear()
    assert len(list(MakeShards(work)(pa.table({"item": texts})))) == len(facts) > 4
    assert read.count("manifest.json") == 1
    assert load(more.shards("transfer").attempt).logits_NMC.shape[1] == 6
