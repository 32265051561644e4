"""evaluate: what metrics.json holds, its figures those of the shards."""

import json

import pytest
import torch

from hydra_ray.metrics.classification import classification_figures
from hydra_ray.metrics.uncertainty import scores
from hydra_ray.shards.schema import load
from hydra_ray.storage.folder import Folder

pytestmark = pytest.mark.timeout(400)

PREDICTORS = {"member", "ensemble", "hydra", "hydra_raw", "kd"}
STUDENTS = {"hydra", "hydra_raw", "kd"}
TEST_FIGURES = {"nll", "brier", "accuracy", "ece", "aurc", "mutual_information"}
UNKNOWN_FIGURES = {
    f"{figure}_{score}"
    for figure, score in [
        ("auroc", "mutual_information"), ("auroc", "entropy"),
        ("aupr", "mutual_information"), ("fpr95", "mutual_information"),
    ]
}  # fmt: skip
FIDELITY = {
    "nll_ratio", "auroc_ratio", "spearman_mutual_information", "mutual_information_ratio", "pairwise_kl_ratio",
    "member_agreement", "member_kl",
}  # fmt: skip


@pytest.fixture
def report(chain, project):
    chain.require_success()
    return project / "runs" / "tiny" / "report"


@pytest.fixture
def metrics(report):
    return json.loads(
        (report / "metrics.json").read_text(), parse_constant=pytest.fail
    )  # NaN and Infinity are not JSON


def test_metrics_have_the_keys_of_the_design(metrics):
    sections = {"schema", "task", "num_members", "test", "unknown", "fidelity", "decisions", "cost", "seconds"}
    assert set(metrics) - {"diversity"} == sections
    assert (metrics["schema"], metrics["task"], metrics["num_members"]) == (1, "classification", 4)
    assert set(metrics["test"]) == set(metrics["cost"]) == PREDICTORS
    assert set(metrics["unknown"]) == {"photo_patches"}
    assert set(metrics["unknown"]["photo_patches"]) == PREDICTORS
    assert set(metrics["fidelity"]) == STUDENTS
    assert set(metrics["decisions"]) == {name for name in STUDENTS if not name.endswith("_raw")}
    assert set(metrics["seconds"]) >= {"train_ensemble", "predict", "tune", "distill"}
    for name in PREDICTORS:
        assert set(metrics["test"][name]) >= TEST_FIGURES
        assert set(metrics["unknown"]["photo_patches"][name]) >= UNKNOWN_FIGURES
        assert set(metrics["cost"][name]) >= {"num_parameters", "macs", "latency_ms"}
        assert set(metrics["cost"][name]["latency_ms"]) == {"1", "256"}
    for name in STUDENTS:
        assert set(metrics["fidelity"][name]) >= FIDELITY
        assert set(metrics["fidelity"][name]["auroc_ratio"]) == {"photo_patches"}
        for figure in ("spearman_mutual_information", "mutual_information_ratio"):
            assert set(metrics["fidelity"][name][figure]) == {"test", "photo_patches"}


def test_figures_of_the_ensemble_are_those_of_the_shards(metrics, project):
    folder = Folder.open(str(project / "runs" / "tiny" / "predictions"))
    rows = load(folder / "test")
    logits_NMC = torch.tensor(rows.logits_NMC, dtype=torch.float32)
    for name, value in classification_figures(logits_NMC, torch.tensor(rows.labels)).items():
        assert metrics["test"]["ensemble"][name] == pytest.approx(value, rel=1e-9), name
    unknown = torch.tensor(load(folder / "unknown-photo_patches").logits_NMC, dtype=torch.float32)
    known_mi, unknown_mi = (scores(each)["mutual_information"] for each in (logits_NMC, unknown))
    by_hand = (unknown_mi[:, None] > known_mi[None]).double().mean() + (
        unknown_mi[:, None] == known_mi[None]
    ).double().mean() / 2
    assert metrics["unknown"]["photo_patches"]["ensemble"]["auroc_mutual_information"] == pytest.approx(
        float(by_hand), abs=1e-9
    )


def test_costs_add_up(metrics):
    member, ensemble = metrics["cost"]["member"], metrics["cost"]["ensemble"]
    assert ensemble["num_parameters"] == 4 * member["num_parameters"] == 4 * (64 * 16 + 16 + 16 * 10 + 10)
    assert ensemble["macs"] == 4 * member["macs"] == 4 * (64 * 16 + 16 * 10)


def test_the_page_stands_alone(report):
    page = (report / "report.html").read_text()
    assert 'src="http' not in page
    assert "data:image/png;base64," in page
    assert (report / "report.md").read_text().startswith("#")
    assert len(list(report.glob("*.png"))) >= 4
