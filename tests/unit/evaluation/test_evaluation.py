"""metrics.json from answers: intervals, and that nothing that is not finite gets into it."""

import json

import pytest
import torch

from hydra_ray.data import TEST, VALIDATION, unknown_split
from hydra_ray.evaluation.metrics_json import Answers, metrics_of
from hydra_ray.metrics.classification import classification_figures, nll
from hydra_ray.report.consensus_table import consensus_tables
from hydra_ray.tasks import CLASSIFICATION
from hydra_ray.training.kinds import kind_named


def _logits(rows, heads, seed):
    return torch.randn(rows, heads, 3, generator=torch.Generator().manual_seed(seed)) * 2


@pytest.fixture(scope="module")
def metrics():
    splits = {VALIDATION: 60, TEST: 120, unknown_split("other"): 80}
    said = {name: _logits(rows, 4, seed) for seed, (name, rows) in enumerate(splits.items())}
    ensemble = {name: CLASSIFICATION.of_members(logits) for name, logits in said.items()}
    noisy = {name: logits + 0.3 * _logits(splits[name], 4, 9) for name, logits in said.items()}
    students = {
        "hydra": {name: CLASSIFICATION.of_members(logits) for name, logits in noisy.items()},
        "kd": {name: CLASSIFICATION.of_members(logits[:, :1]) for name, logits in noisy.items()},
        "end2": {name: kind_named("end2").prediction(CLASSIFICATION, logits[:, :1]) for name, logits in noisy.items()},
    }
    labels = {name: torch.arange(splits[name]) % 3 for name in (VALIDATION, TEST)}
    answers = Answers(CLASSIFICATION, {"ensemble": ensemble, **students}, labels)
    return answers, metrics_of(answers, {}, {}, num_samples=60, seed=1)


def test_it_is_json_with_every_predictor_and_no_number_that_is_not_finite(metrics):
    _, found = metrics
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert list(found["test"]) == ["member", "ensemble", "hydra", "kd", "end2"]
    assert found["test"]["kd"]["mutual_information"] is None
    assert found["unknown"]["other"]["kd"]["auroc_mutual_information"] is None
    assert found["unknown"]["other"]["end2"]["auroc_mutual_information"] > 0


def test_figures_stand_inside_their_intervals(metrics):
    answers, found = metrics
    fidelity = found["fidelity"]["hydra"]
    intervals = fidelity["interval_95"]
    for name, figure in fidelity.items():
        if name not in intervals:
            continue
        pairs = [(figure, intervals[name])] if isinstance(figure, float) else [
            (figure[key], intervals[name][key]) for key in figure
        ]  # fmt: skip
        assert all(low <= value <= high and low < high for value, (low, high) in pairs), name
    expected = nll(answers.predictions["hydra"][TEST].distribution, answers.labels[TEST]) / nll(
        answers.ensemble[TEST].distribution, answers.labels[TEST]
    )
    assert fidelity["nll_ratio"] == pytest.approx(expected)
    assert set(found["fidelity"]["kd"]["interval_95"]) == {"nll_ratio"}


def test_a_member_is_the_mean_over_members_that_have_a_figure():
    """The second member is right everywhere, so that its rejection ratio is not defined."""
    labels = torch.arange(12) % 3
    right = 9.0 * torch.nn.functional.one_hot(labels, 3)
    outputs = torch.stack([_logits(12, 1, 3)[:, 0], right], dim=1)
    ensemble = {name: CLASSIFICATION.of_members(outputs) for name in (VALIDATION, TEST)}
    found = metrics_of(Answers(CLASSIFICATION, {"ensemble": ensemble}, {VALIDATION: labels, TEST: labels}), {}, {})
    each = [classification_figures(member, labels) for member in outputs.split(1, dim=1)]
    assert found["test"]["member"]["nll"] == pytest.approx((each[0]["nll"] + each[1]["nll"]) / 2)
    assert each[1]["prr"] is None
    assert found["test"]["member"]["prr"] == each[0]["prr"]
    assert found["test"]["member"]["mutual_information"] is None


def test_ways_to_make_one_answer_are_compared_where_somebody_asks(metrics):
    answers, without = metrics
    assert "consensus" not in without
    found = metrics_of(answers, {}, {}, consensus=["mean", "majority", "learned"])
    assert list(found["consensus"]) == ["mean", "majority", "learned"]
    assert found["consensus"]["mean"]["nll"] == pytest.approx(found["test"]["ensemble"]["nll"])
    (table,) = consensus_tables(found)
    assert [row[0] for row in table.rows] == [
        "member", "mean of probabilities", "majority vote", "learned (stacker)", "hydra", "kd", "end2"
    ]  # fmt: skip
    assert consensus_tables(without) == []
