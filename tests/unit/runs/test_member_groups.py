"""Members of several architectures: each is keyed by its own, and all that asks them takes them as they are."""

import pytest
import torch
from helpers.finished import loaded, publish_members, publish_shards, publish_student, recipe

from hydra_ray.models import Ensemble, Member
from hydra_ray.runs import check_networks, load_published, stage_times
from hydra_ray.runs.fingerprints import member_key

pytestmark = pytest.mark.usefixtures("one_thread")
TEXT = """
data: {source: digits, max_train_rows: 200}
ensemble: {epochs: 1}
transfer: {views: [{view: identity}]}
distill: {batch_size: 64, epochs: 1, mean_phase_epochs: 1, head_width: 2}
cluster: {num_workers: 2, object_store_mb: 100}
"""
MLP = "{architecture: mlp, options: {hidden: [4]}, count: 3}"
CNN = "{architecture: cnn, options: {widths: [2, 4]}, count: 2}"


@pytest.fixture
def path(tmp_path):
    return recipe(tmp_path, TEXT)


def keys(run):
    return [member_key(run, number) for number in range(run.config.ensemble.num_members)]


def test_a_member_of_a_group_is_the_member_of_an_ensemble_of_its_sort(path):
    mixed = keys(loaded(path, f"ensemble.members=[{MLP}, {CNN}]"))
    alone = keys(loaded(path, "ensemble.num_members=3", "ensemble.options={hidden: [4]}"))
    cnns = keys(
        loaded(path, "ensemble.num_members=5", "ensemble.architecture=cnn", "ensemble.options={widths: [2, 4]}")
    )
    assert mixed == [*alone, *cnns[3:]]


def test_adding_a_group_leaves_the_members_before_it(path):
    publish_members(loaded(path, f"ensemble.members=[{MLP}]"))
    run = loaded(path, f"ensemble.members=[{MLP}, {CNN}]")
    assert [member.is_done for member in run.members()] == [True] * 3 + [False] * 2


def test_from_members_to_a_student(path):
    run = loaded(path, f"ensemble.members=[{MLP}, {CNN}]")
    check_networks(run)
    publish_members(run)
    members = [load_published(artifact) for artifact in run.members()]
    assert [member.spec.architecture for member in members] == ["mlp"] * 3 + ["cnn"] * 2
    publish_shards(run)
    student = load_published(publish_student(run, "hydra"))
    assert (student.spec.architecture, student.spec.options, student.spec.num_heads) == ("mlp", {"hidden": [4]}, 5)
    other = loaded(
        path, f"ensemble.members=[{MLP}, {CNN}]", "distill.body=cnn", "distill.body_options={widths: [2, 4]}"
    )
    assert load_published(publish_student(other, "hydra")).spec.architecture == "cnn"


def test_the_plan_counts_every_group(path):
    run = loaded(path, f"ensemble.members=[{MLP}, {CNN}]")
    assert [each.name for each in stage_times(run, 2)] == ["train_ensemble", "predict", "distill"]


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
def test_one_pass_through_several_sorts_keeps_the_order_of_members(path, order, monkeypatch):
    run = loaded(path, f"ensemble.members=[{MLP}, {CNN}]")
    publish_members(run)
    found = [load_published(artifact) for artifact in run.members()]
    members = [found[place] for place in order if isinstance(found[place], Member)]
    inputs = torch.from_numpy(run.data.splits["test"].read_all().inputs[:9])
    with torch.no_grad():
        expected = torch.stack([member(inputs) for member in members], dim=1)
    assert torch.equal(Ensemble(members)(inputs), expected)
    # as on a GPU, where stacks of small networks are faster
    monkeypatch.setattr("hydra_ray.models.ensemble.faster_stacked", lambda member: member.spec.architecture == "mlp")
    grouped = Ensemble(members)
    assert type(grouped.members).__name__ == "InGroups"
    torch.testing.assert_close(grouped(inputs), expected, atol=1e-5, rtol=1e-5)
