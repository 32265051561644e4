"""`--plan`: says what there is to do and why, starts nothing, writes nothing."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from support import REPO

STAGES = ["train_ensemble", "predict", "tune", "distill", "evaluate"]


def test_a_plan_starts_nothing_and_makes_nothing(path, call):
    code, out, errors = call("run", path, "--plan", "data.unknown={patches: photo_patches}")
    assert (code, errors) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert list(lines) == ["run", "data", *STAGES, "resources", "in"]
    assert lines["in"].startswith("in this process train_ensemble, predict, distill, evaluate: over before")
    assert "in this process" not in call("run", path, "--plan", "cluster.local=false")[1]
    assert "to do  0/5 members done; whole stage: 5 member-epochs of 200 rows" in lines["train_ensemble"]
    assert "waits  after train_ensemble" in lines["predict"]
    assert re.search(r"rows x 5 members, up to [\d.]+ [kM]B of shards", lines["predict"])
    assert "off    tune.num_trials=0" in lines["tune"]
    assert "enough for 2 workers" in lines["resources"]
    assert not (path.parent / "runs").exists()


def test_a_plan_says_what_is_done_and_why_something_is_not(predicted, call):
    out = call("run", predicted, "--plan")[1]
    assert "train_ensemble  done   5/5 members done" in out
    assert "predict         done   4/4 splits done" in out
    assert "distill         to do  0/1 students done" in out
    out = call("run", predicted, "--plan", "ensemble.learning_rate=0.5")[1]
    assert "0/5 members done, 5 redone because ensemble.learning_rate: 0.001 -> 0.5" in out
    out = call("run", predicted, "--plan", "ensemble.num_members=7")[1]
    assert "train_ensemble  to do  5/7 members done" in out
    out = call("run", predicted, "--plan", "predict.dtype=float32")[1]
    assert "0/4 splits done, 4 redone because predict.dtype: float16 -> float32" in out
    out = call("run", predicted, "--plan", "tune.num_trials=3", "tune.space.head_width=[2, 4]")[1]
    assert re.search(
        r"tune +to do  0/1 searches done; whole stage: 3 trials of 1 kind, 6 epochs of 200 rows at most", out
    )


def test_a_plan_and_a_run_that_is_done_do_not_even_import_ray(predicted):
    """In a process of its own, as other tests may have imported it here."""
    script = (
        "import sys; from hydra_ray.cli import main; recipe = sys.argv[1]\n"
        "words = [['run', recipe, '--plan'], ['train_ensemble', recipe], ['predict', recipe]]\n"
        "codes = [main(each) for each in words]\n"
        "print('codes', codes, 'ray' in sys.modules)"
    )
    found = subprocess.run(
        [sys.executable, "-c", script, str(predicted)], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert found.stdout.splitlines()[-1] == "codes [0, 0, 0] False", found.stdout + found.stderr
    events = (predicted.parent / "runs" / "tiny" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in events] == ["skipped", "skipped"]


def test_a_plan_refuses_what_a_run_would_refuse(path, call):
    refused = {
        "students.hydra.terms=[{import_path: nowhere:f, weight: 1}]": "students.hydra.terms.0.import_path=nowhere:f",
        "transfer.views=[{view: nowhere:f}]": "transfer.views.0.view=",
        "ensemble.architecture=nowhere:f": "ensemble.architecture=",
        "cluster.num_workers=999": "cluster.num_workers=999",
    }
    for word, line in refused.items():
        code, out, errors = call("run", path, "--plan", word)
        assert (code, out, errors.count("\n")) == (2, "", 1), (word, out, errors)
        assert line in errors


def test_a_reader_that_has_read_enough_is_no_error(path):
    """As in `--plan | head -1`: nobody reads any more."""
    read, write = os.pipe()
    os.close(read)
    words = [sys.executable, "-m", "pipelines.run", str(path), "--plan"]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, text=True, cwd=REPO, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_plan_of_several_runs_says_what_they_share(path, call):
    code, out, errors = call("plan", path, "--each", "seed=0,1", "--each", "distill.temperature=1,2")
    assert (code, errors) == (0, "")
    plans = [each for each in out.split("\n\n") if each.strip()]
    assert [each.splitlines()[0].rpartition("/")[2] for each in plans] == [
        f"seed={seed},temperature={temperature}" for seed in (0, 1) for temperature in (1, 2)
    ]
    assert ["shared          5 of these members" in each for each in plans] == [False, True, False, True]


def test_a_plan_says_how_long_stages_take_where_it_is_asked(path, call):
    code, out, errors = call("plan", path, "--time", "ensemble.epochs=1000000", "cluster.num_workers=1")
    assert (code, errors) == (0, "")
    times = [line for line in out.splitlines() if line.startswith("time ")]
    assert len(times) == 3
    assert re.fullmatch(r"time +train_ensemble +about \d+ (minutes|hours|days) on 1 worker", times[0])
    assert re.fullmatch(r"time +predict +about .* in this process", times[1])


def test_a_plan_says_what_stages_cost_where_a_price_is_given(path, call):
    words = ["ensemble.epochs=1000000", "cluster.num_workers=2", "cluster.local=false"]
    code, out, errors = call("run", path, "--plan", "--hourly-cost", "2.5", *words)
    assert (code, errors) == (0, "")
    assert sum(line.startswith("time ") for line in out.splitlines()) == 3, "a price asks for the times"
    costs = [line for line in out.splitlines() if line.startswith("cost ")]
    found = [re.fullmatch(r"cost +(\w+) +([\d,.]+) hours x 2 \w+ x 2\.5 = ([\d,.]+)", line) for line in costs[:3]]
    assert [each and each[1] for each in found] == ["train_ensemble", "predict", "distill"]
    hours, prices = ([float(each[part].replace(",", "")) for each in found] for part in (2, 3))
    assert prices[0] == pytest.approx(2 * 2.5 * hours[0], abs=0.03)
    total = re.fullmatch(r"cost +in all +([\d,.]+) hours, ([\d,.]+); without .*", costs[3])
    assert [float(each.replace(",", "")) for each in total.groups()] == pytest.approx(
        [sum(hours), sum(prices)], abs=0.1
    )
    assert costs[4:] == []


def test_a_plan_for_another_machine_says_where_it_was_measured(path, call, monkeypatch):
    from hydra_ray.cli.plan import where_measured
    from hydra_ray.config import ClusterConfig

    assert where_measured(ClusterConfig(use_gpu=False)) is None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    line = where_measured(ClusterConfig(use_gpu=False))
    assert line.startswith("measured on this machine (")
    assert line.endswith("), but the workers are the cluster's: plan on one of their kind")
    line = where_measured(ClusterConfig(use_gpu=True))
    assert "it has no GPU, the workers have" in line or torch.cuda.is_available()


@pytest.mark.parametrize("price", ["-1", "0", "nan", "inf", "1e999", "two", "", "2,5"])
def test_a_price_that_is_none_is_one_line(path, call, price):
    for command in (["plan", path], ["run", path, "--plan"]):
        code, out, errors = call(*command, f"--hourly-cost={price}")
        assert (code, out, errors.count("\n")) == (2, "", 1)
        assert errors == f"error: --hourly-cost={price}: not a price; give a number above 0, e.g. --hourly-cost=2.5\n"


@pytest.mark.parametrize("word", ["--time", "--hourly-cost=2.5"])
def test_what_is_of_a_plan_is_refused_without_one(path, call, word):
    code, out, errors = call("run", path, word)
    assert (code, out) == (2, "")
    assert errors == f"error: {word.partition('=')[0]}: is of a plan, which starts nothing; add --plan\n"
