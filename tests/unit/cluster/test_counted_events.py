"""Metrics for Ray: what events they count, and a dashboard that asks for these metrics and no others."""

import json
import re

import pytest
from support import REPO

from hydra_ray.cluster.metrics import BYTES, COUNTERS, MEMBERS, RESTARTS, ROWS, STEPS, RunMetrics

DASHBOARD = json.loads((REPO / "configs" / "cluster" / "grafana.json").read_text())
EXPORTED = {f"ray_{name}_total" for name in COUNTERS}
"""As Ray names a counter for Prometheus."""


@pytest.fixture
def counted(monkeypatch):
    """Counts events; name -> what was added, by label."""
    from ray.util.metrics import Counter

    found = {}

    def inc(self, value, tags):
        assert set(tags) == set(self.info["tag_keys"])
        key = (self.info["name"], tags["run"], tags["stage"])
        found[key] = found.get(key, 0) + value

    monkeypatch.setattr(Counter, "inc", inc)

    def count(stage, *events):
        metrics = RunMetrics("digits")
        for event in events:
            metrics.count({"stage": stage, **event})
        totals = {name: value for (name, run, where), value in found.items() if (run, where) == ("digits", stage)}
        found.clear()
        return totals

    return count


def steps(*done, **whose):
    return [{"event": "steps", "done": each, "total": 100, **whose} for each in done]


def test_work_is_counted_where_it_is_done(counted):
    shard = {"event": "shard", "rows": 5, "bytes": 70, "split": "test", "view": 0, "shards_done": 1}
    assert counted("predict", shard, shard) == {ROWS: 10, BYTES: 140}
    member = {"event": "member", "member": 1, "bytes": 30}
    assert counted("train_ensemble", member, {"event": "restart", "number": 1}) == {MEMBERS: 1, BYTES: 30, RESTARTS: 1}
    assert counted("distill", {"event": "student", "student": "kd", "bytes": 9}) == {BYTES: 9}
    assert counted("tune", {"event": "trial_again"}, {"event": "trial"}) == {RESTARTS: 1}
    assert counted("predict", {"event": "start"}, {**shard, "bytes": 0}) == {ROWS: 5}


def test_steps_are_those_since_the_last_event(counted):
    assert counted("distill", *steps(1, 40, 100, student="kd"), *steps(1, 7, student="hydra")) == {STEPS: 107}


def test_steps_of_a_stack_are_each_members(counted):
    assert counted("train_ensemble", *steps(1, 11, members=[2, 3, 4])) == {STEPS: 33}


def test_steps_before_a_checkpoint_are_not_counted_again(counted):
    """An earlier command's, and those of workers that died."""
    assert counted("distill", *steps(81, 90, student="kd")) == {STEPS: 10}
    assert counted("distill", *steps(1, 90, 61, 70, student="kd")) == {STEPS: 100}


def queries(tree):
    """Every text of a key that holds a query."""
    if isinstance(tree, list):
        for each in tree:
            yield from queries(each)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key in ("expr", "query", "definition") and isinstance(value, str) and value != "prometheus":
                yield value
            else:
                yield from queries(value)


def test_every_query_of_the_dashboard_names_metrics_that_ray_exports():
    named = [set(re.findall(r"\bray_\w+", query)) for query in queries(DASHBOARD)]
    assert len(named) >= len(DASHBOARD["panels"])
    assert all(named)
    assert set().union(*named) == EXPORTED


def test_the_documentation_has_each_metric():
    page = (REPO / "docs" / "cluster.md").read_text()
    assert set(re.findall(r"^\| `(ray_hydra_\w+)` \|", page, re.MULTILINE)) == EXPORTED


def test_panels_of_the_dashboard_have_places_of_their_own():
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert all(panel["description"] and panel["targets"] for panel in panels)
