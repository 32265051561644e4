"""`--plan`: says what there is to do and why, starts nothing, writes nothing."""

import json
import os
import re
import subprocess
import sys

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
