"""The answer in one sentence, and a second where the control does better than the student."""

import pytest
from helpers.report_inputs import synthetic

from hydra_ray.report.headline import headline


def metrics(**nll):
    return {
        "task": "classification",
        "test": {name: {"nll": value, "mutual_information": 0.1} for name, value in nll.items()},
        "cost": {name: {"macs": 5 if name == "ensemble" else 1} for name in nll},
    }


SAID = "hydra takes 20 % of the ensemble's MACs; NLL 1.05 × the ensemble's."


@pytest.mark.parametrize(
    ("control", "further"),
    [
        ({}, ""),
        ({"labels": 1.2}, ""),
        ({"labels": 0.985}, " Taught by labels alone the same network has an NLL of 0.985 against 1.050."),
    ],
)
def test_a_control_that_does_better_is_said(control, further):
    assert headline(metrics(ensemble=1.0, hydra=1.05, **control)) == SAID + further


def test_headline_speaks_of_the_student_with_spread():
    metrics = synthetic().metrics
    ratio = metrics["fidelity"]["hydra"]["auroc_ratio"]["photos"]
    sentence = headline(metrics)
    assert sentence.startswith("hydra ")
    assert f"{100 * ratio:.0f} % of the ensemble's AUROC on photos at 17 % of its MACs" in sentence
    assert sentence.endswith(f"NLL {metrics['fidelity']['hydra']['nll_ratio']:.2f} × the ensemble's.")


def test_headline_of_single_heads_names_the_score():
    sentence = headline(synthetic(students=("kd",), num_rows=50).metrics)
    assert sentence.startswith("kd ")
    assert "AUROC of entropy on photos" in sentence


def test_headline_without_figures():
    assert headline({"test": {}}) == "No student was compared."
    assert headline({"test": {"hydra": {}}}) == "hydra: no figures yet."


def test_headline_of_a_regression_gives_both_nlls_as_a_ratio_depends_on_the_unit():
    test = {"ensemble": {"nll": -1.3, "rmse": 0.2}, "hydra": {"nll": -1.25, "rmse": 0.21, "knowledge_variance": 0.1}}
    words = "RMSE 1.05 × the ensemble's, NLL -1.250 against -1.300."
    assert headline({"task": "regression", "test": test}) == f"hydra: {words}"
    cost = {"ensemble": {"macs": 200}, "hydra": {"macs": 26}}
    found = headline({"task": "regression", "test": test, "cost": cost})
    assert found == f"hydra takes 13 % of the ensemble's MACs; {words}"
