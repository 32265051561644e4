"""A run whose kinds of students are searched each for itself: what is laid over which, and what the report shows."""

import pandas as pd
import pytest
from helpers.finished import RECIPE, loaded, publish_members, publish_shards, recipe

from hydra_ray.config.search import Goal, overlay_of
from hydra_ray.errors import UserError
from hydra_ray.runs.tracking import Tracker

SEARCH = """
students: [hydra, kd, end2]
tune: {num_trials: 2, objectives: [validation_member_kl], space: {num_heads: [2, 3], temperature: [1.0, 3.0]}}
"""
BEST = {"hydra": {"num_heads": 3, "temperature": 3.0}, "kd": {"temperature": 1.0}}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Searches for two kinds are published; to the third no key matters."""
    path = recipe(tmp_path_factory.mktemp("searched"), RECIPE + SEARCH)
    run = loaded(path)
    publish_members(run)
    publish_shards(run)
    for kind, best in BEST.items():
        artifact = run.search(kind)
        artifact.attempt.write("best.yaml", str(overlay_of(kind, best)).encode())
        compared = "validation_member_kl" if kind == "hydra" else "validation_nll"
        row = {"trial": "000", **best, compared: 0.5, "macs": 9, "macs_ratio": 0.9, "on_front": True, "epochs": 2}
        with artifact.attempt.writing("trials.parquet") as stream:
            pd.DataFrame([{**row, "stopped_early": False}]).to_parquet(stream)
        artifact.publish({"best": {"trial": "000", "parameters": best}})
    return path


def test_what_was_found_for_a_kind_is_laid_over_that_kind_alone(searched):
    run = loaded(searched, "distill.use_best_trial=true")
    assert run.searched_kinds == ["hydra", "kd"]
    assert (run.tuned("hydra").members_learnt_from("hydra"), run.tuned("hydra").distill.temperature) == ([0, 1, 2], 3.0)
    assert (run.tuned("kd").student("hydra").num_heads, run.tuned("kd").distill.temperature) == (None, 1.0)
    assert run.tuned("end2") == run.config
    assert loaded(searched).tuned("hydra") == loaded(searched).config
    assert run.student("hydra").key["num_members"] == 3


@pytest.mark.parametrize(
    ("words", "stale"),
    [
        (["students=[hydra]"], set()),
        (["tune.objectives=[validation_nll]"], {"hydra"}),
        (["tune.objectives=[validation_member_kl, macs]"], {"hydra", "kd"}),
        (["tune.budget.macs_ratio=2"], {"hydra", "kd"}),
        (["tune.space.num_heads=[2, 4]"], {"hydra"}),
        (["students.hydra.diversity_weight=0.1"], {"hydra"}),
        (["students.end2.first_temperature=3"], set()),
        (["distill.temperature=5"], set()),
        (["distill.head_width=5"], {"hydra", "kd"}),
        (["tune.num_trials=3"], {"hydra", "kd"}),
    ],
)
def test_a_search_is_stale_where_something_of_its_kind_is_another(searched, words, stale):
    run = loaded(searched, *words)
    assert {kind for kind in run.searched_kinds if run.search(kind).status() == "stale"} == stale


def test_a_kind_without_its_search_is_an_error_with_the_way_out(searched):
    run = loaded(searched, "distill.use_best_trial=true", "distill.head_width=5")
    with pytest.raises(
        UserError, match=r"^distill.use_best_trial=true, but the search for kd has .*run the tune stage first$"
    ):
        run.tuned("kd")


def test_the_report_shows_each_search_and_what_was_found(searched):
    from hydra_ray.cluster import evaluate

    run = loaded(searched, "distill.use_best_trial=true")
    found = {kind: evaluate._search(run, kind) for kind in run.searched_kinds}
    assert found["hydra"].goal == Goal(("validation_member_kl",))
    assert found["kd"].goal == Goal(("validation_nll",))
    assert found["kd"].keys == ["temperature"]
    assert found["hydra"].ranked[0]["num_heads"] == 3
    assert evaluate._found_by_searches(run) == {"found by tune": BEST}
    assert evaluate._seconds(run, Tracker(run.folder, run.config)) == {}
