"""What a search publishes of trials that are over: the front, the one that is taken, and another by another budget."""

import json

import pandas as pd
import pytest
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, recipe

from hydra_ray.cluster import tune as search
from hydra_ray.config import overlay_of, parse_yaml
from hydra_ray.errors import StageError
from hydra_ray.models import build_member, count_macs
from hydra_ray.runs.tracking import Tracker
from hydra_ray.storage import sealed
from hydra_ray.training import Trial

SEARCH = """
students: [hydra, kd]
tune: {num_trials: 4, scheduler: none, epochs: 1, space: {head_width: [2, 4, 8, 16]},
       objectives: [validation_rank_correlation, macs]}
"""
FOUND = [(2, 0.5, 0.30, 150), (4, 0.7, 0.20, 200), (8, 0.6, 0.25, 300), (16, 0.8, 0.10, 600)]
"""Head width, rank correlation (of kd the NLL), multiply-adds."""


@pytest.fixture
def finished(tmp_path):
    """A recipe whose four trials of each kind are over."""
    path = recipe(tmp_path, RECIPE + SEARCH)
    run = loaded(path)
    publish_members(run)
    publish_shards(run)
    for kind in run.searched_kinds:
        for number, (width, correlation, nll, macs) in enumerate(FOUND):
            trial = Trial(number, {"head_width": width}, macs=macs, is_over=True, seconds=1.0)
            for epoch in (1, 2):
                trial.add(epoch, [correlation if kind == "hydra" else nll, macs])
            (run.trials(kind).attempt / "trials").write_json(f"{trial.name}.json", sealed(trial.to_json()))
    return path


def tuned(path, *words):
    """The run after its tune stage, which runs no trial: Ray is not there."""
    run = loaded(path, *words)
    with Tracker(run.folder, run.config).stage("tune") as stage:
        search.tune(run, stage)
    return run


def best_of(run, kind):
    overlay = parse_yaml(run.search(kind).read("best.yaml").decode())
    facts = json.loads((run.search(kind).folder).read("manifest.json"))["best"]
    assert overlay == overlay_of(kind, facts["parameters"])
    return overlay["distill"]["head_width"], facts


def budget_of(run, macs):
    spec = run.member_spec()
    return f"tune.budget.macs_ratio={macs / count_macs(build_member(spec, 0), spec.input_shape)}"


def test_the_table_has_the_front_and_the_cost_over_a_members(finished, capsys):
    run = tuned(finished)
    table = pd.read_parquet(f"{run.search('hydra').folder.path}/trials.parquet")
    ended = ["epochs", "stopped_early", "seconds", "error"]
    columns = ["trial", "head_width", "validation_rank_correlation", "macs", "macs_ratio", "on_front", *ended]
    assert list(table.columns) == columns
    assert table["on_front"].tolist() == [True, True, False, True]
    spec = run.member_spec()
    member = count_macs(build_member(spec, 0), spec.input_shape)
    assert table["macs_ratio"].tolist() == pytest.approx([macs / member for *_, macs in FOUND])
    width, facts = best_of(run, "hydra")
    assert width == 4
    assert facts["objectives"] == {"validation_rank_correlation": 0.7, "macs": 200}
    assert run.search("kd").require()["objectives"] == ["validation_nll", "macs"]
    out = capsys.readouterr().out
    assert "kd: has no validation_rank_correlation; compared by validation_nll and macs" in out
    line = f"(validation_rank_correlation 0.7000, macs {200 / member:.3g} x a member's; one of 3 trials that no other"
    assert line in out


def test_another_budget_takes_another_of_the_same_trials(finished):
    run = loaded(finished)
    for macs, width in ((300, 4), (599, 4), (600, 16), (150, 2)):
        words = budget_of(run, macs)
        assert run.search("hydra").is_done == (macs != 300), "only the first has trials that are not published"
        assert not loaded(finished, words).search("hydra").is_done
        run = tuned(finished, words)
        assert best_of(run, "hydra")[0] == width
        assert best_of(run, "kd")[0] == width
        assert loaded(finished, words).search("hydra").is_done
    run = tuned(finished)
    assert best_of(run, "hydra")[0] == 4
    assert [name for name in (run.folder / "tune").folders() if "attempt" in name] == []


def test_a_budget_that_no_trial_meets_is_an_error_and_keeps_them(finished):
    for _ in range(2):
        with pytest.raises(
            StageError, match=r"^tune: no trial of hydra is within .*: the cheapest, 000 \(head_width=2"
        ):
            tuned(finished, "tune.budget.macs_ratio=0.01")
    assert not loaded(finished).search("hydra").is_done
    assert best_of(tuned(finished), "hydra")[0] == 4


def test_a_search_of_other_trials_is_no_result_for_a_budget(finished, monkeypatch):
    tuned(finished)
    asked = []
    monkeypatch.setattr(search, "_run_trials", lambda run, searches, record: asked.append([e.kind for e in searches]))
    with pytest.raises(StageError):
        tuned(finished, "tune.budget.macs_ratio=9", "distill.weight_decay=0.1")
    assert asked == [["hydra", "kd"]]
