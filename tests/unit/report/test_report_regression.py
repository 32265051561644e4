"""The report of a regression: its own words and pictures, from one test row to thousands, and nothing of classes."""

import math

import numpy as np
import pytest
import torch

from hydra_ray.data import TEST, VALIDATION, unknown_split
from hydra_ray.evaluation.metrics_json import Answers, metrics_of, row_scores
from hydra_ray.metrics.gaussian import rescale_means
from hydra_ray.report.files import make_report
from hydra_ray.report.formats import significant
from hydra_ray.report.inputs import ReportInputs
from hydra_ray.report.interval_figures import coverage_by_level
from hydra_ray.report.page import write_markdown
from hydra_ray.report.prediction_figures import error_by_coverage
from hydra_ray.report.tables import comparison_table, fidelity_table
from hydra_ray.tasks import REGRESSION

PICTURES = {"knowledge_uncertainty.png", "fidelity.png", "intervals.png", "sparsification.png"}


def inputs(num_rows, scale=1.0, students=("hydra", "kd")):
    """Of an ensemble of 4 and its students, targets drawn from the ensemble; all in units of `scale`."""
    generator = torch.Generator().manual_seed(num_rows)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator)

    def said(rows, stretch):
        outputs = torch.stack([drawn(rows, 1) + 0.4 * drawn(rows, 4), drawn(rows, 1) + 0.3 * drawn(rows, 4)], dim=-1)
        outputs = rescale_means(outputs, stretch)
        return torch.stack([scale * outputs[..., 0], outputs[..., 1] + 2 * math.log(scale)], dim=-1)

    splits = {VALIDATION: said(num_rows, 1), TEST: said(num_rows, 1), unknown_split("far"): said(num_rows, 5)}
    predictions = {"ensemble": {name: REGRESSION.of_members(each) for name, each in splits.items()}}
    for kind in students:
        own = {name: rescale_means(each, 0.8)[:, : 1 if kind == "kd" else 4] for name, each in splits.items()}
        predictions[kind] = {name: REGRESSION.of_members(each) for name, each in own.items()}
    labels = {
        name: splits[name][:, 0, 0] + (splits[name][:, 0, 1] / 2).exp() * drawn(num_rows) for name in (VALIDATION, TEST)
    }
    answers = Answers(REGRESSION, predictions, labels)
    metrics = metrics_of(answers, {}, {}, num_samples=20)
    return ReportInputs("mine", {}, metrics, row_scores(answers), [], {}, {})


@pytest.mark.parametrize(
    ("num_rows", "scale"), [(1, 1.0), (3, 1.0), (200, 1e-4), (2000, 1e5)], ids=["1 row", "3 rows", "small", "large"]
)
def test_it_is_drawn_for_any_number_of_rows_and_any_unit(num_rows, scale):
    files = make_report(inputs(num_rows, scale))
    assert {name for name in files if name.endswith(".png")} == PICTURES
    assert all(content for content in files.values())


def test_it_speaks_of_targets_and_not_of_classes():
    text = write_markdown(inputs(100)).lower()
    assert "rmse" in text
    assert "knowledge variance" in text
    for word in ("accuracy", "mutual information", "entropy", "nats) |\n"):
        assert word not in text, word
    header = " ".join(comparison_table(inputs(100).metrics).columns)
    assert header.startswith("predictor RMSE NLL CRPS coverage")
    assert "knowledge / total" in header
    names = [row[0] for row in fidelity_table(inputs(100).metrics).rows]
    assert "NLL - ensemble's (nats)" in names
    assert "mean knowledge variance / ensemble's, far" in names


def test_curves_end_at_the_figures_of_the_tables():
    found = inputs(300)
    test, figures = found.scores["ensemble"][TEST], found.metrics["test"]["ensemble"]
    assert test.error is not None
    assert test.interval_level is not None
    coverage, error = error_by_coverage(test.total, test.error)
    assert (coverage[-1], np.sqrt(error[-1])) == pytest.approx((1.0, figures["rmse"]))
    assert coverage_by_level(test.interval_level, np.array([0.95]))[0] == pytest.approx(figures["coverage_95"])
    assert error[30] < error[-1]  # rows of low variance are nearer to their targets


@pytest.mark.parametrize(
    ("value", "text"),
    [(5.6, "5.600"), (58.6, "58.60"), (2906.41, "2906"), (123456.7, "123457"), (0.04123, "0.04123"), (0.0, "0"),
     (1.2344e-9, "1.234e-09"), (9.1e11, "9.100e+11"), (-0.5, "-0.5000"), (None, "–")],
)  # fmt: skip
def test_figures_in_target_units_have_four_digits(value, text):
    assert significant(value) == text
