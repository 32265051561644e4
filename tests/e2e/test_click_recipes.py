"""The recipes for click-through rates from start to end, cut down, on made-up copies of their sets."""

import json

import pytest
from helpers.dataset_files import write_copies
from support import REPO, Command

pytestmark = pytest.mark.timeout(400)
SMALL = [
    "ensemble.num_members=2",
    "ensemble.options={embedding_dim: 4, cin: [4, 4], hidden: [16], attention: 4}",
    "ensemble.batch_size=16",
    "ensemble.epochs=20",
    "transfer.views=[{view: identity}]",
    "students=[hydra]",
    "distill.batch_size=16",
    "distill.epochs=10",
    "evaluate.latency_repeats=2",
    "evaluate.bootstrap_samples=20",
    "cluster.num_workers=1",
]


def finished(recipe, place):
    copies = write_copies(place / "sets")
    words = ["pipelines.run", f"configs/{recipe}.yaml", f"storage={place}/runs", *SMALL]
    Command(words, REPO, {"HYDRA_RAY_DATA": str(copies)}).finish(300).require_success()
    folder = place / "runs" / recipe
    return folder, json.loads((folder / "report" / "metrics.json").read_text())


def test_adult_ctr_orders_rows_and_its_student_does_too(tmp_path):
    _, metrics = finished("adult_ctr", tmp_path)
    for predictor in ("member", "ensemble", "hydra"):
        assert metrics["test"][predictor]["roc_auc"] > 0.8, predictor


def test_movielens_takes_identities_that_are_numbers_as_categories(tmp_path):
    folder, metrics = finished("movielens", tmp_path)
    spec = json.loads((folder / "ensemble" / "member-000" / "model.json").read_text())["spec"]
    assert sorted(spec["categories"])[-3:] == [4, 10, 10]
    assert 0.4 < metrics["test"]["hydra"]["roc_auc"] < 0.6  # clicks are made up: there is nothing to learn
