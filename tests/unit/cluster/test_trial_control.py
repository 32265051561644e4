"""The search as Tune drives it, with a clock of our own: deaths, other speeds and new starts change nothing."""

import random
from types import SimpleNamespace

import pytest
from ray.tune.search import Searcher

from hydra_ray.cluster.trial_control import InOrder, KindSearch, StopInOrder
from hydra_ray.cluster.trial_jobs import FAILED
from hydra_ray.config.search import Goal
from hydra_ray.training.trials import StoppingRule, Trial, table_of

SPACE = {"temperature": {"low": 1.0, "high": 3.0}, "head_width": [2, 4]}
GOAL = Goal(("validation_nll",))
SEVERAL = Goal(("validation_nll", "validation_member_kl", "macs"))


def searches(sampler="random", trials=None, goal=GOAL):
    """Of two kinds, six trials each."""
    rule = StoppingRule("asha", 1, 6)
    given = trials or {}
    return [
        KindSearch(kind, SPACE, sampler, 3, goal, rule, given.get(kind) or [Trial(number, {}) for number in range(6)])
        for kind in ("hydra", "kd")
    ]


def value(config, epoch):
    """What a fit reports: it follows from what is fitted alone."""
    drawn = random.Random(f"{config['kind']} {config['parameters']} {epoch}")
    return config["parameters"]["temperature"] + drawn.random() / epoch


def run(kinds, *, seed=0, deaths=0.0, at_once=2, most=10_000):
    """Tune's part: trials report in any order; one that dies begins again. InputOutputScaling after so many steps."""
    order, control, drawn, running = InOrder(kinds, at_once), StopInOrder(kinds), random.Random(seed), {}
    for step in range(most):
        config = order.suggest(f"id{step}")
        if config not in (None, Searcher.FINISHED):
            running[f"id{step}"] = [config, 0]
        if not running:
            break
        name = drawn.choice(list(running))
        config, epoch = running[name]
        if drawn.random() < deaths:
            running[name][1] = 0
            continue
        running[name][1] = epoch + 1
        result = {"epoch": epoch + 1, "validation_nll": value(config, epoch + 1)}
        result["macs"] = 100 * config["parameters"]["head_width"]
        result["validation_member_kl"] = None if epoch == 0 else 1 / value(config, epoch + 1)
        if config["kind"] == "kd" and config["number"] == 1 and epoch == 2:
            result = {FAILED: "RuntimeError: no"}
        decision = control.on_trial_result(None, SimpleNamespace(config=config), result)
        if decision == "STOP" or epoch + 1 == 6:
            order.on_trial_complete(name, {"time_total_s": 1.0})
            del running[name]
    return [table_of(each.trials, list(SPACE), each.goal, each.rule) for each in kinds]


@pytest.mark.parametrize("goal", [GOAL, SEVERAL], ids=["one objective", "three"])
@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_neither_speed_nor_deaths_change_what_is_found(sampler, goal):
    undisturbed = run(searches(sampler, goal=goal))
    assert [len(rows) for rows in undisturbed] == [6, 6]
    assert any(row["stopped_early"] for row in undisturbed[0])
    for seed in range(1, 4):
        assert run(searches(sampler, goal=goal), seed=seed) == undisturbed
        assert run(searches(sampler, goal=goal), seed=seed, deaths=0.3) == undisturbed


def test_random_trials_are_the_same_on_more_workers():
    assert run(searches(), at_once=5) == run(searches(), at_once=1)


@pytest.mark.parametrize("sampler", ["random", "optuna"])
@pytest.mark.parametrize("most", [5, 15, 30])
def test_a_search_that_was_cut_short_goes_on_with_the_trials_that_are_left(sampler, most):
    cut = searches(sampler)
    run(cut, seed=5, most=most)
    kept = {
        each.kind: [Trial.from_json(one.to_json()) if one.is_over else Trial(one.number, {}) for one in each.trials]
        for each in cut
    }
    for each in kept.values():
        for trial in each:
            trial.seconds = 1.0 if trial.is_over else None
    assert run(searches(sampler, kept), seed=6) == run(searches(sampler))


def test_a_trial_that_tune_gives_up_is_not_over():
    kinds = searches()
    order = InOrder(kinds, 1)
    assert order.suggest("a")["number"] == 0
    assert order.suggest("b") is None
    order.on_trial_complete("a", error=True)
    assert not kinds[0].trials[0].is_over
    assert order.suggest("c")["number"] == 1
