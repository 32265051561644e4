"""A cluster that is not there yet: stages ask for it, say what they wait for, and go on, or give up in one line."""

from support import Command, events

SMALL = {"small": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}}
TWO = ["cluster.num_workers=2"]
QUICK = ["tune.num_trials=2", "tune.epochs=1", "ensemble.options.seconds=0.0"]


def command(project, storage, nodes, *words):
    words = ["pipelines.run", "tiny.yaml", f"storage={storage}", *QUICK, *TWO, *words]
    return Command(words, project, nodes.for_commands)


def test_every_stage_works_on_a_cluster_that_has_no_cpu_yet_and_whose_head_never_has(start_nodes, project, tmp_path):
    nodes = start_nodes(head_cpus=0, node_types=SMALL)
    done = command(project, tmp_path, nodes).finish(600).require_success()
    assert "0 CPUs, 0 GPUs now: stages wait for room for their workers, 10 minutes each at most" in done.out
    assert "waits for room on the cluster: 2 x {CPU: 1}: 0 of 2 there" in done.out
    assert "there is room for 2 x {CPU: 1} after" in done.out
    (waited,) = events(tmp_path / "tiny", event="waited")
    assert (waited["stage"], waited["workers"]) == ("train_ensemble", 2)
    finished = [each["stage"] for each in events(tmp_path / "tiny", event="done")]
    assert finished == ["train_ensemble", "predict", "tune", "distill", "evaluate"]


def test_a_folder_that_another_machine_does_not_see_is_refused(start_nodes, project, tmp_path):
    nodes = start_nodes(head_cpus=1)
    storage = tmp_path / "runs"
    storage.mkdir()
    nodes.add(hides=storage)
    done = command(project, storage, nodes).finish(300)
    assert done.code == 2
    line = done.err.strip()
    assert line.startswith(f"error: storage={storage}/tiny: ")
    assert "does not see this folder; use one that all machines of the cluster see" in line
    assert not list((storage / "tiny").glob(".*"))


def test_a_wait_ends(start_nodes, project, tmp_path):
    nodes = start_nodes(head_cpus=1)
    done = command(project, tmp_path, nodes, "cluster.wait_minutes=0.2").finish(300)
    assert done.code == 2
    assert "waits for room on the cluster: 2 x {CPU: 1}: 1 of 2 there" in done.out
    assert done.err.splitlines() == [
        "error: cluster.wait_minutes=0.2: there was no room for 2 x {CPU: 1}: 1 of 2 there; ask for less "
        "(cluster.num_workers=1), wait longer, or see `ray status` for why no machines come"
    ]
    refused = command(project, tmp_path, nodes, "cluster.wait_minutes=0").finish(300)
    assert refused.code == 2
    assert "needs 2 CPUs, there are 1" in refused.err
