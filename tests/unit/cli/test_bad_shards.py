"""Shards that are missing, damaged or another ensemble's: found before anything learns from them."""

import re
import shutil
from pathlib import Path

import pytest
from helpers.finished import loaded, publish_members, publish_shards, published, recipe

from hydra_ray.errors import UserError
from hydra_ray.shards import load


def test_students_without_shards_or_members(path, refused):
    assert "run the predict stage first" in refused("distill", path)
    assert "run the train_ensemble stage first" in refused("predict", path)
    assert "run the train_ensemble stage first" in refused("evaluate", path)
    assert published(path.parent) == []


@pytest.mark.parametrize("words", [[], ["students.hydra.num_heads=7"]])
@pytest.mark.parametrize("all_members_there", [False, True])
def test_more_heads_than_members_in_the_shards(predicted, refused, words, all_members_there):
    if all_members_there:
        publish_members(loaded(predicted, "ensemble.num_members=8"))
    before = published(predicted.parent)
    text = refused("distill", predicted, "ensemble.num_members=8", *words)
    assert "the shards hold 5 members, but ensemble.num_members=8" in text
    assert "the stages train_ensemble, then predict" in text
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
    assert text.endswith("run the predict stage again")
    assert not (predicted.parent / "runs" / "tiny" / "students").exists()


def test_one_shard_of_another_ensemble_among_the_right_ones(predicted, tmp_path):
    """Its size is the same; whoever reads it notices."""
    run = loaded(predicted)
    run.require_shards("transfer")
    target, source = shard(predicted), other_ensemble(tmp_path)
    content = (source / target.name).read_bytes()
    size = target.stat().st_size
    target.write_bytes(content[:size].ljust(size, b"0"))
    with pytest.raises(UserError, match=r"00000.parquet: not the bytes that were published; delete "):
        load(loaded(predicted).shards("transfer").folder)


def test_bytes_that_changed_without_a_trace(predicted):
    content = bytearray(shard(predicted).read_bytes())
    content[len(content) // 3] ^= 1
    shard(predicted).write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"part-000-00000.parquet: not the bytes that were published; delete "):
        load(loaded(predicted).shards("transfer").folder)
