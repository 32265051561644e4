"""train_ensemble: every member published, each of them a matter of (seed, member) alone."""

import signal

import pytest
from safetensors.numpy import load_file
from support import TWO_WORKERS, WORKERS, events, leftovers, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.errors import StageError, UserError
from hydra_ray.runs.run import Run
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(400)


def weights(run_folder, number):
    return load_file(run_folder / f"ensemble/member-{number:03d}/model.safetensors")


def assert_equal_weights(first, second):
    assert first.keys() == second.keys()
    for name in first:
        assert (first[name] == second[name]).all(), name


def test_all_members_are_published_and_differ(small_run):
    assert sorted(path.name for path in (small_run / "ensemble").iterdir()) == [f"member-{n:03d}" for n in range(4)]
    assert sorted(each["member"] for each in events(small_run, "train_ensemble", "member")) == [0, 1, 2, 3]
    assert len(events(small_run, "train_ensemble", "epoch")) == 4 * 3
    assert (weights(small_run, 0)["network.head.weight"] != weights(small_run, 1)["network.head.weight"]).any()


def test_members_of_two_workers_equal_those_of_one_bit_for_bit(small_run, chain, project):
    chain.require_success()
    for number in range(4):
        assert_equal_weights(weights(small_run, number), weights(project / "runs" / "tiny", number))


def test_adding_members_trains_only_the_new_ones_though_a_worker_is_killed(small_run, extended_run):
    new = events(extended_run, "train_ensemble")[len(events(small_run, "train_ensemble")) :]
    assert {e["member"] for e in new if e["event"] in ("epoch", "member")} == {4, 5}
    assert sorted(e["member"] for e in new if e["event"] == "member") == [4, 5]
    assert len([e for e in new if e["event"] == "restart"]) == 1
    run = Run(tiny(extended_run.parent, "ensemble.num_members=6"))
    assert [member.status() for member in run.members()] == ["done"] * 6
    for number in range(4):
        assert_equal_weights(weights(small_run, number), weights(extended_run, number))
    assert leftovers(extended_run) == []


def test_ctrl_c_is_pythons_again_after_the_workers_are_done(small_run):
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(("words", "restarts"), [(WORKERS, 1), ((), 0)], ids=["in a worker", "here"])
def test_a_failing_network_ends_in_one_line_after_one_more_start(ray_session, tmp_path, capfd, words, restarts):
    config = tiny(tmp_path, "ensemble.architecture=own_nets:failing_mlp", *words)
    with pytest.raises(StageError) as raised:
        run_stages(Run(config), ["train_ensemble"])
    line, log = str(raised.value), tmp_path / "tiny" / "error.log"
    assert line.startswith("train_ensemble: ZeroDivisionError: no rows in this batch (")
    assert "own_nets.py:" in line
    assert "in forward" in line
    folder = Folder.open(str(log.parent))
    last_lines = f"; what workers wrote last: {folder}/workers.log" if words else ""
    assert line.endswith(f"traceback in {folder}/error.log{last_lines}")
    assert "\n" not in line
    assert "raise self.error" in log.read_text()
    assert len(events(tmp_path / "tiny", event="restart")) == restarts
    assert "Traceback" not in "".join(capfd.readouterr())
    assert leftovers(tmp_path / "tiny") == []


def test_what_the_user_can_mend_is_told_by_a_worker_and_not_tried_again(ray_session, tmp_path):
    config = tiny(tmp_path, "ensemble.architecture=own_nets:refusing_mlp", *TWO_WORKERS)
    with pytest.raises(UserError, match=r"^ensemble.options.width=16: too narrow for this network$"):
        run_stages(Run(config), ["train_ensemble"])
    assert events(tmp_path / "tiny", event="restart") == []
    assert events(tmp_path / "tiny", event="failed")
