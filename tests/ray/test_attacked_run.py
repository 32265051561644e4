"""evaluate with attacks: everybody is attacked, the report says what was tried, and nothing else is made again."""

import json

import pytest
from support import copied, events, tiny

from hydra_ray.cluster.pipeline import run_stages
from hydra_ray.runs.run import Run

pytestmark = pytest.mark.timeout(400)
TRIED = "evaluate.attacks={kinds: [fgsm, pgd], eps: [0.0, 0.1], rows: 50, steps: 4, restarts: 1}"
NAMES = {"member", "ensemble", "hydra_raw", "kd"}


@pytest.fixture(scope="module")
def attacked(small_run, tmp_path_factory):
    """The small run's report with attacks: its folder, and how many events there were before."""
    storage = tmp_path_factory.mktemp("attacked")
    folder = copied(small_run, storage)
    seen = len(events(folder))
    run_stages(Run(tiny(storage, "tune.num_trials=0", "cluster.local=true", TRIED)), ["evaluate"])
    return folder, seen


def test_everybody_is_attacked(attacked):
    metrics = json.loads((attacked[0] / "report/metrics.json").read_text())
    found = metrics["robustness"]
    assert set(found["clean"]) == NAMES
    assert found["tried"]["rows"] == 50
    for kind in ("fgsm", "pgd"):
        assert found["robust_accuracy"][kind]["0"] == found["clean"]
        left = found["robust_accuracy"][kind]["0.1"]
        assert all(left[name] < found["clean"][name] for name in NAMES)
        assert set(found["transfer"][kind]["0.1"]["ensemble"]) == {"hydra_raw", "kd"}
        matrix = found["member_transfer"][kind]["0.1"]
        assert [len(row) for row in matrix] == [4] * 4
    assert 0 < metrics["diversity"]["gradient_cosine"] <= 1
    assert metrics["diversity"]["log_volume"] < 0


def test_the_report_says_what_was_tried(attacked):
    for name in ("report.html", "report.md"):
        page = (attacked[0] / "report" / name).read_text()
        assert "Accuracy under attack" in page
        assert "FGSM, eps 0.1" in page
        assert "Nothing is claimed beyond these attacks" in page


def test_nothing_else_is_made_again(attacked):
    folder, seen = attacked
    assert {event["stage"] for event in events(folder)[seen:] if event["event"] in ("epoch", "shard")} == set()
    assert [event["rows"] for event in events(folder, "evaluate", "attacks")] == [50]
