"""The model card: front matter as the Hub reads it, test figures, what was tried, and how to load it."""

import re

import pytest
from helpers.report_inputs import synthetic
from huggingface_hub import ModelCard

from hydra_ray.report.card import student_card

CONFIG = {"name": "digits", "ensemble": {"architecture": "mlp"}}
IMAGES = {
    "kind": "hydra",
    "task": "classification",
    "data": "digits",
    "classes": [str(n) for n in range(10)],
    "inputs": {"shape": [8, 8, 1]},
    "calibration": 1.7,
    "spec": {"num_heads": 8},
}


@pytest.fixture(scope="module")
def card():
    metrics = dict(synthetic(students=("hydra", "kd", "proxy_end2"), trials=False, epochs=False).metrics)
    chosen = {"threshold": 0.3, "coverage": 0.91, "risk": 0.008, "risk_bound": 0.021}
    sets = {"least_ambiguous": {"coverage": 0.93, "size": 1.04}}
    metrics["decisions"] = {"hydra": {"risks": {"0.01": {"total": chosen}}, "conformal": {"0.9": sets}}}
    return student_card("runs/digits/students/hydra", IMAGES, metrics, CONFIG, ["identity", "affine"]), metrics


def test_its_front_matter_is_a_model_index(card):
    text, metrics = card
    data = ModelCard(text).data
    assert data.library_name == "hydra-ray"
    found = {each.metric_type: each.metric_value for each in data.eval_results}
    for key, value in found.items():
        assert value == pytest.approx(metrics["test"]["hydra"][key], abs=1e-6)
    assert {"accuracy", "nll", "mutual_information"} <= found.keys()
    assert {each.task_type for each in data.eval_results} == {"image-classification"}


def test_it_speaks_of_its_own_student_alone(card):
    text, _ = card
    assert "| hydra " in text
    assert "| ensemble " in text
    assert "proxy_end2" not in text


def test_it_says_where_it_was_tried_and_when_not_to_trust_it(card):
    text, metrics = card
    for name in metrics["unknown"]:
        assert name in text
    assert "made 1.7 times as large" in text
    assert "91.0 %" in text  # of the test rows are answered
    assert "2.10 %" in text  # the bound of the risk
    assert 'load_student("runs/digits/students/hydra")' in text
    assert not re.search(r"\bNone\b|\bnan\b|{{|{%", text)
