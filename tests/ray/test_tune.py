"""tune: a search for each kind of student on the shards that are there; what it finds, distill takes for that kind."""

import gc
import json
import os
import signal

import pandas as pd
import pytest
from support import MARK, copied, events, leftovers, meanwhile, processes, tiny, wait_for

from hydra_ray.cluster import signals as interrupts
from hydra_ray.cluster import tune as search
from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.config.load import with_overlay
from hydra_ray.config.search import overlay_of
from hydra_ray.config.yaml_files import parse_yaml
from hydra_ray.errors import StageError
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(600)
KEYS = {"hydra": ["head_width", "num_heads", "temperature"], "kd": ["head_width", "temperature"]}
PLAIN = ["students=[hydra]"]


def table_of(folder, kind="hydra"):
    return pd.read_parquet(folder / "tune" / kind / "trials.parquet")


def found_by(folder, kind="hydra"):
    """All of a search's result that must not depend on how it went."""
    return table_of(folder, kind).drop(columns="seconds"), (folder / "tune" / kind / "best.yaml").read_text()


def check_search(folder, config, kind, num_trials):
    table, keys = table_of(folder, kind), KEYS[kind]
    ended = ["epochs", "stopped_early", "seconds", "error"]
    assert list(table.columns) == ["trial", *keys, "validation_nll", "macs", "macs_ratio", "on_front", *ended]
    assert table["macs_ratio"].between(0.1, 10).all()
    assert list(table["trial"]) == [f"{number:03d}" for number in range(num_trials)]
    assert table["error"].isna().all()
    assert set(table["head_width"]) <= {2, 4}
    assert set(table.get("num_heads", [])) <= {2, 4}
    assert table["temperature"].between(1, 3).all()
    best = parse_yaml((folder / "tune" / kind / "best.yaml").read_text())
    row = table.loc[table["validation_nll"].idxmin()]
    assert best == overlay_of(kind, {key: pytest.approx(row[key]) for key in keys})
    facts = json.loads((folder / "tune" / kind / "manifest.json").read_text())["best"]
    assert facts["objectives"]["validation_nll"] == table["validation_nll"].min()
    with_overlay(config, best, f"tune/{kind}/best.yaml")
    return table


@pytest.mark.parametrize("kind", ["hydra", "kd"])
def test_every_kind_with_asha(chain, project, kind):
    chain.require_success()
    folder = project / "runs" / "tiny"
    table = check_search(folder, tiny(project / "runs"), kind, 4)
    assert table["epochs"].between(2, 4).all()
    of_kind = [each for each in events(folder, "tune", "trial") if each["student"] == kind]
    assert sorted(each["trial"] for each in of_kind) == list(table["trial"])
    ran = [each for each in events(folder, "tune", "trial_epoch") if each["student"] == kind]
    assert len(ran) >= table["epochs"].sum(), "a trial may run on until it is known that it ends"


def test_optuna_without_early_stopping_and_students_from_what_it_found(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    words = ["tune.search=optuna", "tune.scheduler=none", "tune.num_trials=3", "distill.use_best_trial=true"]
    config = tiny(tmp_path, *words)
    run_stages(Run(config), ["tune", "distill"])
    for kind in KEYS:
        table = check_search(folder, config, kind, 3)
        assert (table["epochs"] == 4).all()
        overlay = parse_yaml((folder / "tune" / kind / "best.yaml").read_text())
        best = {**overlay["distill"], **overlay.get("students", {}).get(kind, {})}
        student = json.loads((folder / "students" / kind / "config.json").read_text())
        assert student["key"]["distill"]["temperature"] == pytest.approx(best["temperature"])
        assert student["spec"]["head_width"] == best["head_width"]
        assert student["spec"]["num_heads"] == best.get("num_heads", 1)
    assert leftovers(folder) == []


def test_another_kind_searches_that_one_alone(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    words = ["tune.num_trials=2", "tune.objectives=[validation_member_kl, macs]"]
    run_stages(Run(tiny(tmp_path, *words, "students=[{kind: hydra, correlation_weight: 0.0}]")), ["tune"])
    before, seen = (folder / "tune" / "hydra" / "manifest.json").read_bytes(), len(events(folder))
    run_stages(Run(tiny(tmp_path, *words)), ["tune"])
    assert (folder / "tune" / "hydra" / "manifest.json").read_bytes() == before
    assert {each["student"] for each in events(folder)[seen:] if each["event"] == "trial"} == {"kd"}
    assert json.loads((folder / "tune" / "kd" / "manifest.json").read_text())["objectives"] == [
        "validation_nll",
        "macs",
    ]
    table = table_of(folder)
    assert table["error"].isna().all()
    assert table["on_front"].any()
    assert (table["macs"] > 0).all()


# trials that are lost or fail


@pytest.fixture(scope="module")
def undisturbed(small_run, tmp_path_factory):
    """Of a search whose workers take their time."""
    storage = tmp_path_factory.mktemp("undisturbed")
    folder = copied(small_run, storage)
    run_stages(Run(tiny(storage, *PLAIN, *SLOW)), ["tune"])
    return found_by(folder)


SLOW = ["distill.body=own_nets:patient_mlp", "distill.body_options={width: 16, seconds: 0.03}"]


def kill_a_trial() -> None:
    os.kill(processes(os.environ[MARK], "ray::ImplicitFunc")[0], signal.SIGKILL)


def same(found, expected):
    pd.testing.assert_frame_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_a_killed_trial_is_run_again_and_nothing_is_different(small_run, tmp_path, undisturbed):
    folder = copied(small_run, tmp_path)

    def kill_twice():
        for number in (2, 7):
            wait_for(lambda least=number: len(events(folder, "tune", "trial_epoch")) > least, 300, "an epoch")
            kill_a_trial()

    with meanwhile(kill_twice):
        run_stages(Run(tiny(tmp_path, *PLAIN, *SLOW)), ["tune"])
    assert events(folder, "tune", "trial_again")
    same(found_by(folder), undisturbed)
    assert leftovers(folder) == []


def test_a_search_that_was_cut_short_goes_on_and_nothing_is_different(small_run, tmp_path, undisturbed, monkeypatch):
    """Ctrl-C after two trials, as its handler notes it."""
    folder = copied(small_run, tmp_path)
    finish = search._Record._finish

    def finish_two(self, name, kind, trial):
        finish(self, name, kind, trial)
        if len(events(folder, "tune", "trial")) == 2:
            interrupts._END.ask(KeyboardInterrupt())

    monkeypatch.setattr(search._Record, "_finish", finish_two)
    with pytest.raises(KeyboardInterrupt):
        run_stages(Run(tiny(tmp_path, *PLAIN, *SLOW)), ["tune"])
    monkeypatch.undo()
    gc.collect()  # Tune's controller holds its trials' processes; a command that is stopped ends its session with them
    assert not (folder / "tune" / "hydra").exists()
    over = len(events(folder, "tune", "trial"))
    run_stages(Run(tiny(tmp_path, *PLAIN, *SLOW)), ["tune"])
    assert 2 <= over < 4
    assert sorted({each["trial"] for each in events(folder, "tune", "trial")}) == ["000", "001", "002", "003"]
    assert len(events(folder, "tune", "trial")) == 4, "those that were over are not run again"
    same(found_by(folder), undisturbed)


def test_trials_that_die_too_often_publish_nothing_and_keep_what_is_over(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    words = [*PLAIN, *SLOW, "cluster.max_failures=0", "tune.max_concurrent=1"]

    def kill_late():
        wait_for(lambda: len(events(folder, "tune", "trial")) == 2, 300, "two trials")
        kill_a_trial()

    message = r"^tune: trial hydra/00\d: .* more often than cluster.max_failures"
    with meanwhile(kill_late), pytest.raises(StageError, match=message) as raised:
        run_stages(Run(tiny(tmp_path, *words)), ["tune"])
    assert "\n" not in str(raised.value)
    assert not (folder / "tune" / "hydra").exists()


def test_a_search_whose_every_trial_fails_is_one_line(small_run, tmp_path):
    folder = copied(small_run, tmp_path)
    words = ["distill.body=own_nets:failing_mlp", "distill.body_options={width: 16}", "tune.num_trials=2"]
    with pytest.raises(
        StageError, match=r"^tune: all 2 trials of hydra failed: ZeroDivisionError: no rows in this batch"
    ) as raised:
        run_stages(Run(tiny(tmp_path, *PLAIN, *words)), ["tune"])
    assert "\n" not in str(raised.value)
    assert not (folder / "tune" / "hydra").exists()
    assert not events(folder, "tune", "trial_again"), "an error of the code is no death"
