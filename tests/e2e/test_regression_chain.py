"""A regression by the real command: mean and log variance in the shards, one schema of metrics, pictures of its own.

Its members have a mean alone and one variance each, which takes all there is to a regression; those of the recipes have
a variance for every input.
"""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from support import Command, leftovers

from hydra_ray.predictions import load
from hydra_ray.regression_metrics import regression_figures, variance_scores
from hydra_ray.storage import Folder

pytestmark = pytest.mark.timeout(700)
RECIPE = """
data:
  source: diabetes
  unknown: {wide: {view: uniform_box}}
ensemble: {num_members: 3, options: {hidden: [16]}, epochs: 4, batch_size: 64, learning_rate: 1e-2, likelihood: mse}
transfer: {views: [{view: identity}, {view: uniform_box}]}
students: [hydra, kd]
distill: {epochs: 3, mean_epochs: 1, batch_size: 128, learning_rate: 1e-2, head_width: 4}
evaluate: {latency_repeats: 2}
cluster: {object_store_mb: 200}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    (folder / "plain.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def command(place):
    return Command(["pipelines.run", "plain.yaml"], place).finish(600).require_success()


@pytest.fixture
def run(command, place):
    return place / "runs" / "plain"


def test_shards_hold_mean_and_log_variance_as_float32_and_targets_with_nulls(run):
    folder = run / "predictions" / "transfer"
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    logits, label, view = table.column("logits"), table.column("label"), table.column("view").to_numpy()
    assert (logits.type.shape, str(logits.type.value_type)) == ([3, 2], "float")
    assert str(label.type) == "float"
    np.testing.assert_array_equal(label.is_null().to_numpy(), view != 0)  # a row from the box has no target
    rows = load(Folder.open(str(folder)))
    assert 25 <= rows.labels[view == 0].min() < rows.labels[view == 0].max() <= 346  # of the data set, not standardised
    assert 100 < rows.logits_NMC[view == 0][..., 0].mean() < 200
    variances = rows.logits_NMC[..., 1]
    assert (variances == variances[:1]).all()
    assert len(np.unique(variances[0])) == 3


def test_figures_of_the_ensemble_are_those_of_the_shards(run):
    metrics = json.loads((run / "report" / "metrics.json").read_text(), parse_constant=pytest.fail)
    assert metrics["task"] == "regression"
    assert set(metrics["test"]) == set(metrics["cost"]) == {"member", "ensemble", "hydra", "hydra_spread", "kd"}
    rows = load(Folder.open(str(run / "predictions" / "test")))
    outputs, targets = torch.tensor(rows.logits_NMC), torch.tensor(rows.labels)
    for name, value in regression_figures(outputs, targets, variance_scores(outputs)).items():
        assert metrics["test"]["ensemble"][name] == pytest.approx(value, rel=1e-9), name
    spread = metrics["fidelity"]["hydra_spread"]
    assert set(spread["knowledge_variance_ratio"]) == {"test", "wide"}
    assert metrics["unknown"]["wide"]["ensemble"]["auroc_knowledge_variance"] is not None


def test_the_terminal_and_the_report_speak_of_a_regression(command, run):
    assert command.err == ""
    assert "[3/3] member" in command.out
    assert "knowledge variance" in command.out
    assert "accuracy" not in command.out
    for word in ("RMSE", "CRPS", "knowledge / total"):
        assert word in command.out
    pictures = {path.name for path in (run / "report").glob("*.png")}
    assert pictures == {
        "knowledge_uncertainty.png", "fidelity.png", "intervals.png", "sparsification.png", "training.png"
    }  # fmt: skip
    assert "accuracy" not in (run / "report" / "report.md").read_text()
    assert leftovers(run) == []


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("students=[hydra,end2]", "students: end2 is for classification"),
        ("distill.temperature=3", "distill.temperature=3.0: softens logits"),
    ],
)
def test_what_it_has_no_use_for_ends_with_2_before_anything_starts(place, word, line):
    refused = Command(["pipelines.run", "plain.yaml", "name=refused", word], place).finish(60)
    assert refused.code == 2
    assert refused.err.startswith(f"error: {line}")
    assert refused.err.count("\n") == 1
    assert not (place / "runs" / "refused").exists()
