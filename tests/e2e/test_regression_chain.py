"""Regressions by the real command, as a sweep over two standard splits: shards, figures, pictures, means and errors.

Its members have a mean alone and one variance each, which takes all there is to a regression; those of the recipes have
a variance for every input.
"""

import json
import statistics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from helpers.golden import assert_golden
from support import Command, events, leftovers

from hydra_ray.metrics.regression import regression_figures, variance_scores
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(900)
RECIPE = """
data: {source: roots.parquet, target: y, test_split: all, unknown: {wide: {view: uniform_box}}}
ensemble: {num_members: 3, options: {hidden: [16]}, epochs: 4, batch_size: 32, learning_rate: 1e-2, likelihood: mse}
transfer: {views: [{view: identity}, {view: uniform_box}]}
predict: {rows_per_shard: 500}
students: [hydra, kd]
distill: {epochs: 3, mean_phase_epochs: 1, batch_size: 64, learning_rate: 1e-2, head_width: 4}
evaluate: {latency_repeats: 2}
cluster: {object_store_mb: 100}
"""
WORDS = ["pipelines.run", "roots.yaml"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working directory with a recipe and its table: 240 rows of two features, targets from 25 to 36."""
    folder = tmp_path_factory.mktemp("regression")
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(240, 2))
    splits = {f"test_split_{k}": np.arange(240) % 6 == k for k in (0, 1)}
    targets = 25 + 10 * x[:, 0] ** 0.5 + 0.2 * rng.normal(size=240)
    pq.write_table(pa.table({"a": x[:, 0], "b": x[:, 1], "y": targets, **splits}), folder / "roots.parquet")
    (folder / "roots.yaml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def command(place):
    return Command(WORDS, place).finish(800).require_success()


@pytest.fixture
def sweep(command, place):
    return place / "runs" / "roots"


@pytest.fixture
def run(sweep):
    return sweep / "split-00"


def metrics_of(run):
    return json.loads((run / "report" / "metrics.json").read_text(), parse_constant=pytest.fail)


def test_shards_hold_mean_and_log_variance_as_float32_and_targets_with_nulls(run):
    folder = run / "predictions" / "transfer"
    table = pq.read_table(sorted(folder.glob("*.parquet")))
    logits, label, view = table.column("logits"), table.column("label"), table.column("view").to_numpy()
    assert (logits.type.shape, str(logits.type.value_type)) == ([3, 2], "float")
    assert str(label.type) == "float"
    np.testing.assert_array_equal(label.is_null().to_numpy(), view != 0)  # a row from the box has no target
    rows = load(Folder.open(str(folder)))
    assert 24 < rows.labels[view == 0].min() < rows.labels[view == 0].max() < 36  # of the table, not standardised
    assert 28 < rows.logits_NMC[view == 0][..., 0].mean() < 35
    variances = rows.logits_NMC[..., 1]
    assert (variances == variances[:1]).all()
    assert len(np.unique(variances[0])) == 3


def test_figures_of_the_ensemble_are_those_of_the_shards(run):
    metrics = metrics_of(run)
    assert metrics["task"] == "regression"
    assert set(metrics["test"]) == set(metrics["cost"]) == {"member", "ensemble", "hydra", "hydra_raw", "kd"}
    rows = load(Folder.open(str(run / "predictions" / "test")))
    outputs, targets = torch.tensor(rows.logits_NMC), torch.tensor(rows.labels)
    for name, value in regression_figures(outputs, targets, variance_scores(outputs)).items():
        assert metrics["test"]["ensemble"][name] == pytest.approx(value, rel=1e-9), name
    spread = metrics["fidelity"]["hydra"]
    assert set(spread["knowledge_variance_ratio"]) == {"test", "wide"}
    assert metrics["unknown"]["wide"]["ensemble"]["auroc_knowledge_variance"] is not None


def test_figures_of_the_regression_are_golden(run):
    assert_golden("regression", run)


def test_the_terminal_and_the_report_speak_of_a_regression(command, run):
    assert command.err == ""
    for word in ("split-00 [1/2]", "split-01 [2/2]", "[3/3] member", "knowledge variance", "RMSE", "CRPS"):
        assert word in command.out
    assert "accuracy" not in command.out
    pictures = {path.name for path in (run / "report").glob("*.png")}
    assert pictures == {
        "knowledge_uncertainty.png", "fidelity.png", "intervals.png", "sparsification.png", "training.png", "plane.png"
    }  # fmt: skip
    assert "accuracy" not in (run / "report" / "report.md").read_text()
    assert leftovers(run) == []


def test_a_sweep_gives_means_and_errors_over_its_splits(sweep):
    summary = json.loads((sweep / "sweep.json").read_text())
    each = [metrics_of(sweep / f"split-0{k}")["test"] for k in (0, 1)]
    for name in ("member", "ensemble", "hydra"):
        values = [found[name]["rmse"] for found in each]
        rmse = summary["groups"][0]["figures"]["test"][name]["rmse"]
        assert rmse["mean"] == pytest.approx(statistics.fmean(values))
        assert rmse["standard_error"] == pytest.approx(statistics.stdev(values) / 2**0.5)
    assert each[0]["ensemble"]["rmse"] != each[1]["ensemble"]["rmse"]


def test_a_sweep_that_is_done_is_skipped_and_has_a_page(sweep, place):
    again = Command(WORDS, place).finish().require_success()
    assert [event["event"] for event in events(sweep / "split-01")[-4:]] == ["skipped"] * 4
    assert "ensemble" in again.out
    page = Command(["pipelines.results", str(sweep)], place).finish().require_success().out
    assert "first 2 standard splits" in page
    assert "| roots |" in page


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("students=[hydra,end2]", "students: end2 is for classification"),
        ("distill.temperature=3", "distill.temperature=3.0: softens logits"),
    ],
)
def test_what_it_has_no_use_for_ends_with_2_before_anything_starts(place, word, line):
    refused = Command([*WORDS, "data.test_split=0", "name=refused", word], place).finish(60)
    assert refused.code == 2
    assert refused.err.startswith(f"error: {line}")
    assert refused.err.count("\n") == 1
    assert not (place / "runs" / "refused").exists()
