"""train_ensemble with an objective of groups: a worker trains a group, which is resumed as one."""

import shutil

import pytest
from safetensors.numpy import load_file
from support import events, kill_a_train_worker, leftovers, meanwhile, tiny, wait_for

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
HERE = ["cluster.local=true"]
PAIRS = [
    "ensemble.objective={kind: adp, volume_weight: 1.0}",
    "ensemble.group_size=2",
    "ensemble.options={width: 16, seconds: 0.05}",
]


def weights(folder, number):
    return load_file(folder / f"ensemble/member-{number:03d}/model.safetensors")


def same(one, other):
    return all((one[name] == other[name]).all() for name in one)


@pytest.fixture(scope="module")
def killed_run(ray_session, tmp_path_factory):
    """Two workers train a pair each, and one of them is killed."""
    storage = tmp_path_factory.mktemp("killed")
    folder = storage / "tiny"

    def kill_in_training() -> None:
        wait_for(lambda: events(folder, "train_ensemble", "epoch"), 120, "first epoch")
        kill_a_train_worker()

    with meanwhile(kill_in_training):
        run_stages(Run(tiny(storage, *PAIRS, "cluster.num_workers=2")), ["train_ensemble"])
    return folder


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    """One process trains both pairs, without interruption."""
    storage = tmp_path_factory.mktemp("whole")
    run_stages(Run(tiny(storage, *PAIRS, *HERE)), ["train_ensemble"])
    return storage / "tiny"


def test_a_killed_worker_changes_nothing(killed_run, whole_run):
    assert len(events(killed_run, event="restart")) == 1
    for number in range(4):
        assert same(weights(killed_run, number), weights(whole_run, number))
    assert leftovers(killed_run) == []


def test_every_member_is_reported_and_published(whole_run, small_run):
    assert sorted(each["member"] for each in events(whole_run, "train_ensemble", "member")) == [0, 1, 2, 3]
    assert len(events(whole_run, "train_ensemble", "epoch")) == 4 * 3
    assert not same(weights(whole_run, 0), weights(small_run, 0))  # of the same seed, trained alone


def test_a_lost_member_is_trained_again_with_its_group_and_published_alone(whole_run, tmp_path):
    folder = tmp_path / "tiny"
    shutil.copytree(whole_run, folder)
    before = weights(folder, 2)
    others = {
        number: (folder / f"ensemble/member-{number:03d}/model.safetensors").stat().st_mtime_ns for number in (0, 1, 3)
    }
    shutil.rmtree(folder / "ensemble/member-002")
    seen = len(events(folder))
    run_stages(Run(tiny(tmp_path, *PAIRS, *HERE)), ["train_ensemble"])
    assert same(weights(folder, 2), before)
    assert {
        number: (folder / f"ensemble/member-{number:03d}/model.safetensors").stat().st_mtime_ns for number in others
    } == others
    new = [each for each in events(folder)[seen:] if each["event"] in ("epoch", "member")]
    assert {each["member"] for each in new if each["event"] == "epoch"} == {2, 3}
    assert [each["member"] for each in new if each["event"] == "member"] == [2]


def test_workers_share_a_group_where_there_are_fewer_groups_than_workers(ray_session, tmp_path):
    words = ("ensemble.objective=joint", "ensemble.epochs=1", "cluster.num_workers=2")
    run_stages(Run(tiny(tmp_path, *words)), ["train_ensemble"])
    folder = tmp_path / "tiny"
    assert sorted(each["member"] for each in events(folder, "train_ensemble", "member")) == [0, 1, 2, 3]
    assert len(events(folder, "train_ensemble", "epoch")) == 4  # reported by one of the two
    assert events(folder, event="restart") == []
    assert leftovers(folder) == []
