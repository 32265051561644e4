"""The whole chain by the real command: quiet, complete, skipped when done, redone where a key changed."""

import pytest
from support import Command, copied, events, leftovers, wait_for

pytestmark = pytest.mark.timeout(400)
STAGES = ["train_ensemble", "predict", "tune", "distill", "evaluate"]


@pytest.fixture
def folder(chain, project):
    chain.require_success()
    return project / "runs" / "tiny"


def test_every_stage_is_done_with_a_network_from_the_working_directory(folder):
    assert [each["stage"] for each in events(folder, event="done")] == STAGES
    assert (folder / "config.json").exists()
    assert (folder / "report" / "report.html").exists()
    assert leftovers(folder) == []


def test_the_terminal_has_our_lines_and_no_others(chain):
    chain.require_success()
    assert chain.err == ""
    before_table = chain.out[: chain.out.index("predictor")].splitlines()
    words = [line.split()[0] for line in before_table if line and not line.startswith(" ")]
    assert set(words[: -len(STAGES)]) == {"data"}, "what is read comes first"
    assert words[-len(STAGES) :] == STAGES
    assert "[4/4] member" in chain.out
    assert "affine x2" in chain.out
    assert chain.out.splitlines()[-1] == "report: runs/tiny/report/report.html"


def test_no_process_is_left(chain):
    wait_for(lambda: not chain.own_processes(), 15, "end of all processes")


def test_the_same_command_again_skips_everything_without_ray(chain, project, folder):
    before = len(events(folder))
    again = Command(chain.words, project, {"PYTHONPROFILEIMPORTTIME": "1"}).finish(60).require_success()
    new = events(folder)[before:]
    assert [(each["stage"], each["event"]) for each in new] == [(stage, "skipped") for stage in STAGES]
    imported = {line.rsplit("|", 1)[-1].strip() for line in again.err.splitlines()}
    assert "hydra_ray.runs.run" in imported
    assert "ray" not in imported


def test_the_plan_names_the_key_that_changed(chain, project):
    plan = Command([*chain.words, "distill.learning_rate=2e-2", "--plan"], project).finish(60).require_success()
    lines = {line.split()[0]: line for line in plan.out.splitlines()}
    assert "done" in lines["train_ensemble"]
    assert "done" in lines["predict"]
    assert "redone because distill.learning_rate: 0.01 -> 0.02" in lines["tune"]
    assert "waits" in lines["evaluate"]


def test_a_changed_key_redoes_only_what_depends_on_it(project, folder, tmp_path):
    """`students.hydra.head_init_noise` matters to heads alone, so the `kd` student stays."""
    copy = copied(folder, tmp_path)
    before = len(events(copy))
    words = [f"storage={tmp_path}", "students.hydra.head_init_noise=0.2"]
    changed = Command(["pipelines.distill", "tiny.yaml", *words], project).finish().require_success()
    new = events(copy)[before:]
    assert {each["student"] for each in new if each["event"] in ("epoch", "student")} == {"hydra"}
    assert "1/2 students done, 1 redone because students.hydra.head_init_noise: 0.1 -> 0.2" in changed.out
    assert leftovers(copy) == []


def test_a_stage_whose_input_is_missing_says_which_command_makes_it(project, tmp_path):
    missing = Command(["pipelines.distill", "tiny.yaml", f"storage={tmp_path}"], project).finish(60)
    assert missing.code == 2
    assert missing.err.startswith("error: ")
    assert missing.err.endswith("no shards there; run the predict stage first\n")
    assert missing.err.count("\n") == 1
