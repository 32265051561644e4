"""Runs of a sweep: what one has made, another of the same key takes over, whole, checked, without room of its own."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.finished import four_runs, publish_members, publish_shards

from hydra_ray.runs import STAGES, has_sibling, stage_states, take_from_siblings


@pytest.fixture
def runs(tmp_path):
    """Two temperatures for each of two seeds; the first run has its members and shards."""
    _, found = four_runs(tmp_path)
    publish_members(found[0])
    publish_shards(found[0])
    return found


def test_members_and_shards_of_one_key_are_taken_over(runs):
    other = runs[1]
    members = STAGES["train_ensemble"]
    assert all(has_sibling(other, member) for member in other.members())
    assert take_from_siblings(other, members) == "5 members taken from seed=0,temperature=1"
    assert take_from_siblings(other, members) is None
    assert take_from_siblings(other, STAGES["predict"]) == "4 splits taken from seed=0,temperature=1"
    assert [state.state for state in stage_states(other)][:4] == ["done", "done", "off", "to do"]
    for member, original in zip(other.members(), runs[0].members(), strict=True):
        assert member.manifest() == original.manifest()
        assert os.path.samefile(f"{member.folder.path}/model.safetensors", f"{original.folder.path}/model.safetensors")


def test_what_is_taken_stays_when_the_other_run_goes(runs):
    take_from_siblings(runs[1], STAGES["train_ensemble"])
    shutil.rmtree(runs[0].folder.path)
    assert all(member.read("model.safetensors") for member in runs[1].members())


def test_another_seed_takes_nothing(runs):
    assert take_from_siblings(runs[2], STAGES["train_ensemble"]) is None
    assert not any(has_sibling(runs[2], member) for member in runs[2].members())


def test_a_run_alone_in_the_sweeps_folder_is_a_sibling_too(runs, tmp_path):
    os.rename(runs[0].folder.path + "/ensemble", f"{runs[0].folder.parent.path}/ensemble")
    assert take_from_siblings(runs[1], STAGES["train_ensemble"]) == "5 members taken from tiny"


@pytest.mark.parametrize("cut", [True, False])
def test_a_damaged_result_is_not_taken(runs, cut):
    weights = f"{runs[0].member(2).folder.path}/model.safetensors"
    content = bytearray(Path(weights).read_bytes())
    content[-1] ^= 1
    with open(weights, "wb") as stream:
        stream.write(content[:-1] if cut else content)
    assert take_from_siblings(runs[1], STAGES["train_ensemble"]) == "4 members taken from seed=0,temperature=1"
    assert [member.is_done for member in runs[1].members()] == [True, True, False, True, True]
    assert not [name for name in (runs[1].folder / "ensemble").folders() if name.startswith(".")]


def test_reports_are_every_runs_own(runs):
    assert not STAGES["evaluate"].shared
    assert take_from_siblings(runs[1], STAGES["evaluate"]) is None
