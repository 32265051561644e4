"""Nodes that go and come while members are trained: the command says so, and goes on with those there are."""

import signal

import pytest
from support import Command, events, processes, wait_for

SLOW = ["ensemble.options.seconds=0.4", "ensemble.epochs=6"]  # 4 members x 6 epochs x 0.4 s a step: time to lose a node


@pytest.fixture(scope="module")
def weights(project, tmp_path_factory):
    """Of the members that nobody disturbed."""
    storage = tmp_path_factory.mktemp("undisturbed")
    words = ["pipelines.train_ensemble", "tiny.yaml", f"storage={storage}", "ensemble.epochs=6", "cluster.local=true"]
    Command([*words, "ensemble.options.seconds=0.4"], project).finish(300).require_success()
    return members(storage)


def members(storage):
    """Bytes of each member's weights."""
    return {path.parent.name: path.read_bytes() for path in storage.glob("tiny/ensemble/*/model.safetensors")}


def training(project, storage, nodes, *words):
    words = ["pipelines.train_ensemble", "tiny.yaml", f"storage={storage}", *SLOW, *words]
    return Command(words, project, nodes.for_commands)


def first_epoch_is_done(storage):
    wait_for(lambda: events(storage / "tiny", event="epoch"), 240, "the first epoch")


def test_a_command_waits_for_another_node(start_nodes, project, tmp_path, weights):
    nodes = start_nodes(head_cpus=0)
    lost, _ = nodes.add(), nodes.add()
    command = training(project, tmp_path, nodes, "cluster.num_workers=2")
    first_epoch_is_done(tmp_path)
    nodes.kill(lost)
    wait_for(lambda: events(tmp_path / "tiny", event="restart"), 240, "the loss is noticed")
    nodes.add()
    command.finish(300).require_success()
    assert "starting again (1 of at most 3 times)" in command.out
    assert members(tmp_path) == weights


def test_elastic_workers_go_on_with_fewer(start_nodes, project, tmp_path, weights):
    nodes = start_nodes(head_cpus=0)
    lost, _ = nodes.add(), nodes.add()
    command = training(project, tmp_path, nodes, "cluster.num_workers=[1, 2]")
    first_epoch_is_done(tmp_path)
    nodes.kill(lost)
    command.finish(300).require_success()
    assert members(tmp_path) == weights


def test_a_node_that_is_taken_back_is_no_failure(start_nodes, project, tmp_path, weights):
    nodes = start_nodes(head_cpus=0)
    lost, _ = nodes.add(), nodes.add()
    command = training(project, tmp_path, nodes, "cluster.num_workers=[1, 2]", "cluster.max_failures=0")
    first_epoch_is_done(tmp_path)
    nodes.take_back(lost, seconds=5)
    command.finish(300).require_success()
    assert "a machine was taken back (preempted); starting again (restarted 1 times: 1 preempted)" in command.out
    assert events(tmp_path / "tiny", event="restart")[-1]["preempted"] == 1
    assert members(tmp_path) == weights


def test_a_node_without_a_worker_can_go(start_nodes, project, tmp_path, weights):
    nodes = start_nodes(head_cpus=0)
    added = [nodes.add(), nodes.add()]
    command = training(project, tmp_path, nodes, "cluster.num_workers=1")
    first_epoch_is_done(tmp_path)
    (idle,) = [mark for mark in added if not processes(mark, "ray::RayTrainWorker")]
    nodes.kill(idle)
    command.finish(300).require_success()
    assert not events(tmp_path / "tiny", event="restart")
    assert members(tmp_path) == weights


def test_a_command_on_a_cluster_ends_in_order(start_nodes, project, tmp_path):
    nodes = start_nodes(head_cpus=1)
    command = training(project, tmp_path, nodes)
    first_epoch_is_done(tmp_path)
    command.send(signal.SIGTERM)
    command.finish(60)
    assert command.code == 143
    assert command.err == "terminated; the same command goes on from here\n"
