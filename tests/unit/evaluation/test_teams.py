"""Teams against the definitions of the measures, team by team, and the choice among them."""

import itertools
import math

import pytest
import torch

from hydra_ray.evaluation.teams import MEASURES, best_team, score_teams, teams_of
from hydra_ray.metrics import diversity
from hydra_ray.metrics.registry import diversity_figures


def votes(seed: int, rows: int = 60, members: int = 5, classes: int = 3):
    draws = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=draws)
    logits = torch.randn(rows, members, classes, generator=draws).double()
    logits[torch.arange(rows), :, labels] += torch.linspace(0.2, 1.5, members).double()
    return logits, labels


def places(team) -> list[int]:
    return team.nonzero().flatten().tolist()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("name", MEASURES)
def test_a_team_has_the_measures_of_an_ensemble_of_its_members(name, size):
    logits, labels = votes(1)
    teams, are_all = teams_of(5, size, 1000, 0)
    assert are_all
    assert len(teams) == math.comb(5, size)
    found = score_teams(logits, labels, teams)[name]
    for team, value in zip(teams, found.tolist(), strict=True):
        alone = diversity_figures(logits[:, places(team)], labels, "logits")
        assert value == pytest.approx(alone[name], rel=1e-9)


@pytest.mark.parametrize("name", MEASURES)
def test_focal_diversity_is_the_mean_over_members_of_that_where_they_fail(name):
    logits, labels = votes(2)
    teams, _ = teams_of(5, 3, 1000, 0)
    found = score_teams(logits, labels, teams)[f"focal_{name}"]
    for team, value in zip(teams, found.tolist(), strict=True):
        each = []
        for member in places(team):
            fails = logits[:, member].argmax(-1) != labels
            each.append(diversity_figures(logits[fails][:, places(team)], labels[fails], "logits")[name])
        defined = [one for one in each if one is not None]
        assert value == pytest.approx(sum(defined) / len(defined), rel=1e-9)


def test_quality_is_that_of_the_mean_of_probabilities():
    logits, labels = votes(3)
    teams, _ = teams_of(5, 2, 1000, 0)
    found = score_teams(logits, labels, teams)
    for team, accuracy, nll in zip(teams, found["accuracy"], found["nll"], strict=True):
        mean = logits[:, places(team)].softmax(-1).mean(1)
        assert accuracy == pytest.approx((mean.argmax(-1) == labels).double().mean().item())
        assert nll == pytest.approx(-mean[torch.arange(60), labels].log().mean().item())


def test_the_best_team_is_the_one_that_the_criterion_asks_for():
    logits, labels = votes(4)
    teams, _ = teams_of(5, 3, 1000, 0)
    scores = score_teams(logits, labels, teams)
    assert scores["accuracy"][best_team(scores, "accuracy")] == scores["accuracy"].max()
    assert scores["nll"][best_team(scores, "nll")] == scores["nll"].min()
    assert scores["q_statistic"][best_team(scores, "q_statistic")] == scores["q_statistic"].min()
    assert scores["disagreement"][best_team(scores, "disagreement")] == scores["disagreement"].max()
    focal = scores["focal_generalised_diversity"]
    assert focal[best_team(scores, "focal_generalised_diversity")] == focal.max()


def test_a_twin_makes_a_team_less_diverse():
    logits, labels = votes(5)
    logits[:, 1] = logits[:, 0]
    teams, _ = teams_of(5, 2, 1000, 0)
    scores = score_teams(logits, labels, teams)
    (twins,) = [place for place, team in enumerate(teams) if places(team) == [0, 1]]
    for name in ("disagreement", "kohavi_wolpert_variance", "cohen_kappa", "fleiss_kappa", "generalised_diversity"):
        worst = scores[name] * -MEASURES[name].sign
        assert int(worst.argmax()) == twins, name


def test_members_that_are_always_right_have_nothing_to_measure_and_are_not_chosen_for_it():
    logits, labels = votes(6)
    sure = 50 * torch.nn.functional.one_hot(labels, 3).double()
    logits[:, 0] = logits[:, 1] = sure
    teams, _ = teams_of(5, 2, 1000, 0)
    scores = score_teams(logits, labels, teams)
    both = [places(team) for team in teams].index([0, 1])
    assert scores["q_statistic"][both].isnan()
    assert scores["generalised_diversity"][both].isnan()
    assert scores["focal_disagreement"][both].isnan()
    assert best_team(scores, "q_statistic") != both
    assert best_team(scores, "accuracy") == both


def test_equal_teams_are_equal_by_every_measure_that_orders_alike():
    """Kohavi-Wolpert's variance of a team is a constant times its pairs' disagreement, and so are their ties."""
    logits, labels = votes(7, rows=12)
    teams, _ = teams_of(5, 3, 1000, 0)
    scores = score_teams(logits, labels, teams)
    ties = [len(scores[name].unique()) for name in ("disagreement", "kohavi_wolpert_variance")]
    assert ties[0] == ties[1] < len(teams)
    assert best_team(scores, "disagreement") == best_team(scores, "kohavi_wolpert_variance")


def test_too_many_teams_are_a_seeded_choice():
    teams, are_all = teams_of(20, 10, 500, 3)
    assert not are_all
    assert teams.shape == (500, 20)
    assert (teams.sum(1) == 10).all()
    assert len({tuple(team.tolist()) for team in teams}) == 500
    assert torch.equal(teams, teams_of(20, 10, 500, 3)[0])
    assert not torch.equal(teams, teams_of(20, 10, 500, 4)[0])


@pytest.mark.parametrize("size", [0, 1, 6])
def test_teams_have_two_members_or_more_and_no_more_than_there_are(size):
    with pytest.raises(ValueError, match=f"teams of {size} out of 5 members"):
        teams_of(5, size, 10, 0)


def test_every_team_is_there_once():
    teams, _ = teams_of(6, 3, 1000, 0)
    assert [tuple(places(team)) for team in teams] == list(itertools.combinations(range(6), 3))
    assert diversity.q_statistic is not None
