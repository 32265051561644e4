"""distill: students from the shards alone, the same for any number of workers, going on where a killed one was."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support import TWO_WORKERS, copied, events, kill_a_train_worker, leftovers, meanwhile, tiny, wait_for

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.losses.classification import hydra_loss
from hydra_ray.runs.model_store import load_published
from hydra_ray.runs.run import Run
from hydra_ray.shards.schema import load
from hydra_ray.training.student_figures import predict

pytestmark = pytest.mark.timeout(400)

# Two workers average the means of two half batches, one worker takes the mean of the whole batch: the same number up to
# the order of float32 sums, about 1e-7 of a gradient. AdamW divides by the gradient's own size and so passes a relative
# error on as it is. After the 64 steps of this recipe weights of size 1 differ by 2e-7; another batch or a missing
# average would show in the first step, by the learning rate of 1e-2.
TOLERANCE = 1e-5


def weights(run_folder, kind):
    return load_file(run_folder / f"students/{kind}/model.safetensors")


def test_both_students_are_published(small_run):
    for kind, heads in (("hydra", 3), ("kd", 1)):
        facts = json.loads((small_run / "students" / kind / "config.json").read_text())
        assert facts["kind"] == kind
        assert facts["key"]["num_members"] == (3 if kind == "hydra" else 4)
        assert load_published(Run(tiny(small_run.parent)).student(kind)).spec.num_heads == heads
    assert leftovers(small_run) == []


def test_heads_imitate_the_first_members_of_the_shards(small_run):
    run = Run(tiny(small_run.parent))
    losses = []
    for split in ("validation", "validation_views"):
        rows = load(run.shards(split).folder)
        student_NMC = predict(load_published(run.student("hydra")), rows.inputs).double()
        members_NMC = torch.tensor(rows.logits_NMC, dtype=torch.float64)[:, :3]
        losses.append(float(hydra_loss(student_NMC, members_NMC, 1.0).mean()))
    figure = events(small_run, "distill", "student")[0]["validation_member_kl"]
    assert figure == pytest.approx(sum(losses) / 2, rel=1e-6)


def test_figures_improve_and_phases_follow_each_other(small_run):
    epochs = [each for each in events(small_run, "distill", "epoch") if each["student"] == "hydra"]
    assert [each["phase"] for each in epochs] == ["mean", "heads", "heads", "heads"]
    assert [each["step"] for each in epochs] == [16, 32, 48, 64]
    assert epochs[-1]["validation_nll"] < epochs[0]["validation_nll"]


@pytest.mark.parametrize("kind", ["hydra", "kd"])
def test_two_workers_reach_the_weights_of_one_worker(small_run, chain, project, kind):
    chain.require_success()
    two, one = weights(small_run, kind), weights(project / "runs" / "tiny", kind)
    assert two.keys() == one.keys()
    for name in two:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=TOLERANCE)


def test_a_killed_worker_costs_a_few_steps_and_changes_nothing(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    shutil.rmtree(folder / "students")
    before = len(events(folder))

    def kill_in_second_phase():
        wait_for(lambda: list(folder.glob("students/.attempt-hydra@*/phase-1-*")), 120, "checkpoint of phase 1")
        kill_a_train_worker()

    with meanwhile(kill_in_second_phase):
        run_stages(Run(tiny(tmp_path, *TWO_WORKERS)), ["distill"])
    new = events(folder)[before:]
    assert len([each for each in new if each["event"] == "restart"]) == 1
    resumed = [each["resumed_at"] for each in new if each["event"] == "epoch" and each["resumed_at"]]
    assert resumed
    assert all(at % 4 == 0 or at % 16 == 0 for at in resumed)
    assert [each["student"] for each in new if each["event"] == "student"] == ["hydra", "kd"]
    for kind in ("hydra", "kd"):
        first, second = weights(small_run, kind), weights(folder, kind)
        assert all(torch.equal(first[name], second[name]) for name in first), kind
    assert leftovers(folder) == []


def test_a_team_is_distilled_and_judged_without_asking_anyone_again(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    before = len(events(folder))
    words = (
        "distill.members=[3, 1, 0]",
        "students=[hydra]",
        "students.hydra.num_heads=2",
        "tune.num_trials=0",
        "tune.space={}",
    )
    run = Run(tiny(tmp_path, *words))
    run_stages(run, ["train_ensemble", "predict", "distill", "evaluate"])
    new = events(folder)[before:]
    assert not [each for each in new if each["event"] in ("member", "shard")]
    rows = load(run.shards("test").folder)
    heads_NMC = predict(load_published(run.student("hydra")), rows.inputs).double()
    team_NMC = torch.tensor(rows.logits_NMC, dtype=torch.float64)[:, [3, 1]]
    expected = float(hydra_loss(heads_NMC, team_NMC, 1.0).mean())
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["fidelity"]["hydra_raw"]["member_kl"] == pytest.approx(expected, rel=1e-5)
    assert metrics["num_members"] == 4
