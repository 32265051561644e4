"""A tiny study through the real command: every run, the page, the verdicts; and quick where all is done."""

import json

import pytest
import yaml
from support import TINY, Command, events

pytestmark = pytest.mark.timeout(400)
STUDY = {
    "title": "A tiny study",
    "recipe": str(TINY),
    "set": {
        "ensemble.num_members": 2,
        "ensemble.architecture": "mlp",
        "ensemble.options": {"hidden": [16]},
        "ensemble.epochs": 1,
        "transfer.views": [{"view": "identity"}],
        "data.unknown": {},
        "students": ["kd"],
        "distill.epochs": 1,
        "tune.num_trials": 0,
        "evaluate.bootstrap_samples": 0,
        "cluster.num_workers": 1,
    },
    "seeds": [0],
    "variants": [{"name": "all"}, {"name": "one", "set": {"distill.members": [0]}}],
    "rows": {"single": "all/member", "ensemble": "all/ensemble", "kd": "all/kd", "self": "one/kd"},
    "columns": {"accuracy": "test.*.accuracy", "NLL": "test.*.nll", "robustness": "robustness.clean.*"},
    "statements": [
        {"says": "One seed decides nothing.", "claims": [{"figure": "NLL", "of": "kd", "over": "single", "above": 0}]}
    ],
}


def test_a_study_makes_its_runs_and_its_page_and_is_quick_when_done(tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(STUDY))
    words = ["pipelines.study", "mine.yaml", f"storage={tmp_path}/runs"]
    first = Command(words, tmp_path).finish(300).require_success()
    folder = tmp_path / "runs" / "mine"
    results = json.loads((folder / "study.json").read_text())
    metrics = {
        name: json.loads((folder / f"variant={name},seed=0" / "report" / "metrics.json").read_text())
        for name in ("all", "one")
    }
    assert results["values"]["self"]["accuracy"] == [metrics["one"]["test"]["kd"]["accuracy"]]
    assert results["values"]["ensemble"]["NLL"] == [metrics["all"]["test"]["ensemble"]["nll"]]
    assert results["statements"][0]["verdict"] == "undecided"
    taken = [each["detail"] for each in events(folder / "variant=one,seed=0", event="taken")]
    assert taken[0] == "2 members taken from variant=all,seed=0"
    page = (folder / "study.md").read_text()
    assert "Made by `hydra-ray study mine.yaml`; do not edit. commit: " in page  # where it wrote is nobody's business
    assert "| single" in page
    assert "robustness" not in page
    assert "One seed decides nothing." in page
    assert (folder / "study.png").read_bytes().startswith(b"\x89PNG")
    assert "undecided" in first.out
    before = len(events(folder / "variant=one,seed=0"))
    Command(words, tmp_path).finish(100).require_success()
    assert {each["event"] for each in events(folder / "variant=one,seed=0")[before:]} == {"skipped"}
