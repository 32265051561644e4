"""A score and a diversity measure that were just registered stand in metrics.json and in the report's tables."""

import pytest
import torch

from hydra_ray.data import TEST, VALIDATION, unknown_split
from hydra_ray.evaluation import Answers, metrics_of, row_scores
from hydra_ray.metrics import MEASURES, SCORES
from hydra_ray.metrics.registry import diversity_measure, uncertainty_score
from hydra_ray.report import ReportInputs, tables
from hydra_ray.report.page import write_markdown
from hydra_ray.tasks import CLASSIFICATION, REGRESSION


@pytest.fixture(autouse=True)
def registries():
    """Left as they were."""
    scores, measures = dict(SCORES), dict(MEASURES)
    yield
    SCORES.clear()
    MEASURES.clear()
    SCORES.update(scores)
    MEASURES.update(measures)


def metrics_and_report(task):
    generator = torch.Generator().manual_seed(0)
    splits = {VALIDATION: 30, TEST: 40, unknown_split("other"): 20}
    said = {name: torch.randn(rows, 3, 2, generator=generator) for name, rows in splits.items()}
    predictions = {
        "ensemble": {name: task.of_members(each) for name, each in said.items()},
        "hydra": {name: task.of_members(0.9 * each) for name, each in said.items()},
        "kd": {name: task.of_members(each[:, :1]) for name, each in said.items()},
    }
    labels = {name: torch.arange(splits[name]) % 2 for name in (VALIDATION, TEST)}
    answers = Answers(task, predictions, labels)
    metrics = metrics_of(answers, {}, {})
    return metrics, write_markdown(ReportInputs("mine", {}, metrics, row_scores(answers), [], {}, {}))


def rows_of(table):
    return {name: cells for name, *cells in table.rows}


@pytest.mark.parametrize(("task", "outputs"), [(CLASSIFICATION, "logits"), (REGRESSION, "gaussian")])
def test_a_score_of_disagreement(task, outputs):
    @uncertainty_score("range", "range of outputs", short="range", outputs=outputs, detects=True)
    def _(outputs_NMC):
        return (outputs_NMC.amax(dim=1) - outputs_NMC.amin(dim=1)).sum(dim=-1).double()

    metrics, page = metrics_and_report(task)
    found = {name: figures["range"] for name, figures in metrics["test"].items()}
    assert found["ensemble"] > found["hydra"] > 0
    assert found["member"] is found["kd"] is None
    assert 0 <= metrics["unknown"]["other"]["hydra"]["auroc_range"] <= 1
    cells = rows_of(tables.test_figures_table(metrics))["range of outputs"]
    assert cells == ["–", f"{found['ensemble']:.4f}", f"{found['hydra']:.4f}", "–"]
    assert "AUROC of range" in rows_of(tables.unknown_figures_tables(metrics)[0])
    assert "| range of outputs |" in page


def test_a_score_that_one_head_has_too_and_a_share():
    @uncertainty_score("unsure", "rows that are unsure", outputs="logits", of_one=True, unit="share")
    def _(logits_NMC):
        return (logits_NMC.softmax(dim=-1).mean(dim=1).amax(dim=-1) < 0.6).double()

    metrics, _ = metrics_and_report(CLASSIFICATION)
    assert all(0 <= figures["unsure"] <= 1 for figures in metrics["test"].values())
    assert "auroc_unsure" not in metrics["unknown"]["other"]["ensemble"]
    assert all(cell.endswith(" %") for cell in rows_of(tables.test_figures_table(metrics))["rows that are unsure"])


@pytest.mark.parametrize(("task", "outputs"), [(CLASSIFICATION, "logits"), (REGRESSION, "gaussian")])
def test_a_measure_of_diversity(task, outputs):
    @diversity_measure("apart", "members apart (more)", outputs=outputs)
    def _(outputs_NMC, labels_N):
        assert len(outputs_NMC) == len(labels_N) == 40
        return 0.125

    metrics, page = metrics_and_report(task)
    assert metrics["diversity"]["apart"] == 0.125
    assert rows_of(tables.diversity_table(metrics))["members apart (more)"] == ["0.1250"]
    assert "| members apart (more) | 0.1250 |" in page


def test_a_name_is_taken_once():
    with pytest.raises(ValueError, match="entropy is registered already"):
        uncertainty_score("entropy", "mine", outputs="logits")(lambda logits_NMC: logits_NMC[:, 0, 0])
    with pytest.raises(ValueError, match="q_statistic is registered already"):
        diversity_measure("q_statistic", "mine", outputs="logits")(lambda logits_NMC, labels_N: None)
