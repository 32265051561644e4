"""Many runs by one command: all are checked before the first one works."""

import yaml

STUDY = {
    "title": "Heads",
    "variants": [{"name": "good"}, {"name": "bad", "set": {"distill.head": "linear", "distill.head_width": 7}}],
    "rows": {"good": "good/hydra", "bad": "bad/hydra"},
    "columns": {"accuracy": "test.*.accuracy"},
}
LINE = "distill.head_width=7: distill.head=linear has no hidden layers"


def test_a_later_run_of_a_study_that_cannot_be(path, refused):
    mine = path.parent / "mine.yaml"
    mine.write_text(yaml.safe_dump({**STUDY, "recipe": str(path)}))
    assert refused("study", mine).startswith(LINE)


def test_a_later_run_of_a_sweep_that_cannot_be(path, refused):
    assert refused("run", path, "distill.head=linear", "--each", "distill.head_width=32,7").startswith(LINE)
