"""The recipe for MNIST from start to end on real data, cut down to a minute."""

import json

import pytest
from support import DATA, NEEDS_DATA, REPO, Command, events, leftovers

pytestmark = [pytest.mark.timeout(400), NEEDS_DATA]
SMALL = [
    "ensemble.num_members=5",
    "ensemble.epochs=1",
    "distill.epochs=1",
    "distill.mean_phase_epochs=1",
    "data.max_train_rows=2000",
    "evaluate.latency_repeats=2",
    "evaluate.bootstrap_samples=20",
]


def test_mnist_with_five_members_and_one_epoch_each(tmp_path):
    words = ["pipelines.run", "configs/mnist.yaml", f"storage={tmp_path}", *SMALL]
    run = Command(words, REPO, {"HYDRA_RAY_DATA": str(DATA)}).finish().require_success()
    folder = tmp_path / "mnist"
    assert run.err == ""
    assert sorted(each["member"] for each in events(folder, "train_ensemble", "member")) == [0, 1, 2, 3, 4]
    metrics = json.loads((folder / "report" / "metrics.json").read_text())
    assert metrics["num_members"] == 5
    assert set(metrics["unknown"]) == {"fashion_mnist", "shifted", "rotated"}
    assert metrics["test"]["ensemble"]["nll"] < metrics["test"]["member"]["nll"] < 2
    assert metrics["cost"]["hydra"]["macs"] <= 1.2 * metrics["cost"]["member"]["macs"]
    assert leftovers(folder) == []
