"""A trial as Tune runs it: what goes wrong in the fit is its result, so that it is not taken for lost and run again."""

import re
from dataclasses import replace

import pytest
import torch
from helpers.shards import synthetic, write, write_views
from ray.train import WorkerGroupError
from ray.tune.search import Searcher

from hydra_ray.cluster import trial_jobs
from hydra_ray.cluster.distill import StudentInputs
from hydra_ray.cluster.trial_control import InOrder, KindSearch, StopInOrder
from hydra_ray.cluster.trial_jobs import FAILED, Job
from hydra_ray.config.load import validate
from hydra_ray.config.search import Goal
from hydra_ray.config.students import HydraConfig
from hydra_ray.errors import DivergedError, StageError
from hydra_ray.models import count_macs
from hydra_ray.shards import Sharing
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training import DistributedContext, distil
from hydra_ray.training.trials import StoppingRule, Trial, best_of, table_of

RATES = [0.01, 1e39]
SPACE = {"learning_rate": RATES}
DIVERGED = re.compile(
    r"DivergedError: student kd: (loss|weights|validation_\w+) (is|are) not finite (at|after) .*epoch 1; "
    r"lower distill.learning_rate \(1e39\)"
)


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """Shards of four members, and how students are distilled from them."""
    folder = Folder.open(str(tmp_path_factory.mktemp("shards")))
    write_views(folder / "transfer", 1, num_rows=44, members=4)
    write(folder / "validation", "part-000-00000.parquet", synthetic(20, members=4, seed=0, view=7))
    tree = {"body_options": {"hidden": [8]}, "epochs": 2, "batch_size": 12, "optimizer": "sgd"}
    data, ensemble = {"source": "digits"}, {"num_members": 4}
    config = validate({"name": "x", "data": data, "ensemble": ensemble, "students": ["kd"], "distill": tree}, "here")
    num_outputs = load(folder / "validation").logits_NMC.shape[2]
    source = StudentInputs(
        CLASSIFICATION, folder / "transfer", folder / "validation", members=[0, 1, 2, 3], num_outputs=num_outputs
    )
    return Job(config, source, source.rows(1, Sharing()))


def reports_of(job, monkeypatch, rate, run=trial_jobs._trial):
    """What a trial reports; nothing may be raised, which Tune would take for a death."""
    found = []
    monkeypatch.setattr(trial_jobs.tune, "report", found.append)
    run({"kind": "kd", "number": 0, "parameters": {"learning_rate": rate}}, job)
    return found


def test_a_trial_of_half_the_heads_is_compared_with_all_members_and_says_what_it_costs(job, monkeypatch):
    """Its student is that of the distill stage, whose figures are of its own members."""
    two = job.config.model_copy(update={"students": [HydraConfig(num_heads=2)]})
    found = []
    monkeypatch.setattr(trial_jobs.tune, "report", found.append)
    trial_jobs._trial({"kind": "hydra", "number": 0, "parameters": {"num_heads": 2}}, replace(job, config=two))
    plan = job.source.plan(two, "hydra", job.rows.held_out.rows.inputs.shape[1:])
    scaling, ranks, own = job.source.scaling(job.rows, 2), DistributedContext(), []
    batches = job.source.batches(two, plan, ranks, job.rows)
    student = distil(
        plan, batches, job.rows.held_out, scaling, device=torch.device("cpu"), ranks=ranks, checkpoints=None,
        report=own.append,
    )  # fmt: skip
    assert found[-1]["validation_nll"] == own[-1]["validation_nll"]
    assert found[-1]["validation_member_kl"] > own[-1]["validation_member_kl"]
    assert found[-1]["validation_rank_correlation"] != own[-1]["validation_rank_correlation"]
    assert {each["macs"] for each in found} == {count_macs(student, plan.spec.input_shape)}


def searched(job, monkeypatch, rates):
    """The table and the best of a search whose trials draw these rates."""
    trials = [Trial(number, {}) for number in range(len(rates))]
    search = KindSearch("kd", SPACE, "random", 0, Goal(("validation_nll",)), StoppingRule("none", 1, 2), trials)
    order, control, runs = InOrder([search], 1), StopInOrder([search]), 0
    while (config := order.suggest(f"id{runs}")) is not Searcher.FINISHED:
        tuned = type("Tuned", (), {"config": config})()
        for report in reports_of(job, monkeypatch, rates[config["number"]]):
            control.on_trial_result(None, tuned, report)
        order.on_trial_complete(f"id{runs}", {"time_total_s": 1.0})
        runs += 1
    assert all(trial.is_over for trial in trials)
    assert runs == len(rates), "no trial is run twice"
    rows = table_of(search.trials, list(SPACE), search.goal, search.rule)
    return rows, lambda: best_of(rows, list(SPACE), search.goal, "kd")


def test_a_fit_that_diverges_is_a_failed_trial_and_the_search_goes_on(job, monkeypatch):
    rows, best = searched(job, monkeypatch, [RATES[1], RATES[0]])
    assert rows[0]["validation_nll"] is None
    assert DIVERGED.fullmatch(rows[0]["error"])
    assert rows[1]["error"] is None
    assert best()["trial"] == "001"


def test_a_search_of_which_every_trial_diverged_is_one_line(job, monkeypatch):
    _, best = searched(job, monkeypatch, [RATES[1]] * 2)
    with pytest.raises(StageError, match=r"tune: all 2 trials of kd failed: .*lower distill\.learning_rate") as raised:
        best()
    assert len(str(raised.value).splitlines()) == 1


def test_a_fit_on_several_workers_that_diverges_is_a_failed_trial(job, monkeypatch):
    class Trainer:
        def fit(self):
            failures = {0: DivergedError("student kd: loss is not finite"), 1: RuntimeError("gloo: connection closed")}
            raise WorkerGroupError("two workers failed", failures)

    monkeypatch.setattr(trial_jobs, "_trainer", lambda config, job: Trainer())
    found = reports_of(job, monkeypatch, 0.01, run=trial_jobs._distributed_trial)
    assert found == [{FAILED: "DivergedError: student kd: loss is not finite"}]
