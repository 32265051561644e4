"""tune: a search on the shards that are there; what it finds is an overlay that distill takes."""

import json

import pandas as pd
import pytest
from support import copied, events, leftovers, tiny

from hydra_ray.cluster.chain import run_stages
from hydra_ray.config import parse_yaml, with_overlay
from hydra_ray.errors import StageError
from hydra_ray.stages import Run

pytestmark = pytest.mark.timeout(400)
COLUMNS = [
    "trial",
    "head_width",
    "num_heads",
    "temperature",
    "objective",
    "epochs",
    "stopped_early",
    "seconds",
    "error",
]


def check_search(folder, config, num_trials):
    table = pd.read_parquet(folder / "tune" / "trials.parquet")
    assert list(table.columns) == COLUMNS
    assert len(table) == table["trial"].nunique() == num_trials
    assert table["error"].isna().all()
    assert set(table["head_width"]) <= {2, 4}
    assert set(table["num_heads"]) <= {2, 4}
    assert table["temperature"].between(1, 3).all()
    best = parse_yaml((folder / "tune" / "best.yaml").read_text())
    row = table.loc[table["objective"].idxmin()]
    assert best == {"distill": {key: pytest.approx(row[key]) for key in ("head_width", "num_heads", "temperature")}}
    assert json.loads((folder / "tune" / "manifest.json").read_text())["best"]["objective"] == table["objective"].min()
    overlaid = with_overlay(config, best, "tune/best.yaml")
    assert overlaid.num_heads in (2, 4)
    return table


def test_functions_with_asha(chain, project):
    chain.require_success()
    folder = project / "runs" / "tiny"
    table = check_search(folder, tiny(project / "runs"), 4)
    assert table["epochs"].between(2, 4).all()
    assert sorted(each["trial"] for each in events(folder, "tune", "trial")) == sorted(table["trial"])
    assert len(events(folder, "tune", "trial_epoch")) == table["epochs"].sum()


def test_optuna_without_early_stopping_and_students_from_what_it_found(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    config = tiny(tmp_path, "tune.search=optuna", "tune.scheduler=none", "tune.num_trials=3", "distill.from_tune=true")
    config = with_overlay(config, {"students": ["hydra"], "cluster": {"num_workers": 1}}, "test")
    run_stages(Run(config), ["tune", "distill"])
    table = check_search(folder, config, 3)
    assert (table["epochs"] == 4).all()
    assert not table["stopped_early"].any()
    best = parse_yaml((folder / "tune" / "best.yaml").read_text())["distill"]
    student = json.loads((folder / "students" / "hydra" / "model.json").read_text())
    assert {key: student["key"]["distill"][key] for key in ("head_width", "temperature")} == {
        key: best[key] for key in ("head_width", "temperature")
    }
    assert student["key"]["num_members"] == best["num_heads"]
    assert leftovers(folder) == []


def test_a_search_of_which_every_trial_fails_says_so_in_one_line(small_run, tmp_path):
    copied(small_run, tmp_path)
    config = tiny(tmp_path, "distill.body=own_nets:failing_mlp", "tune.num_trials=2")
    with pytest.raises(StageError, match=r"^tune: all 2 trials failed: ZeroDivisionError") as raised:
        run_stages(Run(config), ["tune"])
    assert "\n" not in str(raised.value)
