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


def in_the_middle(start_nodes, project, storage, *words):
    """A command whose members have begun, on a cluster of two nodes: cluster, command, and the nodes' marks."""
    nodes = start_nodes(head_cpus=0)
    added = [nodes.add(), nodes.add()]
    command = training(project, storage, nodes, *words)
    first_epoch_is_done(storage)
    return nodes, command, added


def first_epoch_is_done(storage):
    wait_for(lambda: events(storage / "tiny", event="epoch"), 240, "the first epoch")


def test_a_command_waits_for_another_node(start_nodes, project, tmp_path, weights):
    nodes, command, added = in_the_middle(start_nodes, project, tmp_path, "cluster.num_workers=2")
    nodes.kill(added[0])
    wait_for(lambda: events(tmp_path / "tiny", event="restart"), 240, "the loss is noticed")
    nodes.add()
    command.finish(300).require_success()
    assert "starting again (1 of at most 3 times)" in command.out
    assert members(tmp_path) == weights


def test_elastic_workers_go_on_with_fewer(start_nodes, project, tmp_path, weights):
    nodes, command, added = in_the_middle(start_nodes, project, tmp_path, "cluster.num_workers=[1, 2]")
    nodes.kill(added[0])
    command.finish(300).require_success()
    assert members(tmp_path) == weights


def test_a_node_that_is_taken_back_is_no_failure(start_nodes, project, tmp_path, weights):
    words = ["cluster.num_workers=[1, 2]", "cluster.max_failures=0"]
    nodes, command, added = in_the_middle(start_nodes, project, tmp_path, *words)
    nodes.take_back(added[0], seconds=5)
    command.finish(300).require_success()
    assert "a machine was taken back (preempted); starting again (restarted 1 times: 1 preempted)" in command.out
    assert events(tmp_path / "tiny", event="restart")[-1]["preempted"] == 1
    assert members(tmp_path) == weights


def test_a_node_without_a_worker_can_go(start_nodes, project, tmp_path, weights):
    nodes, command, added = in_the_middle(start_nodes, project, tmp_path, "cluster.num_workers=1")
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
