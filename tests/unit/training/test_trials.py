"""Trials: which is the best, which are stopped early, and that neither depends on the order in which they report."""

import json
import math
import random

import pytest

from hydra_ray.config.search import Goal, goal_of, space_of
from hydra_ray.config.tuning import TuneConfig
from hydra_ray.errors import StageError
from hydra_ray.training.trials import StoppingRule, Trial, best_of, stops, table_of

NLL = Goal(("validation_nll",))
ASHA = StoppingRule("asha", 1, 8)
RULES = [ASHA, StoppingRule("none", 1, 8)]


def curves(count=12, epochs=8, seed=0):
    drawn = random.Random(seed)
    levels = [drawn.random() for _ in range(count)]
    return [[level + 0.2 * drawn.random() + 0.1 / (epoch + 1) for epoch in range(epochs)] for level in levels]


def finished(reports, errors=None):
    trials = [Trial(number, {"head_width": number}) for number in range(len(reports))]
    for trial, values in zip(trials, reports, strict=True):
        for epoch, value in enumerate(values, start=1):
            trial.add(epoch, value if isinstance(value, tuple) else [value])
        trial.error = (errors or {}).get(trial.number, trial.error)
        trial.is_over = True
    return trials


def rows_of(trials, goal=NLL, rule=ASHA):
    return table_of(trials, ["head_width"], goal, rule)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.scheduler)
@pytest.mark.parametrize("seed", range(5))
def test_whenever_trials_report_and_however_far_they_run_the_table_is_the_same(rule, seed):
    """Some at a time, each as fast as it likes, stopped as soon as that can be said: as if all had run to the end."""
    reports, drawn = curves(seed=seed), random.Random(seed)
    whole = rows_of(finished(reports), rule=rule)
    trials = [Trial(number, {"head_width": number}) for number in range(len(reports))]
    running, waiting = trials[:3], trials[3:]
    while running:
        trial = drawn.choice(running)
        epoch = len(trial.curve) + 1
        trial.add(epoch, [reports[trial.number][epoch - 1]])
        stop = stops(trials, NLL, rule)[trial.number]
        if epoch == 8 or (stop is not None and stop <= epoch):
            trial.is_over = True
            running.remove(trial)
            running += [waiting.pop(0)] if waiting else []
    assert rows_of(trials, rule=rule) == whole
    assert any(row["stopped_early"] for row in whole) == (rule.scheduler != "none")


def test_what_was_said_once_is_never_taken_back():
    reports, before = curves(), [None] * 12
    trials = [Trial(number, {}) for number in range(12)]
    for epoch in range(1, 9):
        for trial in random.Random(epoch).sample(trials, 12):
            trial.add(epoch, [reports[trial.number][epoch - 1]])
            trial.is_over = epoch == 8
            now = stops(trials, NLL, ASHA)
            assert all(old is None or old == new for old, new in zip(before, now, strict=True))
            before = now
    assert None not in before


def test_asha_compares_at_its_epochs_with_those_before():
    assert StoppingRule("asha", 3, 20).epochs == [3, 6, 12]
    assert StoppingRule("asha", 4, 4).epochs == []
    reports = [[3.0, 3.0, 3.0, 3.0], [4.0, 1.0, 1.0, 1.0], [2.0, 5.0, 0.0, 0.0], [2.5, 2.0, 9.0, 9.0]]
    rule = StoppingRule("asha", 1, 4)
    assert stops(finished(reports), NLL, rule) == [math.inf, 1, 2, math.inf]
    assert [row["validation_nll"] for row in rows_of(finished(reports), rule=rule)] == [3.0, 4.0, 5.0, 9.0]


@pytest.mark.parametrize(
    ("goal", "values", "best"),
    [
        (NLL, [0.3, 0.2, 0.4], 1),
        (Goal(("validation_accuracy",)), [0.3, 0.2, 0.4], 2),
        (Goal(("validation_mutual_information_ratio",)), [0.5, 1.2, 0.9], 2),
        (Goal(("validation_mutual_information_ratio",)), [0.4, 2.4, 0.0], 1),
        (Goal(("validation_knowledge_variance_ratio",)), [3.0, 0.3, 0.4], 2),
        (Goal(("validation_rank_correlation",)), [0.3, -0.9, 0.4], 2),
        (Goal(("validation_mutual_information_ratio",)), [0.0, -1.0, 0.0], 0),
        (NLL, [0.2, 0.2, 0.4], 0),
    ],
)
def test_the_best_trial_is_the_nearest_to_the_best_value(goal, values, best):
    rows = rows_of(finished([[value] for value in values]), goal)
    found = best_of(rows, ["head_width"], goal, "hydra")
    assert found == {
        "trial": f"00{best}",
        "parameters": {"head_width": best},
        "objectives": {goal.objectives[0]: values[best]},
        "macs_ratio": None,
    }


def test_trials_that_raise_or_are_not_finite_have_failed_and_are_no_measure_for_others():
    trials = finished([[0.1, 0.1], [0.5, math.nan], [], [0.3, 0.3]], errors={0: "RuntimeError: no", 2: "ValueError: x"})
    rows = rows_of(trials, rule=StoppingRule("asha", 2, 4))
    assert [row["validation_nll"] for row in rows] == [None, None, None, 0.3]
    assert [row["error"] for row in rows[:3]] == [
        "RuntimeError: no", "an objective is not finite after epoch 2", "ValueError: x",
    ]  # fmt: skip
    assert best_of(rows, ["head_width"], NLL, "kd")["trial"] == "003"


def test_a_trial_that_fails_after_it_would_have_been_stopped_was_stopped():
    rows = rows_of(finished([[1.0, 1.0], [2.0, math.nan]]), rule=StoppingRule("asha", 1, 2))
    assert (rows[1]["validation_nll"], rows[1]["stopped_early"], rows[1]["error"]) == (2.0, True, None)


def test_a_search_whose_every_trial_failed_is_one_line():
    rows = rows_of(finished([[], [math.nan]], errors={0: "UserError: loss is not finite"}))
    with pytest.raises(StageError) as raised:
        best_of(rows, ["head_width"], NLL, "kd")
    assert str(raised.value) == (
        "tune: all 2 trials of kd failed: UserError: loss is not finite; an objective is not finite after epoch 1"
    )


def test_finished_trials_come_back_from_their_files():
    for trial in finished([[0.4, 0.2], [0.5, math.nan], []], errors={2: "RuntimeError: no"}):
        trial.macs = 100
        again = Trial.from_json(json.loads(json.dumps(trial.to_json(), allow_nan=False)))
        assert rows_of([again]) == rows_of([trial])
        assert again.macs == 100


def test_an_objective_that_the_first_phase_does_not_have_is_no_failure():
    rule = StoppingRule("asha", 2, 4)
    reports = [[None, 1.0, 1.0, 1.0], [None, 1.0, 0.5, 0.5], [None, 1.0, 1.0, 1.0], [None, 3.0, 3.0, 3.0]]
    rows = rows_of(finished(reports), Goal(("validation_member_kl",)), rule)
    assert [row["validation_member_kl"] for row in rows] == [1.0, 0.5, 1.0, 3.0]
    assert [row["stopped_early"] for row in rows] == [False] * 3 + [True]
    assert rows_of([Trial.from_json(trial.to_json()) for trial in finished(reports)], rule=rule) == rows_of(
        finished(reports), rule=rule
    )
    assert rows_of(finished([[None, None]]))[0]["error"] == "it ended without an objective"


# several objectives


BOTH = Goal(("validation_nll", "macs"))


def of_cost(values, macs, goal=BOTH, member_macs=100):
    """The table of trials of one epoch, `values` beside their cost."""
    trials = finished([[(value, cost)] for value, cost in zip(values, macs, strict=True)])
    for trial, cost in zip(trials, macs, strict=True):
        trial.macs = cost
    return table_of(trials, ["head_width"], goal, StoppingRule("none", 1, 1), member_macs)


def test_a_table_of_several_objectives_has_a_column_for_each_and_says_what_is_on_the_front():
    rows = of_cost([0.5, 0.4, 0.45, None, 0.3], [50, 80, 120, 60, 200])
    assert [row["on_front"] for row in rows] == [True, True, False, False, True]
    assert [row["macs_ratio"] for row in rows] == [0.5, 0.8, 1.2, 0.6, 2.0]
    assert rows[1] == {
        "trial": "001", "head_width": 1, "validation_nll": 0.4, "macs": 80, "macs_ratio": 0.8, "on_front": True,
        "epochs": 1, "stopped_early": False, "seconds": None, "error": None,
    }  # fmt: skip
    assert rows[3]["error"] == "it ended without an objective"
    assert of_cost([0.5], [50], member_macs=None)[0]["macs_ratio"] is None


def test_without_a_budget_the_trial_nearest_to_the_best_of_each_is_taken():
    rows = of_cost([0.50, 0.32, 0.45, 0.3], [50, 60, 120, 200])
    found = best_of(rows, ["head_width"], BOTH, "hydra")
    assert found == {
        "trial": "001",
        "parameters": {"head_width": 1},
        "objectives": {"validation_nll": 0.32, "macs": 60},
        "macs_ratio": 0.6,
    }


@pytest.mark.parametrize(("budget", "best"), [(0.5, 0), (1.19, 1), (1.2, 2), (9, 4)])
def test_a_budget_takes_the_best_in_the_first_objective_that_costs_no_more(budget, best):
    rows = of_cost([0.50, 0.46, 0.45, 0.45, 0.3], [50, 60, 120, 130, 200])
    assert best_of(rows, ["head_width"], BOTH, "hydra", budget)["trial"] == f"00{best}"


def test_a_budget_needs_no_cost_among_the_objectives_and_equal_trials_are_told_apart_by_the_next():
    rows = of_cost([0.4, 0.4, 0.1], [70, 60, 200])
    assert best_of(rows, ["head_width"], NLL, "hydra", 1.0)["trial"] == "000"
    assert best_of(rows, ["head_width"], BOTH, "hydra", 1.0)["trial"] == "001"


def test_a_budget_that_no_trial_meets_names_the_cheapest():
    rows = of_cost([0.50, 0.46, None], [70, 60, 20])
    with pytest.raises(StageError) as raised:
        best_of(rows, ["head_width"], BOTH, "kd", 0.5)
    assert str(raised.value) == (
        "tune: no trial of kd is within tune.budget.macs_ratio=0.5: the cheapest, 001 (head_width=1), has 0.6; raise "
        "the budget (trials are kept), or search smaller students"
    )


def test_a_trial_that_no_other_beats_is_not_stopped_however_bad_one_figure_is():
    """The dearest is best in NLL; the cheapest worst, yet nothing is as cheap; a third is beaten by all."""
    reports = [[(0.5, 50)] * 2, [(0.3, 200)] * 2, [(0.4, 100)] * 2, [(0.9, 10)] * 2, [(0.6, 210)] * 2]
    assert stops(finished(reports), BOTH, StoppingRule("asha", 1, 2)) == [math.inf] * 4 + [1]


# what matters to a kind


TUNE = {"num_trials": 2, "space": {"head_width": [1, 2], "num_heads": [2, 3], "temperature": [1.0, 2.0]}}


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("hydra", {"head_width", "num_heads", "temperature"}),
        ("kd", {"head_width", "temperature"}),
        ("end2", {"head_width"}),
        ("proxy_end2", {"head_width"}),
    ],
)
def test_a_kind_is_searched_over_its_own_keys(kind, keys):
    assert set(space_of(kind, TuneConfig(**TUNE))) == keys


@pytest.mark.parametrize(
    ("objective", "without"),
    [
        ("validation_nll", set()),
        ("validation_rmse", set()),
        ("validation_member_kl", {"kd", "end2", "proxy_end2"}),
        ("validation_mutual_information_ratio", {"kd"}),
        ("validation_knowledge_variance_ratio", {"kd"}),
        ("validation_rank_correlation", {"kd"}),
    ],
)
def test_a_kind_without_the_objective_is_compared_by_validation_nll(objective, without):
    tune = TuneConfig(**TUNE, objectives=[objective])
    for kind in ("hydra", "kd", "end2", "proxy_end2"):
        assert goal_of(kind, tune) == Goal(("validation_nll" if kind in without else objective,))


def test_of_several_objectives_a_kind_keeps_those_it_has():
    tune = TuneConfig(**TUNE, objectives=["validation_member_kl", "validation_nll", "macs"])
    assert goal_of("hydra", tune).objectives == ("validation_member_kl", "validation_nll", "macs")
    assert goal_of("kd", tune).objectives == ("validation_nll", "macs")
